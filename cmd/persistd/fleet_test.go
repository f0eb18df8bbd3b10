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
	failed []error
}

// fleet sends workers out, each with a run of its own and states of a size that do not compress; each saves a step per pace.
func (s *stack) fleet(workers, size int, pace time.Duration, opts ...client.Option) *fleet {
	s.t.Helper()
	st := s.open(opts...)
	ctx, cancel := context.WithCancel(context.Background())
	f := &fleet{s: s, stop: cancel, acked: map[rowKey]string{}}
	for w := range workers {
		f.wg.Go(func() { f.work(ctx, st, fmt.Sprintf("run-%d", w), size, pace) })
	}
	s.t.Cleanup(func() {
		cancel()
		f.wg.Wait()
	})
	return f
}

// work saves step after step. A step is begun before stop and seen to its end: its outcome is always known.
func (f *fleet) work(ctx context.Context, st client.Store[json.RawMessage], run string, size int, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for step := int32(0); ; step++ {
		state := randomState(size)
		if err := st.SaveStep(context.WithoutCancel(ctx), run, int(step), "node", state); err != nil {
			f.mu.Lock()
			f.failed = append(f.failed, err)
			f.mu.Unlock()
			return
		}
		f.mu.Lock()
		f.acked[rowKey{run, step}] = string(state)
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

func randomState(size int) json.RawMessage {
	b := make([]byte, max(1, size*3/4))
	for i := range b {
		b[i] = byte(rand.Uint32()) //nolint:gosec // noise.
	}
	return json.RawMessage(`{"pad":"` + base64.StdEncoding.EncodeToString(b) + `"}`)
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
	events := f.s.matchesLog()
	require.Len(f.s.t, events, len(f.acked), "one event a step")
	got := f.s.table()
	for k, state := range f.acked {
		require.True(f.s.t, got[k].State == state || sameJSON(got[k].State, state), "acknowledged step %v", k)
	}
}
