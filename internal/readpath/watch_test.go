package readpath_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

func change(seq uint64, step int32) readpath.Change {
	return readpath.Change{At: readpath.Cursor{Generation: 1, Sequence: seq, Step: step}, Step: *saved(step, seq)}
}

// commit has an event in the log, and in MySQL.
func (d *data) commit(r *readpath.Reader, seq uint64, changes ...readpath.Change) {
	d.mu.Lock()
	d.log = append(d.log, event(seq))
	d.changes = append(d.changes, changes...)
	d.mu.Unlock()
	r.Positions.Advance(position.Commit{Partition: home, From: seq - 1, To: seq})
}

// count is how often what begins with prefix was asked for.
func (d *data) count(prefix string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, call := range d.calls {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

type news struct {
	changes []readpath.Change
	err     error
	at      time.Duration
}

func watch(ctx context.Context, r *readpath.Reader, after readpath.Cursor, limit time.Duration) <-chan news {
	out := make(chan news, 1)
	go func() {
		changes, err := r.Watch(ctx, "default", run, 2, after, limit)
		out <- news{changes, err, time.Since(epoch)}
	}()
	return out
}

func TestWatchReturnsWhatIsThereAtOnce(t *testing.T) {
	t.Parallel()
	d := &data{changes: []readpath.Change{change(5, 1), change(6, 2), change(7, 3)}, log: []wire.Event{event(7), event(12)}}
	got, err := d.reader(8).Watch(t.Context(), "default", run, 2, readpath.Cursor{Generation: 1, Sequence: 5, Step: 1}, 0)
	require.NoError(t, err)
	require.Equal(t, []readpath.Change{change(6, 2), change(7, 3)}, got)
	require.Equal(t, []string{
		fmt.Sprintf("last of default.run.%s in %d", run, home), fmt.Sprintf("changes of %s from 2 after 1.5.1", run),
	}, d.calls)
	got, err = d.reader(8).Watch(t.Context(), "default", run, 2, readpath.Cursor{Generation: 1, Sequence: 7, Step: 3}, 0)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestWatchWaitsForTheCommitOfWhatIsInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(10)}}
		r := d.reader(8)
		out := watch(t.Context(), r, readpath.Cursor{}, time.Minute)
		<-time.After(30 * ms)
		r.Positions.Advance(position.Commit{Partition: home, From: 8, To: 9})
		synctest.Wait()
		require.Empty(t, out)
		require.Equal(t, 1, d.count("changes"), "of another run")
		d.commit(r, 10, change(10, 2))
		require.Equal(t, news{[]readpath.Change{change(10, 2)}, nil, 30 * ms}, <-out, "without delay")
	})
}

func TestWatchOfAQuietRunReadsMySQLOnlyForNewsOfIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(7)}}
		r := d.reader(8)
		out := watch(t.Context(), r, readpath.Cursor{Sequence: 7}, time.Minute)
		for seq := uint64(9); seq < 1009; seq++ { // other runs' commits, one each millisecond
			<-time.After(ms)
			r.Positions.Advance(position.Commit{Partition: home, From: seq - 1, To: seq})
		}
		synctest.Wait()
		require.Empty(t, out)
		require.Equal(t, 1, d.count("changes"))
		require.InDelta(t, 11, d.count("last"), 1, "every tenth of a second, however busy its partition is")

		<-time.After(time.Second) // and then nobody writes, so the next commit is told at once
		asked := d.count("last")
		d.commit(r, 1009) // an event of the run's that saves no step
		synctest.Wait()
		require.Equal(t, asked+1, d.count("last"))
		require.Equal(t, 2, d.count("changes"))
		<-time.After(time.Second)
		d.commit(r, 1010, change(1010, 2))
		require.Equal(t, news{[]readpath.Change{change(1010, 2)}, nil, 3 * time.Second}, <-out)
		require.Equal(t, 3, d.count("changes"))
	})
}

func TestWatchAsksTheDatabaseWhenAnnouncementsAreLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(10)}, positions: []uint64{8, 10}}
		r := d.reader(8)
		out := watch(t.Context(), r, readpath.Cursor{}, time.Minute)
		<-time.After(700 * ms)
		d.mu.Lock()
		d.changes = []readpath.Change{change(10, 2)}
		d.mu.Unlock()
		require.Equal(t, news{[]readpath.Change{change(10, 2)}, nil, 1000 * ms}, <-out)
	})
}

func TestWatchEndsEmptyWhenItsWaitIsOver(t *testing.T) {
	t.Parallel()
	for name, log := range map[string][]wire.Event{"the log is quiet": nil, "something is not committed": {event(10)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &data{log: log, positions: []uint64{8}}
				require.Equal(t, news{nil, nil, 1200 * ms}, <-watch(t.Context(), d.reader(8), readpath.Cursor{}, 1200*ms))
			})
		})
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{positions: []uint64{8}}
		ctx, cancel := context.WithCancelCause(t.Context())
		out := watch(ctx, d.reader(8), readpath.Cursor{}, time.Minute)
		synctest.Wait()
		cancel(errors.New("replica is stopping"))
		require.Equal(t, news{nil, errors.New("replica is stopping"), 0}, <-out)
	})
}

func TestWatchSaysWhatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		for want, d := range map[string]*data{
			"read end of the log: away": {tailErr: away}, "away": {historyErr: away}, "read position: away": {positionErr: away},
		} {
			require.EqualError(t, (<-watch(t.Context(), d.reader(8), readpath.Cursor{}, time.Minute)).err, want)
		}
	})
}

func TestCursorReadsAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []readpath.Cursor{{}, {Generation: 1, Sequence: 2, Step: -3}, {math.MaxUint32, math.MaxUint64, math.MaxInt32}, {Step: math.MinInt32}} {
		got, err := readpath.ParseCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	c, err := readpath.ParseCursor("")
	require.NoError(t, err)
	require.Equal(t, readpath.Cursor{Step: math.MinInt32}, c)
	for _, s := range []string{"1", "1.2", "1.2.", "1.2.3.4", "x.2.3", "-1.2.3", "4294967296.2.3", "1.2.2147483648", " 1.2.3", "1..3"} {
		_, err := readpath.ParseCursor(s)
		require.EqualError(t, err, fmt.Sprintf("cursor %q is not one that a reply gave: begin again without", s))
	}
}
