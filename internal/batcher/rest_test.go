package batcher_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persistd/persistd/internal/batcher"
)

func TestTransactionsOfSeveralThatAlwaysFailAreTriedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, said := observer.New(zap.WarnLevel)
		store := newTogether()
		store.log = zap.New(core)
		broken, at := true, []time.Duration{}
		store.before = func(parts []int) error {
			if !broken || len(parts) == 1 {
				return nil
			}
			at = append(at, time.Since(epoch))
			return &batcher.Error{Class: batcher.Again, Number: 1226, Err: again}
		}
		gate := batcher.NewGate(1, store)
		var all []*partition
		for no := range 4 {
			all = append(all, store.partition(t, gate, no))
		}
		seq := uint64(0)
		every := func(seconds int) (rests []int) { // second one event comes to each; between failures are so many seconds
			at = at[:0]
			for range seconds {
				seq++
				for _, p := range all {
					require.NoError(t, p.Add(t.Context(), step(seq, 100)))
				}
				sleep(time.Second)
			}
			for i := 1; i < len(at); i++ {
				rests = append(rests, int((at[i] - at[i-1]).Seconds()))
			}
			return rests
		}
		require.Equal(t, []int{1, 1, 10, 20, 40, 80, 160, 300, 300}, every(1000))
		warned := said.FilterMessageSnippet("alone for a while").TakeAll()
		require.Len(t, warned, 8, "once for each rest")
		require.EqualValues(t, 1226, warned[0].ContextMap()["error_number"])
		require.Contains(t, warned[0].ContextMap()["hint"], "connections")
		require.Equal(t, 5*time.Minute, warned[7].ContextMap()["pause"])

		broken = false
		every(300)
		require.Greater(t, len(store.done), 4)
		require.Len(t, store.done[len(store.done)-1].parts, 3, "they are joined again")
		broken = true
		require.Equal(t, []int{1, 1, 10, 20}, every(40), "as if nothing had been")
		closeAll(t, all...)
	})
}
