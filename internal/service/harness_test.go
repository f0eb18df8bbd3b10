package service_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

const (
	run        = "run/1"
	partitions = 8
)

var (
	home    = wire.Partition("default", run, partitions)
	created = time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
)

// data is what the replica reads, in memory: NATS is what is tested here.
type data struct {
	mu       sync.Mutex
	step     *wire.StepRecord
	position uint64
	err      error
	letter   *wire.Poison
	last     uint64 // of the run in the log
	history  history
	hold     chan struct{} // when set, reads wait until it is closed, or their ctx ends
	entered  chan struct{} // told of each read
	deadline []time.Duration
}

func (d *data) read(ctx context.Context) (*wire.StepRecord, uint64, error) {
	d.mu.Lock()
	step, pos, err, hold, entered := d.step, d.position, d.err, d.hold, d.entered
	d.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
	return step, pos, err
}

func (d *data) Latest(ctx context.Context, _ int, _ string) (*wire.StepRecord, uint32, uint64, error) {
	step, pos, err := d.read(ctx)
	return step, 0, max(pos, 1), err // what the tail ends with is in it: the row is read once
}

func (d *data) Position(ctx context.Context, _ int) (uint64, error) {
	at, _ := ctx.Deadline()
	d.mu.Lock()
	d.deadline = append(d.deadline, time.Until(at))
	d.mu.Unlock()
	_, pos, err := d.read(ctx)
	return pos, err
}

func (d *data) Checkpoint(ctx context.Context, _ int, id string) (*wire.CheckpointRecord, uint64, error) {
	_, pos, err := d.read(ctx)
	if id == "missing" {
		return nil, pos, err
	}
	return &wire.CheckpointRecord{Step: 3, Sequence: 8, SavedAt: created, State: []byte(`{"a": 1}`)}, pos, err
}

func (*data) Tail(context.Context, int, string, string, string, uint64, func(*wire.Event)) (uint64, error) {
	return 1, nil // it is in the row
}

func (d *data) Last(context.Context, int, string, string, string) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, d.err
}

func (*data) LastAttempt(context.Context, int, string, string) (uint32, uint64, error) {
	return 4, 9, nil
}

func (d *data) DeadLetter(context.Context, int, uint64) (wire.Poison, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.letter == nil {
		return wire.Poison{}, false, nil
	}
	return *d.letter, true, nil
}

// replica is a service on a server, and what is behind it.
type replica struct {
	*service.Service
	data    *data
	tracker *position.Tracker
	nc      *nats.Conn
	reg     *prometheus.Registry
}

// connect connects to a server until the test ends. A connection that is lost fails the test.
func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		if err != nil {
			t.Errorf("connection was lost: %v", err)
		}
	}))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// newReplica prepares a replica with a connection of its own.
func newReplica(t *testing.T, url string, change ...func(*service.Config, *readpath.Reader)) *replica {
	t.Helper()
	r := &replica{data: &data{}, tracker: position.NewTracker(partitions), nc: connect(t, url), reg: prometheus.NewPedanticRegistry()}
	reader := &readpath.Reader{
		Rows: r.data, History: r.data, Outbox: r.data, Tail: r.data, Letters: r.data,
		Positions: r.tracker, Partitions: partitions, Namespace: "default", Recheck: time.Minute,
	}
	cfg := service.Config{Subjects: wire.Subjects{Prefix: "persistd"}, Version: "1.2.3", Stream: "PERSISTD", Created: created}
	for _, f := range change {
		f(&cfg, reader)
	}
	status := func(context.Context) wire.Status { return wire.Status{Instance: "test", Stream: cfg.Stream} }
	r.Service = service.New(cfg, r.nc, reader, r.tracker, status, r.reg, zaptest.NewLogger(t))
	return r
}

// serve runs a replica on a server of its own until the test ends, and connects a caller.
func serve(t *testing.T, change ...func(*service.Config, *readpath.Reader)) (*replica, *nats.Conn) {
	t.Helper()
	url := stacktest.NATS(t).URL()
	r := newReplica(t, url, change...)
	r.start(t)
	return r, connect(t, url)
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	require.NoError(t, r.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, r.Stop(context.Background())) })
}

// ask sends a request and returns the reply, whatever it says.
func ask(t *testing.T, nc *nats.Conn, verb, body string, header ...string) *nats.Msg {
	t.Helper()
	m, err := nc.RequestMsg(request(verb, body, header...), 20*time.Second)
	require.NoError(t, err)
	return m
}

// askLater sends a request and returns where the reply will be.
func askLater(t *testing.T, nc *nats.Conn, verb, body string) *nats.Subscription {
	t.Helper()
	m := request(verb, body)
	m.Reply = nats.NewInbox()
	sub, err := nc.SubscribeSync(m.Reply)
	require.NoError(t, err)
	require.NoError(t, nc.PublishMsg(m))
	require.NoError(t, nc.Flush())
	return sub
}

func reply(t *testing.T, sub *nats.Subscription) *nats.Msg {
	t.Helper()
	m, err := sub.NextMsg(20 * time.Second)
	require.NoError(t, err)
	return m
}

func request(verb, body string, header ...string) *nats.Msg {
	subject := wire.Subjects{Prefix: "persistd"}.Read("default", verb)
	if verb == "status" {
		subject = "persistd.status"
	}
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	return m
}

// refused asserts that a reply is an error of status, and returns its words.
func refused(t *testing.T, m *nats.Msg, status string) string {
	t.Helper()
	require.Equal(t, status, m.Header.Get(wire.HeaderErrorCode), "%q %s", m.Header, m.Data)
	require.Empty(t, m.Data)
	return m.Header.Get(wire.HeaderError)
}

func (d *data) set(f func(*data)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}
