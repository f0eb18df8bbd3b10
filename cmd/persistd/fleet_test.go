package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// fleet are workers that save steps until they are told to stop, and remember what was acknowledged.
type fleet struct {
	s     *stack
	stop  context.CancelFunc
	wg    sync.WaitGroup
	count atomic.Int64 // acknowledged
	bytes atomic.Int64 // of states acknowledged

	mu     sync.Mutex // guards what follows
	acked  map[rowKey]string
	last   map[string]int32 // the last step acknowledged of each run
	failed []error
}

// save is how a worker saves a step.
type save func(ctx context.Context, run string, step int32, state json.RawMessage) error

// fleet sends workers out, each with a run of its own and states of a size that do not compress; each saves a step per pace.
func (s *stack) fleet(workers, size int, pace time.Duration, opts ...client.Option) *fleet {
	s.t.Helper()
	return s.fleetFrom(0, workers, size, pace, opts...)
}

// fleetFrom is a fleet whose runs are numbered from first on.
func (s *stack) fleetFrom(first, workers, size int, pace time.Duration, opts ...client.Option) *fleet {
	s.t.Helper()
	st := s.open(opts...)
	return s.fleetOf(first, workers, size, pace, func(ctx context.Context, run string, step int32, state json.RawMessage) error {
		return st.SaveStep(ctx, run, int(step), "node", state)
	})
}

// bulkFleet publishes by hand: for loads that are about bytes, which the client checks one by one.
func (s *stack) bulkFleet(workers, size int, pace time.Duration) *fleet {
	s.t.Helper()
	return s.fleetOf(0, workers, size, pace, s.publishStep)
}

func (s *stack) publishStep(ctx context.Context, run string, step int32, state json.RawMessage) error {
	_, err := s.js.Publish(ctx, "persistd.write.default.run."+run, fmt.Appendf(nil, `{"step":%d,"node_id":"node","state":%s}`, step, state))
	return err //nolint:wrapcheck // told as it is.
}

func (s *stack) fleetOf(first, workers, size int, pace time.Duration, save save) *fleet {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fleet{s: s, stop: cancel, acked: map[rowKey]string{}, last: map[string]int32{}}
	for w := range workers {
		f.wg.Go(func() { f.work(ctx, save, fmt.Sprintf("run-%d", first+w), size, pace) })
	}
	s.t.Cleanup(func() {
		cancel()
		f.wg.Wait()
	})
	return f
}

// work saves step after step. A step is begun before stop and seen to its end: its outcome is always known.
func (f *fleet) work(ctx context.Context, save save, run string, size int, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for step := int32(0); ; step++ {
		state := randomState(size)
		if err := save(context.WithoutCancel(ctx), run, step, state); err != nil {
			f.mu.Lock()
			f.failed = append(f.failed, err)
			f.mu.Unlock()
			return
		}
		f.mu.Lock()
		f.acked[rowKey{run, step}], f.last[run] = string(state), step
		f.mu.Unlock()
		f.count.Add(1)
		f.bytes.Add(int64(size))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// padding is what states are cut from: making it anew for each would be most of a test's work.
var padding = sync.OnceValue(func() string {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
})

// randomState is written as MySQL writes it.
func randomState(size int) json.RawMessage {
	from := rand.IntN(len(padding()) - size)
	return json.RawMessage(`{"pad": "` + padding()[from:from+size] + `"}`)
}

// advances waits until n more steps are acknowledged.
func (f *fleet) advances(n int64) {
	f.s.t.Helper()
	from := f.count.Load()
	f.s.eventually("workers go on", func() bool { return f.count.Load() >= from+n })
}

// home stops the workers, and checks that every save was acknowledged and that MySQL has each step as it was saved.
func (f *fleet) home() {
	f.s.t.Helper()
	f.stop()
	f.wg.Wait()
	require.Empty(f.s.t, f.failed, "steps that were not acknowledged")
	f.s.eventually("all steps are committed", func() bool { return f.s.rows("TRUE") >= len(f.acked) })
	got := f.s.table()
	require.Len(f.s.t, got, len(f.acked))
	for k, state := range f.acked {
		if !sameJSON(got[k].State, state) {
			require.FailNow(f.s.t, "acknowledged step is not there as it was saved", "%v", k)
		}
	}
	require.Equal(f.s.t, len(f.acked), f.s.events(), "one event a step")
}
