package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// script is what a subscription receives.
type script chan *nats.Msg

func (s script) NextMsgWithContext(ctx context.Context) (*nats.Msg, error) {
	select {
	case m := <-s:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s script) NextMsg(time.Duration) (*nats.Msg, error) {
	select {
	case m := <-s:
		return m, nil
	default:
		return nil, nats.ErrTimeout
	}
}

// What a server sends may be lost on the way, come twice, or be nothing at all. What is received is scripted, because a server guards
// the replies that mark its messages; the reader, its pulls and the connection are real.
func TestASessionEndsAtTheFirstDoubt(t *testing.T) {
	t.Parallel()
	event := func(seq, consumerSeq uint64) *nats.Msg {
		return &nats.Msg{
			Reply: fmt.Sprintf("$JS.ACK.PERSISTD.c.1.%d.%d.1700000000000000000.0", seq, consumerSeq),
			Data:  []byte(`{"step":1,"node_id":"n","state":1}`),
		}
	}
	status := func(header string) *nats.Msg {
		h, err := nats.DecodeHeadersMsg([]byte("NATS/1.0 " + header + "\r\n\r\n"))
		require.NoError(t, err)
		return &nats.Msg{Header: h}
	}
	tests := []struct {
		name      string
		after     uint64
		answers   [][]*nats.Msg // to each pull
		delivered []uint64
		err       string
	}{
		{"a message is lost in the middle", 0, [][]*nats.Msg{{event(1, 1), event(5, 3)}}, []uint64{1}, "message 3 of the consumer came after its 1"},
		{
			"the last message is lost, which a heartbeat tells", 0,
			[][]*nats.Msg{{event(1, 1), status("100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2")}},
			[]uint64{1},
			"message 2 of the consumer is missing after its 1",
		},
		{"a heartbeat tells nothing new", 0, [][]*nats.Msg{{event(1, 1), status("100 Idle Heartbeat\r\nNats-Last-Consumer: 1"), event(2, 2), status("503")}}, []uint64{1, 2}, "503"},
		{"a message comes again", 4, [][]*nats.Msg{{event(5, 1), event(5, 2)}}, []uint64{5}, "message 5 came after 5"},
		{"a message from before the position", 4, [][]*nats.Msg{{event(3, 1)}}, nil, "message 3 came after 4"},
		{"silence", 0, [][]*nats.Msg{{event(1, 1)}}, []uint64{1}, "no sign of the server"},
		{"the consumer is deleted", 0, [][]*nats.Msg{{event(1, 1), status("409 Consumer Deleted")}}, []uint64{1}, "409 Consumer Deleted"},
		{
			"a pull expires, and the next goes on", 0,
			[][]*nats.Msg{{event(1, 1), status("408 Request Timeout")}, {event(2, 2), status("409 Batch Completed")}, {event(3, 3)}},
			[]uint64{1, 2, 3},
			"no sign of the server",
		},
		{"the bytes of a pull are used up", 0, [][]*nats.Msg{{event(1, 1), status("409 Message Size Exceeds MaxBytes")}, {event(2, 2)}}, []uint64{1, 2}, "no sign of the server"},
		{"a message is larger than a pull", 0, [][]*nats.Msg{{status("409 Message Size Exceeds MaxBytes")}}, nil, "larger than the read-ahead"},
		{"what is no message of a consumer", 0, [][]*nats.Msg{{{Reply: "elsewhere", Data: []byte("x")}}}, nil, "read message's place"},
	}
	url := stacktest.NATS(t).URL()
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			js := connectTo(t, url)
			nc, pulls := js.Conn(), 0
			heartbeat := time.Hour
			if strings.Contains(test.err, "no sign") { // two and a half of them are the silence that the script ends with, and must not be within it
				heartbeat = time.Second
			}
			r, err := New(js, Config{Stream: "PERSISTD", Created: time.Unix(1, 0), Subjects: subjects, Heartbeat: heartbeat}, zap.NewNop(), prometheus.NewRegistry())
			require.NoError(t, err)
			next, received := fmt.Sprintf("scripted.%d", i), make(script, 10)
			_, err = nc.Subscribe(next, func(m *nats.Msg) {
				if pulls++; pulls > len(test.answers) {
					return
				}
				for _, a := range test.answers[pulls-1] {
					a.Subject, a.Sub = m.Reply, m.Sub
					if a.Reply != "" {
						a.Subject = "persistd.log.0.default.run.run-001"
					}
					received <- a
				}
			})
			require.NoError(t, err)
			var delivered []uint64
			p := &position{r: r, last: test.after, metrics: r.metrics.of(0), log: zap.NewNop(), deliver: func(_ context.Context, ev wire.Event) error {
				delivered = append(delivered, ev.Message.Sequence)
				return nil
			}}
			c := &natsConsumer{nc: nc, cfg: r.cfg, sub: received, inbox: nc.NewInbox(), next: next, reconnects: nc.Stats().Reconnects}
			s := &session{p: p, intake: intake{c: c, batch: r.cfg.ReadAheadMessages}}
			require.ErrorContains(t, s.run(within(t), within(t)), test.err)
			require.Equal(t, test.delivered, delivered)
		})
	}
}

