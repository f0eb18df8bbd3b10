package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// crowd is how many wait for their commits at once: more than a client has to have for listening.
const crowd = 20

// announcer announces all that is logged as committed, as owners of all partitions do together, each time that there is more.
type announcer struct {
	// change is made to each announcement; nil is none.
	change atomic.Pointer[func(*wire.Announcement)]
	// silent says that it announces nothing.
	silent atomic.Bool
}

func (a *announcer) alter(change func(*wire.Announcement)) { a.change.Store(&change) }

func announce(t *testing.T, l *thelog) *announcer {
	t.Helper()
	a := &announcer{}
	stream, err := l.js.Stream(t.Context(), "persistd")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return a.run(ctx, l, stream) })
	t.Cleanup(func() {
		cancel()
		require.NoError(t, g.Wait())
	})
	return a
}

func (a *announcer) run(ctx context.Context, l *thelog, stream jetstream.Stream) error {
	for from := uint64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(4 * poll):
		}
		info, err := stream.Info(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if a.silent.Load() || info.State.LastSeq == from {
			continue
		}
		for p := range partitions {
			said := wire.Announcement{Stream: "persistd", Created: info.Created, Partition: p, Partitions: partitions, From: from, Position: info.State.LastSeq}
			if change := a.change.Load(); change != nil {
				(*change)(&said)
			}
			body, err := json.Marshal(said)
			if err == nil {
				err = l.nc.Publish(subjects.Position(p), body)
			}
			if err != nil {
				return ignoreEnd(ctx, err)
			}
		}
		from = info.State.LastSeq
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// round has everybody save a step, and returns what became of each.
func round(ctx context.Context, st client.Store[state], n int) []error {
	outcomes := make([]error, crowd)
	var g errgroup.Group
	for i := range outcomes {
		g.Go(func() error {
			outcomes[i] = st.SaveStep(committed(ctx), fmt.Sprintf("run-%d", i), n, "node", state{N: n})
			return nil
		})
	}
	_ = g.Wait() // the outcomes are the errors
	return outcomes
}

// rounds has rounds until there is one that is as wanted, and fails the test at one that has another error than allowed.
func rounds(t *testing.T, st client.Store[state], d *persistd, allowed error, wanted func(outcomes []error, asked int64) bool) {
	t.Helper()
	for n, began := 1, time.Now(); ; n++ {
		require.Less(t, time.Since(began), eventually)
		before := d.asked.Load()
		outcomes := round(within(t, eventually), st, n)
		for _, err := range outcomes {
			require.True(t, err == nil || allowed != nil && errors.Is(err, allowed), "%v", err)
		}
		if wanted(outcomes, d.asked.Load()-before) {
			return
		}
	}
}

func nobodyAsked(_ []error, asked int64) bool { return asked == 0 }
func allAsked(_ []error, asked int64) bool    { return asked == crowd }

func withAnnouncer(t *testing.T, opts ...client.Option) (*announcer, *persistd, client.Store[state]) {
	t.Helper()
	l, d := withPersistd(t)
	return announce(t, l), d, l.open(t, opts...)
}

func TestManyThatWaitForTheirCommitsDoNotAsk(t *testing.T) {
	t.Parallel()
	a, d, st := withAnnouncer(t)
	rounds(t, st, d, nil, nobodyAsked)

	a.silent.Store(true) // who waits asks after a while, and finds out that nobody announces any more
	rounds(t, st, d, nil, allAsked)

	a.silent.Store(false)
	rounds(t, st, d, nil, nobodyAsked)
}

func TestAnAnnouncementSaysWhatIsRejected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		code string
		want error
	}{{wire.CodeDatabase, client.ErrRejected}, {wire.CodeAttempt, client.ErrStaleAttempt}} {
		t.Run(row.code, func(t *testing.T) {
			t.Parallel()
			a, d, st := withAnnouncer(t)
			rounds(t, st, d, nil, nobodyAsked)
			a.alter(func(said *wire.Announcement) {
				said.Rejected = map[uint64]wire.Rejection{}
				for seq := said.From + 1; seq <= said.Position; seq++ {
					said.Rejected[seq] = wire.Rejection{Code: row.code, Reason: "for this test"}
				}
			})
			rounds(t, st, d, row.want, func(outcomes []error, _ int64) bool {
				for _, err := range outcomes {
					if err != nil {
						require.ErrorContains(t, err, "for this test")
						return true
					}
				}
				return false
			})
		})
	}
}

// Who does not hear for certain of his own event's commit asks.
func TestAnnouncementsThatDoNotTellOfAnEventAreNotTakenForItsCommit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*wire.Announcement)
	}{
		{"of another log", func(a *wire.Announcement) { a.Stream = "other" }},
		{"of ever other logs of that name", func(a *wire.Announcement) { a.Created = time.Now() }},
		{"of a version that does not count partitions", func(a *wire.Announcement) { a.Partitions = 0 }},
		{"of more partitions than there can be", func(a *wire.Announcement) { a.Partitions = 1 << 30 }},
		{"of a partition that there is not", func(a *wire.Announcement) { a.Partition = partitions }},
		{"of a commit behind it", func(a *wire.Announcement) { a.From = a.Position }},
		{"of one before it", func(a *wire.Announcement) { a.Position = 0 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a, d, st := withAnnouncer(t)
			rounds(t, st, d, nil, nobodyAsked)
			a.alter(row.change)
			rounds(t, st, d, nil, allAsked) // what was announced before has arrived
			for n := range 2 {
				before := d.asked.Load()
				for _, err := range round(within(t, eventually), st, n) {
					require.NoError(t, err)
				}
				require.EqualValues(t, crowd, d.asked.Load()-before)
			}
		})
	}
}

// An announcement does not say which of two events with a key was the first.
func TestWhoHasAnIdempotencyKeyAsks(t *testing.T) {
	t.Parallel()
	_, d, st := withAnnouncer(t)
	rounds(t, st, d, nil, nobodyAsked)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(1, "key", 1)))
	var g errgroup.Group
	for range crowd {
		g.Go(func() error {
			if err := st.SaveCheckpointV2(t.Context(), v2(1, "key", 2)); !errors.Is(err, client.ErrDuplicate) {
				return fmt.Errorf("not a duplicate: %w", err)
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}
