package ingest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// fed is a server whose consumers send what the test puts into them.
type fed struct {
	Server
	own    [2]*feed // by partition
	behind [2]uint64
	all    *feed
}

func newFed(behind [2]uint64) *fed {
	f := func() *feed { return &feed{sent: make(chan Delivery, 10)} }
	return &fed{own: [2]*feed{f(), f()}, behind: behind, all: f()}
}

func (f *fed) Open(_ context.Context, partition int, _ uint64) (Consumer, uint64, error) {
	return f.own[partition], f.behind[partition], nil
}

func (f *fed) OpenAll(context.Context, uint64) (Consumer, error) { return f.all, nil }

// sharingOn shares the two partitions of server as soon as something is behind in each.
func sharingOn(t *testing.T, server Server) (*sharing, *observer.ObservedLogs) {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	core, said := observer.New(zap.InfoLevel)
	return newSharing(server, Config{Partitions: 2, Subjects: subjects, Sharing: Sharing{Backlog: 1}}.WithDefaults(), zap.New(core), m), said
}

// open opens both partitions at once.
func open(t *testing.T, s *sharing) (all [2]Consumer) {
	t.Helper()
	var both sync.WaitGroup
	for p := range all {
		both.Go(func() {
			c, _, err := s.Open(t.Context(), p, 1)
			require.NoError(t, err)
			all[p] = c
		})
	}
	both.Wait()
	return all
}

// Its sessions take no notice, so somebody else has to say so.
func TestASharedConsumerThatFailsIsSeen(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		send   func(f *feed)
		why    error
		failed float64
	}{
		{"it is deleted", func(f *feed) { f.sent <- Delivery{Status: Status{Pull: 1, Code: "409", Text: "Consumer Deleted"}} }, nil, 1},
		{"a message is lost", func(f *feed) { f.sent <- sent(2, 5, 0) }, nil, 1},
		{"it is silent", func(*feed) {}, nil, 1},
		{"it fails", func(f *feed) { f.failed = errLost; close(f.sent) }, errLost, 1},
		{"it has caught up", func(f *feed) { f.sent <- sent(1, 0, 1) }, errCaughtUp, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newFed([2]uint64{1, 1})
				s, said := sharingOn(t, server)
				for _, c := range open(t, s) {
					require.ErrorIs(t, c.Ask(1, 1), errGather)
				}
				lanes := open(t, s)
				require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.shared))
				test.send(server.all)
				in := intake{c: lanes[0], batch: 1}
				var err error
				for err == nil {
					_, err = in.receive(t.Context(), s.cfg.silence())
				}
				anew, ok := errors.AsType[*anewError](err)
				require.True(t, ok, "%s", err)
				if test.why != nil {
					require.ErrorIs(t, anew.why, test.why)
				}
				for _, l := range lanes {
					require.NoError(t, l.Close())
				}
				require.Zero(t, testutil.ToFloat64(s.metrics.shared))
				require.Equal(t, test.failed, testutil.ToFloat64(s.metrics.failed))
				require.EqualValues(t, test.failed, said.FilterLevelExact(zap.WarnLevel).Len())
			})
		})
	}
}

// A reader that leaves, and one that is stuck, have said so themselves.
func TestASharedConsumerThatIsLeftHasNotFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, said := sharingOn(t, nil)
		tp, lanes := newTape(&feed{}, []uint64{1, 1}, s.cfg, s.ended)
		require.NoError(t, lanes[1].Close())
		require.ErrorIs(t, tp.why, errLeft)
		s.ended(&tape{why: errStalled})
		require.Zero(t, said.FilterLevelExact(zap.WarnLevel).Len())
		require.Zero(t, testutil.ToFloat64(s.metrics.failed))
		require.Equal(t, 20*time.Second, time.Until(s.not))
	})
}

// A partition that has caught up waits within a pull, for which it had asked when it was behind.
func TestAPartitionThatHasCaughtUpIsNotBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newFed([2]uint64{2, 0})
		s, _ := sharingOn(t, server)
		both := open(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in := intake{c: both[0], batch: 256}
		receive := func() error {
			require.NoError(t, in.ask())
			d, err := in.receive(ctx, s.cfg.silence())
			if err == nil {
				_, err = in.check(&d)
			}
			return err
		}
		server.own[0].sent <- sent(1, 1, 0)
		server.own[0].sent <- sent(2, 0, 0)
		require.NoError(t, receive())
		require.NoError(t, receive())
		done := make(chan error, 1)
		go func() { done <- receive() }()
		synctest.Wait()

		require.NoError(t, both[1].Close())
		server.behind[1] = 100
		c, _, err := s.Open(t.Context(), 1, 1)
		require.NoError(t, err)
		require.NoError(t, c.Ask(1, 256), "it is the only one that is behind")
		server.own[0].sent <- sent(3, 50, 0)
		require.NoError(t, <-done)
		in.left = 0
		require.ErrorIs(t, in.ask(), errGather, "both are")
	})
}

// closing is a consumer that asks for the lock of s when it is closed.
type closing struct {
	feed
	s      *sharing
	closed bool
}

func (c *closing) Close() error {
	c.closed = c.s.mu.TryLock()
	if c.closed {
		c.s.mu.Unlock()
	}
	return nil
}

// Closing a consumer talks to the server; nobody else waits for that.
func TestATapeThatComesTooLateIsClosedOutsideTheLock(t *testing.T) {
	t.Parallel()
	s, _ := sharingOn(t, nil)
	c := &closing{s: s}
	tp, lanes := newTape(c, []uint64{1, 1}, s.cfg, s.ended)
	s.decide(&gathering{}, tp, lanes, nil)
	require.True(t, c.closed)
}
