package relay

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// outbox is events_outbox in memory, leases included.
type outbox struct {
	mu       sync.Mutex
	events   []wire.OutboxRecord
	emitted  map[string]bool
	leases   map[string]lease
	claimErr error
	markErr  error
	claims   int
}

type lease struct {
	holder string
	until  time.Time
}

func newOutbox(events ...wire.OutboxRecord) *outbox {
	return &outbox{events: events, emitted: map[string]bool{}, leases: map[string]lease{}}
}

func (o *outbox) Claim(_ context.Context, q wire.EventsRequest) (out []wire.OutboxRecord, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claims++
	if o.claimErr != nil {
		return nil, o.claimErr
	}
	blocked := map[string]bool{}
	for _, ev := range o.events {
		l := o.leases[ev.EventID]
		switch {
		case o.emitted[ev.EventID] || blocked[ev.RunID]:
		case l.holder != q.Holder && time.Now().Before(l.until):
			blocked[ev.RunID] = true
		case len(out) < q.Limit:
			o.leases[ev.EventID] = lease{q.Holder, time.Now().Add(time.Duration(q.LeaseMS) * time.Millisecond)}
			out = append(out, ev)
		}
	}
	return out, nil
}

func (o *outbox) MarkEmitted(_ context.Context, ids []string) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.markErr != nil {
		return 0, o.markErr
	}
	for _, id := range ids {
		o.emitted[id] = true
	}
	return int64(len(ids)), nil
}

func (o *outbox) pending() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.events) - len(o.emitted)
}

func (o *outbox) set(change func(*outbox)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// sink takes what it is given, in order, unless refuse says otherwise.
type sink struct {
	mu     sync.Mutex
	taken  []string
	refuse func(id string) error
	slow   time.Duration
}

func (s *sink) Publish(ctx context.Context, ev wire.OutboxRecord) error {
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(ev.EventID); err != nil {
			return err
		}
	}
	s.taken = append(s.taken, ev.EventID)
	return nil
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

func events(runs, each int) (list []wire.OutboxRecord) {
	for i := range each {
		for run := range runs {
			list = append(list, wire.OutboxRecord{EventID: fmt.Sprintf("%d-%d", run, i), RunID: fmt.Sprint(run), Data: []byte("{}")})
		}
	}
	return list
}

func start(t *testing.T, cfg Config, o Outbox, s Sink) *Relay {
	t.Helper()
	if cfg.Holder == "" {
		cfg.Holder = "here"
	}
	r, err := New(cfg, o, s, prometheus.NewRegistry(), zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	return r
}

// requireInOrder checks that of each run the events come in order, repetitions of what came before aside.
func requireInOrder(t *testing.T, taken []string) {
	t.Helper()
	next := map[string]int{}
	for _, id := range taken {
		var run string
		var n int
		_, err := fmt.Sscanf(id, "%1s-%d", &run, &n)
		require.NoError(t, err)
		require.LessOrEqual(t, n, next[run], "event %s came before the ones before it", id)
		next[run] = max(next[run], n+1)
	}
}

// after lets virtual time pass.
func after(d time.Duration) { <-time.After(d) }
