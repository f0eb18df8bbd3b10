package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where synctest's clock starts

// model is a transactional store in memory: rows and a position that change together, with faults to inject before a commit, after
// it (the outcome is then unknown to the caller) and instead of it.
type model struct {
	mu        sync.Mutex
	position  uint64
	epoch     uint64
	applied   []uint64 // sequences whose ops were applied, in order
	commits   []commit // successful ones
	attempts  int
	took      time.Duration // of each attempt
	before    []error       // the next attempts fail with these, unless nil, and change nothing
	after     []error       // the next attempts commit and then fail with these, unless nil
	refuse    func(*wire.Event) bool
	stale     func(*wire.Event) *wire.Poison // why an event is refused by name, or nil
	check     func(*batcher.Batch)           // looks at each batch that comes
	hang      int                            // so many attempts block until their ctx ends
	inFlight  int
	mostAtOne int
}

type commit struct {
	at     time.Duration
	events int
	rows   int
}

func (m *model) Commit(ctx context.Context, b *batcher.Batch) error {
	m.mu.Lock()
	m.attempts++
	m.inFlight++
	m.mostAtOne = max(m.mostAtOne, m.inFlight)
	hang := m.hang > 0
	m.hang = max(0, m.hang-1)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.inFlight--
		m.mu.Unlock()
	}()
	if hang {
		<-ctx.Done()
		return &batcher.Error{Class: batcher.Again, Err: ctx.Err()}
	}
	select {
	case <-time.After(m.took):
	case <-ctx.Done():
		return &batcher.Error{Class: batcher.Again, Err: ctx.Err()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := pop(&m.before); err != nil {
		return err
	}
	switch {
	case b.Epoch != m.epoch:
		return &batcher.Error{Class: batcher.Lost, Err: errors.New("another epoch")}
	case m.position == b.Last():
		return nil // an earlier attempt committed
	case m.position != b.After:
		return &batcher.Error{Class: batcher.Moved, Err: fmt.Errorf("position is %d, not %d", m.position, b.After)}
	}
	if m.check != nil {
		m.check(b)
	}
	refused := map[uint64]wire.Poison{}
	for _, ev := range b.Events {
		if ev.Poison == nil && m.stale != nil {
			if why := m.stale(ev); why != nil {
				refused[ev.Message.Sequence] = *why
			}
		}
	}
	if len(refused) > 0 {
		return &batcher.Error{Class: batcher.Refused, Refused: refused, Err: errors.New("stale")}
	}
	rows := 0
	for _, ev := range b.Events {
		if ev.Poison == nil && m.refuse != nil && m.refuse(ev) {
			return &batcher.Error{Class: batcher.Never, Number: 1406, Err: errors.New("data too long")}
		}
		rows += len(ev.Ops)
	}
	for _, ev := range b.Events {
		if ev.Poison == nil {
			m.applied = append(m.applied, ev.Message.Sequence)
		}
	}
	m.position = b.Last()
	m.commits = append(m.commits, commit{time.Since(epoch), len(b.Events), rows})
	return pop(&m.after)
}

func pop(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

// graveyard keeps dead letters in memory, once each.
type graveyard struct {
	mu      sync.Mutex
	letters map[uint64]wire.Poison
	fail    []error
	puts    int
	onPut   func()
}

func (g *graveyard) Put(_ context.Context, events []*wire.Event) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.puts++
	if err := pop(&g.fail); err != nil {
		return err
	}
	for _, ev := range events {
		g.letters[ev.Message.Sequence] = *ev.Poison
	}
	if g.onPut != nil {
		g.onPut()
	}
	return nil
}

type bundle struct {
	*batcher.Batcher
	store   *model
	graves  *graveyard
	reg     *prometheus.Registry
	reports []batcher.Committed
	circuit *batcher.Circuit
}

func setup(t *testing.T, cfg batcher.Config, change ...func(*batcher.Deps)) *bundle {
	t.Helper()
	cfg.Jitter = -1 // exact figures
	cfg = cfg.WithDefaults()
	require.NoError(t, cfg.Validate())
	b := &bundle{store: &model{epoch: 7}, graves: &graveyard{letters: map[uint64]wire.Poison{}}, reg: prometheus.NewPedanticRegistry()}
	deps := batcher.Deps{
		Store: b.store, DeadLetters: b.graves, Metrics: batcher.NewMetrics(b.reg), Log: zaptest.NewLogger(t),
		Gate:     batcher.NewGate(4, nil),
		OnCommit: func(c batcher.Committed) { b.reports = append(b.reports, c) },
	}
	for _, f := range change {
		f(&deps)
	}
	b.Batcher = batcher.New(cfg, deps, batcher.Start{Partition: 3, Epoch: 7})
	return b
}

// step is a good event of one row whose Size is size.
func step(seq uint64, size int) wire.Event {
	return wire.Event{
		Message: wire.Message{Sequence: seq, Logged: time.Now()}, Partition: 3, RunID: "run", Size: size,
		Ops: []wire.Op{{Type: wire.OpStep, Step: int32(seq), State: []byte("{}")}},
	}
}

func poisoned(seq uint64) wire.Event {
	ev := step(seq, 10)
	ev.Ops, ev.Poison = nil, &wire.Poison{Code: wire.CodeNotJSON, Reason: "body is not valid JSON"}
	return ev
}

func (b *bundle) add(t *testing.T, events ...wire.Event) {
	t.Helper()
	for _, ev := range events {
		require.NoError(t, b.Add(t.Context(), ev))
	}
}

// steps are good events from one sequence to another.
func steps(from, to uint64) []wire.Event {
	var evs []wire.Event
	for seq := from; seq <= to; seq++ {
		evs = append(evs, step(seq, 100))
	}
	return evs
}

func sequences(from, to uint64) []uint64 {
	var seqs []uint64
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

// metric is the value of a counter or gauge, by its exposition line's beginning.
func (b *bundle) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := b.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if strings.Join(have, ",") == strings.Join(labels, ",") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	require.Failf(t, "no such metric", "%s %v", name, labels)
	return 0
}
