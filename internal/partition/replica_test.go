package partition_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// replica is one replica's connections to the world: it is Leases, Log and Store, with faults.
type replica struct {
	*world
	name   string
	took   time.Duration // of a commit
	linger time.Duration // of batches
	away   time.Duration // of everything else: how far the database is away
	sure   bool          // a commit that is under way is not cancelled

	fmu    sync.Mutex
	faults map[string][]error // by method, popped; errHang blocks until ctx ends
	calls  map[string][]time.Duration
	paused chan struct{} // when set, each call blocks until it is closed, and then goes on, or its ctx ends
	buried func()        // when set, called once letters were put
	cut    error         // when set, each call fails with it
}

var (
	errHang = errors.New("hang")
	errCut  = errors.New("connection refused")
)

func (w *world) replica(name string) *replica {
	return &replica{world: w, name: name, faults: map[string][]error{}, calls: map[string][]time.Duration{}}
}

// fail makes the next calls of method fail.
func (r *replica) fail(method string, errs ...error) {
	r.fmu.Lock()
	defer r.fmu.Unlock()
	r.faults[method] = append(r.faults[method], errs...)
}

// pause freezes the replica's connections until the returned function is called.
func (r *replica) pause() (resume func()) {
	r.fmu.Lock()
	defer r.fmu.Unlock()
	ch := make(chan struct{})
	r.paused = ch
	return func() {
		r.fmu.Lock()
		r.paused = nil
		r.fmu.Unlock()
		close(ch)
	}
}

// crash cuts the replica off for good.
func (r *replica) crash() { r.reach(errCut) }

// reach makes each call of the replica fail with err from now on, or none when it is nil.
func (r *replica) reach(err error) {
	r.fmu.Lock()
	defer r.fmu.Unlock()
	r.cut = err
}

// called is when method was called.
func (r *replica) called(method string) []time.Duration {
	r.fmu.Lock()
	defer r.fmu.Unlock()
	return slices.Clone(r.calls[method])
}

