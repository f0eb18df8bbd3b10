package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persistd/persistd/internal/wire"
)

const eight = 8

// shared is a world whose reader shares a consumer as soon as something is behind, and what that says.
type shared struct {
	*world
	said *observer.ObservedLogs
}

func newShared(t *testing.T, url string, cfg Config) shared {
	t.Helper()
	w := newWorldOf(t, url, Config{}, eight)
	core, said := observer.New(zap.InfoLevel)
	cfg.Stream, cfg.Created, cfg.Subjects, cfg.Partitions = w.stream.Name(), w.stream.Created(), subjects, eight
	cfg.Heartbeat, cfg.MaxWait = cmp.Or(cfg.Heartbeat, 2*time.Second), 20*time.Millisecond
	cfg.RequestTimeout = time.Minute // a machine may have a lot else to do
	cfg.Sharing.Backlog = cmp.Or(cfg.Sharing.Backlog, 1)
	cfg.Sharing.Gather = cmp.Or(cfg.Sharing.Gather, time.Minute)
	cfg.Sharing.Stall = cmp.Or(cfg.Sharing.Stall, time.Minute)
	cfg.Sharing.Pause = cmp.Or(cfg.Sharing.Pause, time.Minute)
	var err error
	w.reader, err = New(w.js, cfg, zap.New(core), prometheus.NewRegistry())
	require.NoError(t, err)
	return shared{w, said}
}

// whys are the reasons for which it ended to share a consumer.
func (s shared) whys() (all []string) {
	for _, e := range s.said.FilterMessage("read each partition through a consumer of its own").All() {
		all = append(all, fmt.Sprint(e.ContextMap()["why"]))
	}
	return all
}

func (s shared) times() int {
	return s.said.FilterMessage("read all partitions through one consumer").Len()
}

// together waits until the partitions share, or are about to: one that is read faster than the others are opened has nothing behind it by
// then, and they would not.
func (s shared) together(ctx context.Context) error {
	sharing := s.reader.server.(*sharing)
	for {
		sharing.mu.Lock()
		gathered := sharing.gathering != nil
		sharing.mu.Unlock()
		if gathered || s.times() > 0 {
			return nil
		}
		if !sleep(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// scatter publishes n messages of many runs, of which the last are one in each partition.
func scatter(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for i := range n {
		run := fmt.Sprint("run-", rand.IntN(100))
		if i >= n-eight {
			run = runIn(i-n+eight, eight)
		}
		_, err := js.PublishAsync(subjects.Write(wire.DefaultNamespace, wire.KindRun, run), fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":1}`, i),
			jetstream.WithStallWait(time.Minute))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("publish: no acknowledgement")
	}
}

// held are the sequences of what each partition's own consumer sends.
func (s shared) held(t *testing.T) (all [eight][]uint64) {
	t.Helper()
	server := natsServer{s.js, s.reader.cfg}
	for p := range eight {
		c, behind, err := server.Open(within(t), p, 1)
		require.NoError(t, err)
		require.NoError(t, c.Ask(1, int(behind)))
		for range behind {
			d, err := c.Receive(within(t))
			require.NoError(t, err)
			require.NotZero(t, d.Place, d.Status)
			all[p] = append(all[p], d.Message.Sequence)
		}
		require.NoError(t, c.Close())
	}
	return all
}

// lists are what was delivered, by partition.
type lists struct {
	mu      sync.Mutex
	got     [eight][]uint64
	pending [eight]int64
}

// read reads all partitions until each has what want has, which begins where reading does, calling between before each delivery.
func (s shared) read(t *testing.T, want [eight][]uint64, between func(ctx context.Context, partition, delivered int) error) *lists {
	t.Helper()
	l := &lists{}
	var readers sync.WaitGroup
	for p := range eight {
		readers.Go(func() {
			for last := want[p][0] - 1; len(l.got[p]) < len(want[p]); {
				err := s.reader.Read(within(t), p, wire.Place{Sequence: last}, func(ctx context.Context, ev wire.Event) error {
					if err := between(ctx, p, len(l.got[p])); err != nil {
						return err
					}
					last = ev.Message.Sequence
					if l.got[p] = append(l.got[p], last); len(l.got[p]) == len(want[p]) {
						return errEnough
					}
					return nil
				}, func(n int64) {
					l.mu.Lock()
					defer l.mu.Unlock()
					l.pending[p] = n
				})
				if !errors.Is(err, errEnough) && !errors.Is(err, errClosed) {
					t.Errorf("partition %d: %s", p, err)
					return
				}
			}
		})
	}
	readers.Wait()
	return l
}

var errClosed = errors.New("closed by the test")

func quietly(context.Context, int, int) error { return nil }

// once has read wait before the first delivery until the partitions share.
func (s shared) once(ctx context.Context, _, _ int) error { return s.together(ctx) }
