package client

import (
	"context"
	"sync"

	"github.com/persistd/persistd/internal/wire"
)

// MemStore keeps everything in the memory of the process: for tests, and for programs whose runs need not outlive them. It does all that
// [Store] says, and does it at once: a write is committed when its call returns, whatever the durability, and an [Async] write's error is the
// call's.
type MemStore[S any] struct {
	*store[S]
	data *memData
}

var _ Store[any] = (*MemStore[any])(nil)

// NewMemStore returns a store that is empty. Options that are wrong make every call but Close fail with [ErrInvalidOption].
func NewMemStore[S any](opts ...Option) *MemStore[S] { return openMemory[S](newMemData(), opts) }

// Open returns another store on the same data: that of another worker, or of this one after a restart. The data stays when a store is
// closed.
func (m *MemStore[S]) Open(opts ...Option) *MemStore[S] { return openMemory[S](m.data, opts) }

func openMemory[S any](data *memData, opts []Option) *MemStore[S] {
	cfg, err := newConfig(opts)
	if err != nil {
		cfg = defaults()
	}
	st := newStore[S](&memory{data: data, closed: make(chan struct{})}, cfg)
	st.invalid = err
	return &MemStore[S]{store: st, data: data}
}

// memory is one store's way to the data.
type memory struct {
	data    *memData
	closing sync.Once
	closed  chan struct{}
}

var _ backend = (*memory)(nil)

// usable is why no call can be made, or nil.
func (m *memory) usable(ctx context.Context) error {
	select {
	case <-m.closed:
		return ErrClosed
	default:
		return ctx.Err() //nolint:wrapcheck // the store says what was to be done.
	}
}

func (m *memory) apply(ctx context.Context, w *write) error {
	if err := m.usable(ctx); err != nil {
		return err
	}
	return m.data.apply(w)
}

func (m *memory) begin(ctx context.Context, runID string) (uint32, error) {
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	return m.data.begin(runID)
}

func (m *memory) latest(ctx context.Context, runID string) (*wire.StepRecord, error) {
	return readMemory(ctx, m, func(d *memData) *wire.StepRecord { return d.latestLocked(runID) })
}

func (m *memory) checkpoint(ctx context.Context, id string) (*wire.CheckpointRecord, error) {
	return readMemory(ctx, m, func(d *memData) *wire.CheckpointRecord { return d.checkpointLocked(id) })
}

func (m *memory) checkpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error) {
	return readMemory(ctx, m, func(d *memData) *wire.V2Record { return d.checkpointV2Locked(q) })
}

func (m *memory) checkpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	return readMemory(ctx, m, func(d *memData) wire.V2ListReply { return d.checkpointsV2Locked(q) })
}

func (m *memory) steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	return readMemory(ctx, m, func(d *memData) wire.StepsReply { return d.stepsLocked(q) })
}

func (m *memory) runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error) {
	return readMemory(ctx, m, func(d *memData) wire.RunsReply { return d.runsLocked(q) })
}

func (m *memory) used(ctx context.Context, key string) (bool, error) {
	return readMemory(ctx, m, func(d *memData) bool { _, used := d.keys[key]; return used })
}

func (m *memory) claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	return readMemory(ctx, m, func(d *memData) []wire.OutboxRecord { return d.claimLocked(q) })
}

func (m *memory) markEmitted(ctx context.Context, ids []string) error {
	_, err := readMemory(ctx, m, func(d *memData) struct{} { d.markLocked(ids); return struct{}{} })
	return err
}

// readMemory answers at one moment.
func readMemory[R any](ctx context.Context, m *memory, answer func(d *memData) R) (R, error) {
	if err := m.usable(ctx); err != nil {
		var none R
		return none, err
	}
	m.data.mu.Lock()
	defer m.data.mu.Unlock()
	return answer(m.data), nil
}

func (m *memory) flush(ctx context.Context) error { return m.usable(ctx) }

func (m *memory) ping(ctx context.Context) error { return m.usable(ctx) }

func (m *memory) close() error {
	m.closing.Do(func() { close(m.closed) })
	return nil
}