// arrive counts a call and injects its fault.
func (r *replica) arrive(ctx context.Context, method string) error {
	r.fmu.Lock()
	r.calls[method] = append(r.calls[method], time.Since(epoch))
	var err error
	if list := r.faults[method]; len(list) > 0 {
		err, r.faults[method] = list[0], list[1:]
	}
	r.fmu.Unlock()
	if errors.Is(err, errHang) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if r.away > 0 {
		select {
		case <-time.After(r.away):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return r.connected(ctx)
}

// connected blocks while the replica is paused, and fails once it crashed.
func (r *replica) connected(ctx context.Context) error {
	r.fmu.Lock()
	paused, cut := r.paused, r.cut
	r.fmu.Unlock()
	if paused != nil {
		select {
		case <-paused:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if cut != nil {
		return cut
	}
	return context.Cause(ctx)
}

func (r *replica) Acquire(ctx context.Context, p int, reclaim bool) (partition.Term, error) {
	if err := r.arrive(ctx, "acquire"); err != nil {
		return partition.Term{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &r.rows[p]
	if row.owner != "" && time.Now().Before(row.until) && (!reclaim || row.owner != r.name) {
		return partition.Term{}, fmt.Errorf("%w: %s", partition.ErrHeld, row.owner)
	}
	if !row.free.IsZero() {
		row.longest, row.free = max(row.longest, time.Since(row.free)), time.Time{}
	}
	row.owner, row.epoch, row.until = r.name, row.epoch+1, time.Now().Add(lease)
	return partition.Term{Partition: p, Epoch: row.epoch, Position: row.position}, nil
}

func (r *replica) Look(ctx context.Context) (partition.View, error) {
	if err := r.arrive(ctx, "look"); err != nil {
		return partition.View{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := partition.View{Self: r.name, Replicas: map[string]time.Duration{}}
	for name, until := range r.present {
		if left := time.Until(until); left > 0 {
			v.Replicas[name] = left
		}
	}
	for _, row := range r.rows {
		v.Leases = append(v.Leases, partition.Lease{Owner: row.owner, Left: time.Until(row.until)})
	}
	return v, nil
}

func (r *replica) Renew(ctx context.Context, terms []partition.Term, present bool) (lost []partition.Term, err error) {
	method := "renew"
	if len(terms) == 0 {
		method = "appear"
	}
	if err := r.arrive(ctx, method); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if present {
		r.present[r.name] = time.Now().Add(lease)
	} else {
		delete(r.present, r.name)
	}
	for _, t := range terms {
		row := &r.rows[t.Partition]
		if row.owner != r.name || row.epoch != t.Epoch {
			lost = append(lost, t)
			continue
		}
		row.until = time.Now().Add(lease)
	}
	return lost, nil
}

func (r *replica) Release(ctx context.Context, t partition.Term) error {
	if err := r.arrive(ctx, "release"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := &r.rows[t.Partition]; row.owner == r.name && row.epoch == t.Epoch {
		row.owner, row.free = "", time.Now()
	}
	return nil
}

func (r *replica) Place(ctx context.Context, p int) (wire.Place, error) {
	if err := r.arrive(ctx, "position"); err != nil {
		return wire.Place{}, err
	}
	return wire.Place{Sequence: r.row(p).position}, nil
}

func (r *replica) Read(ctx context.Context, p int, from wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error {
	after := from.Sequence
	for method := "read"; ; method = "read on" {
		if err := r.arrive(ctx, method); err != nil {
			return err
		}
		r.mu.Lock()
		all, grown := r.events[p], r.grown[p]
		r.mu.Unlock()
		from, _ := slices.BinarySearchFunc(all, after+1, func(ev wire.Event, seq uint64) int { return cmp.Compare(ev.Message.Sequence, seq) })
		events := all[from:] // is only ever appended to
		for i, ev := range events {
			if err := deliver(ctx, ev); err != nil {
				return err
			}
			after = ev.Message.Sequence
			pending(int64(len(events) - i - 1))
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *replica) Pending(ctx context.Context, p int, after uint64) (int64, error) {
	if err := r.arrive(ctx, "pending"); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var n int64
	for _, ev := range r.events[p] {
		if ev.Message.Sequence > after {
			n++
		}
	}
	return n, nil
}

func (r *replica) Trim(ctx context.Context, p int, position wire.Place, before time.Time) error {
	if err := r.arrive(ctx, "trim"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trims = append(r.trims, trim{time.Since(epoch), p, position.Sequence, time.Since(before)})
	return nil
}

// set makes the replica's set. Nothing in it is random.
func (r *replica) set(t *testing.T, cfg partition.Config) *partition.Set {
	t.Helper()
	if cfg.Partitions == 0 {
		cfg.Partitions = len(r.rows)
	}
	cfg.Lease, cfg.Jitter = lease, -1
	batching := batcher.Config{Jitter: -1, QueueBytes: 8 << 10, MaxBytes: 4 << 10, RetryMin: time.Second, RetryMax: time.Second, Linger: r.linger}.WithDefaults()
	require.NoError(t, batching.Validate())
	deps := batcher.Deps{Store: r, DeadLetters: r, Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t)}
	return partition.New(cfg, partition.Deps{
		Leases: r, Log: r, Logger: zaptest.NewLogger(t).Named(r.name), Tell: r.tell,
		Batcher: func(at batcher.Start) *batcher.Batcher { return batcher.New(batching, deps, at) },
	})
}

// tell is a replica's hint to the others.
func (r *replica) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return
	}
	for _, wake := range r.told {
		wake()
	}
}

// start starts a set and lets it come to rest.
func (r *replica) start(t *testing.T, cfg partition.Config) *partition.Set {
	t.Helper()
	s := r.set(t, cfg)
	require.NoError(t, s.Start(t.Context()))
	return s
}