// After a reconnect the last messages may be missing with nothing behind them to show it.
func TestASessionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	js := connectTo(t, stacktest.NATS(t).URL())
	r, err := New(js, Config{Stream: "PERSISTD", Created: time.Unix(1, 0), Subjects: subjects}, zap.NewNop(), prometheus.NewRegistry())
	require.NoError(t, err)
	received := make(script, 1)
	heartbeat, err := nats.DecodeHeadersMsg([]byte("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 0\r\n\r\n"))
	require.NoError(t, err)
	received <- &nats.Msg{Header: heartbeat}
	s := &session{
		p: &position{r: r, metrics: r.metrics.of(0), log: zap.NewNop()},
		intake: intake{
			c: &natsConsumer{nc: js.Conn(), cfg: r.cfg, sub: received, inbox: js.Conn().NewInbox(), next: "nobody"}, batch: r.cfg.ReadAheadMessages,
		},
	}
	reconnected := make(chan struct{})
	js.Conn().SetReconnectHandler(func(*nats.Conn) { close(reconnected) })
	require.NoError(t, js.Conn().ForceReconnect())
	<-reconnected
	require.ErrorContains(t, s.run(within(t), within(t)), "the connection was lost")
}

// A log that lost its end, and grew past the position again before the reader came back, has other events up to there.
func TestSessionNoticesThatTheLogLostItsEndAndGrewAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	publish(t, w.js, 1, 6, 0)
	m, err := w.js.Stream(within(t), w.stream.Name())
	require.NoError(t, err)
	fifth, err := m.GetMsg(within(t), 5)
	require.NoError(t, err)
	at := func(logged time.Time) error {
		p := &position{
			r: w.reader, last: 5, logged: logged, metrics: w.reader.metrics.of(0), log: zap.NewNop(),
			deliver: func(context.Context, wire.Event) error { return errEnough },
		}
		return p.session(within(t))
	}
	err = at(fifth.Time.Add(-time.Second)) // the event delivered as 5 was another one
	require.ErrorIs(t, err, ErrShort)
	require.ErrorContains(t, err, "event 5 of stream PERSISTD was logged at")
	require.ErrorIs(t, at(fifth.Time), errEnough, "event 6 is delivered")
	require.NoError(t, w.stream.Trim(within(t), 0, wire.Place{Sequence: 5}, time.Now().Add(time.Hour)))
	require.ErrorIs(t, at(fifth.Time.Add(-time.Second)), errEnough, "trimmed")
}

// A log that lost its end and grew again is noticed by the last part of the transaction delivered last.
func TestSessionComparesTheLastPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	batch(t, w.js, parts("run-001", "tx", 3))
	publish(t, w.js, 1, 1, 0)
	joined := read(t, w.reader, 0, 1, nil)[0]
	p := &position{
		r: w.reader, metrics: w.reader.metrics.of(0), log: w.reader.log,
		deliver: func(_ context.Context, ev wire.Event) error {
			if ev.Parts == nil {
				return errEnough
			}
			return nil
		},
	}
	require.ErrorIs(t, p.session(within(t)), errEnough)
	require.EqualValues(t, 3, p.last)
	require.True(t, p.logged.Equal(joined.Message.Logged))
	require.ErrorIs(t, p.session(within(t)), errEnough, "it is still there")
	p.logged = p.logged.Add(-time.Second)
	require.ErrorIs(t, p.session(within(t)), ErrShort)
}
