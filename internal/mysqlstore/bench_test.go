package mysqlstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// BenchmarkCommit commits batches to a server that does not wait for its disk: what is measured is the work, not the fsync.
func BenchmarkCommit(b *testing.B) {
	for _, rows := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			s, _, _ := ready(b)
			term := acquire(b, s, 0)
			state := `{"messages":[` + strings.Repeat(`{"role":"user","content":"it's \"quoted\""},`, 40) + `{}]}` // 1.7 KB
			events := make([]wire.Event, rows)
			b.SetBytes(int64(rows * len(state)))
			b.ReportAllocs()
			seq := uint64(0)
			for b.Loop() {
				for i := range events {
					seq++
					events[i] = save(seq, fmt.Sprint("run", i), int32(seq/uint64(rows)), state)
				}
				next := batch(term, events...)
				require.NoError(b, s.Commit(b.Context(), next))
				term.Position = next.Last()
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
