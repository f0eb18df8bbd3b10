package demo

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go/jetstream"
)

// screen prints what happens, one line a second and one for each event.
type screen struct {
	mu    sync.Mutex // guards out
	out   io.Writer
	begin time.Time
}

func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%6.1fs  "+format+"\n", append([]any{time.Since(s.begin).Seconds()}, args...)...)
}

// watch prints the progress each second until ctx ends. It also keeps the largest lag seen.
func (s *screen) watch(ctx context.Context, db *sql.DB, js jetstream.JetStream, l *Ledger) (largest int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := int64(0) // what was committed when the database answered last
	for {
		select {
		case <-ctx.Done():
			return largest
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		inLog := "?"
		if st, err := js.Stream(asking, "PERSISTD"); err == nil {
			inLog = humanize.Comma(int64(st.CachedInfo().State.Msgs)) //nolint:gosec // G115: a count.
		}
		acked := l.acknowledged.Load()
		away := ""
		if n := committed(asking, db); n >= 0 {
			last = n
		} else {
			away = "   (database is away)"
		}
		cancel()
		behind := max(0, acked-last)
		largest = max(largest, behind)
		s.say("published %8s   in log %8s   committed %8s   lag %7s%s",
			humanize.Comma(acked), inLog, humanize.Comma(last), humanize.Comma(behind), away)
	}
}
