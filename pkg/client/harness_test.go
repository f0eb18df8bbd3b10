package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

const (
	// soon is long enough for whatever is to happen, eventually is how long a test waits for it at most.
	soon       = 200 * time.Millisecond
	eventually = time.Minute
	poll       = 5 * time.Millisecond
	partitions = 8
)

var subjects = wire.Subjects{Prefix: "persistd"}

// state is what the tests save.
type state struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

// thelog is the log as the tests see it: over a connection of their own, which nothing disturbs.
type thelog struct {
	url string
	nc  *nats.Conn
	js  jetstream.JetStream

	mu      sync.Mutex // guards the rest
	created time.Time  // the stream that was read
	read    map[uint64]wire.Event
}

// newLog starts a server with the log in it.
func newLog(t *testing.T) *thelog {
	t.Helper()
	l := observe(t, stacktest.NATS(t).URL())
	l.create(t, -1)
	return l
}

// observe connects to a server on which there may be no log yet.
func observe(t testing.TB, url string, opts ...nats.Option) *thelog {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return &thelog{url: url, nc: nc, js: js}
}

// create makes the stream as design.md describes it; maxBytes -1 is no limit.
func (l *thelog) create(t testing.TB, maxBytes int64) {
	t.Helper()
	l.update(t, func(c *jetstream.StreamConfig) { c.MaxBytes = maxBytes })
}

func (l *thelog) update(t testing.TB, change func(*jetstream.StreamConfig)) {
	t.Helper()
	source, destination := subjects.Transform(partitions)
	cfg := jetstream.StreamConfig{
		Name: "persistd", Subjects: subjects.WriteFilters(), Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, AllowDirect: true, AllowAtomicPublish: true,
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		MaxBytes:         -1,
	}
	change(&cfg)
	_, err := l.js.CreateOrUpdateStream(t.Context(), cfg)
	require.NoError(t, err)
}

func (l *thelog) purge(t *testing.T) {
	t.Helper()
	s, err := l.js.Stream(t.Context(), "persistd")
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context()))
	l.forget()
}

// count is how many messages the log holds.
func (l *thelog) count(ctx context.Context) uint64 {
	s, err := l.js.Stream(ctx, "persistd")
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.Msgs
}

func (l *thelog) requireCount(t *testing.T, n uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return l.count(t.Context()) == n }, eventually, poll)
}

// messages is the whole log. What was read before is not read again: persistd's stand-in looks for each answer.
func (l *thelog) messages(ctx context.Context) ([]wire.Event, error) {
	s, err := l.js.Stream(ctx, "persistd")
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !info.Created.Equal(l.created) {
		l.created, l.read = info.Created, map[uint64]wire.Event{}
	}
	var events []wire.Event
	for seq := max(1, info.State.FirstSeq); seq <= info.State.LastSeq; seq++ {
		ev, ok := l.read[seq]
		if !ok {
			m, err := s.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) { // purged
				continue
			}
			if err != nil {
				return nil, err
			}
			ev = subjects.Decode(wire.Message{Subject: m.Subject, Header: wire.Header(m.Header), Body: m.Data, Sequence: m.Sequence, Logged: m.Time})
			l.read[seq] = ev
		}
		events = append(events, ev)
	}
	return events, nil
}

// forget has the log be read anew, after something was removed from it.
func (l *thelog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.read)
}

// events are the log's events, of which parts that stand side by side are one.
func (l *thelog) events(ctx context.Context) ([]wire.Event, error) {
	messages, err := l.messages(ctx)
	if err != nil {
		return nil, err
	}
	var events, parts []wire.Event
	for i := range messages {
		var before wire.Part
		if len(parts) > 0 {
			before = parts[len(parts)-1].Part
		}
		switch part := messages[i].Part; {
		case part.Transaction == "" && len(parts) == 0:
			events = append(events, messages[i])
			continue
		case !part.Follows(before):
			return nil, fmt.Errorf("part %s stands after part %s", part, before)
		}
		if parts = append(parts, messages[i]); messages[i].Part.Last() {
			events, parts = append(events, wire.Join(parts)), nil
		}
	}
	if len(parts) > 0 {
		return nil, errors.New("the log ends in the middle of a transaction")
	}
	return events, nil
}

func (l *thelog) requireEvents(t *testing.T) []wire.Event {
	t.Helper()
	events, err := l.events(t.Context())
	require.NoError(t, err)
	for _, ev := range events {
		require.Nil(t, ev.Poison, "the client published poison")
	}
	return events
}

// steps are the steps of each run in the order of the log.
func (l *thelog) steps(t *testing.T) map[string][]int {
	t.Helper()
	steps := map[string][]int{}
	for _, ev := range l.requireEvents(t) {
		for _, op := range ev.Ops {
			steps[ev.RunID] = append(steps[ev.RunID], int(op.Step))
		}
	}
	return steps
}

// tap receives every publish of a worker, logged or not.
func (l *thelog) tap(t *testing.T) <-chan *nats.Msg {
	t.Helper()
	ch := make(chan *nats.Msg, 1<<16)
	_, err := l.nc.ChanSubscribe("persistd.write.>", ch)
	require.NoError(t, err)
	require.NoError(t, l.nc.Flush())
	return ch
}

func (l *thelog) open(t *testing.T, opts ...client.Option) client.Store[state] {
	t.Helper()
	return open[state](t, l.url, opts...)
}

// open opens a store that is closed, with any outcome, when t ends.
func open[S any](t testing.TB, url string, opts ...client.Option) client.Store[S] {
	t.Helper()
	st, err := client.Open[S](t.Context(), url, append([]client.Option{client.WithCloseTimeout(0)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// within is a ctx that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func async(ctx context.Context) context.Context {
	return client.ContextWithDurability(ctx, client.Async)
}

func committed(ctx context.Context) context.Context {
	return client.ContextWithDurability(ctx, client.Committed)
}

// goSave saves a step on a goroutine of its own and returns where the outcome comes.
func goSave(ctx context.Context, st client.Store[state], run string, step int) <-chan error {
	done := make(chan error, 1)
	go func() { done <- st.SaveStep(ctx, run, step, "node", state{N: step}) }()
	return done
}

func requireSoon[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(eventually):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func requireBlocked[T any](t *testing.T, ch <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v := <-ch:
		require.Failf(t, "it did not block", "got %v", v)
	case <-time.After(d):
	}
}

// contextForAnswer bounds what the stand-in for persistd does for one request.
func contextForAnswer() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), eventually)
}
