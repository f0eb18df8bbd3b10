package ingest

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// What a step allocates on its way through the daemon the collector has to look at, and a daemon that drains a backlog does little else. The
// messages are a server's, with the headers that a client writes; they come again and again, so that nothing of the server's or of the
// connection's is counted. What sessions, chunks and batches allocate is shared by all steps that they have, and is no whole allocation of any.
func TestAStepGoesFromTheLogIntoABatchInThreeAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations.
	const steps = 1000
	w := newWorld(t, stacktest.NATSProcess(t).URL(), Config{})
	w.reader.cfg.Partitions = 1 // what a tape may hold is of all of them
	c, messages := received(t, w, steps)
	deps := batcher.Deps{Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Gate: batcher.NewGate(1, nil), Log: zap.NewNop()}
	for name, consumer := range map[string]func() Consumer{
		"of its partition": func() Consumer { return c },
		"of all partitions": func() Consumer {
			_, lanes := newTape(c, []uint64{1}, w.reader.cfg, func(*tape) {})
			return lanes[0]
		},
	} {
		store := &counting{}
		deps.Store = store
		n := testing.AllocsPerRun(20, func() {
			b := batcher.New(batcher.Config{}.WithDefaults(), deps, batcher.Start{})
			c.sub = &again{messages}
			s := &session{intake: intake{c: consumer(), batch: steps}, p: &position{r: w.reader, metrics: w.reader.metrics.of(0)}}
			s.p.deliver = func(ctx context.Context, ev wire.Event) error {
				if err := b.Add(ctx, ev); err != nil || ev.Message.Sequence < steps {
					return err
				}
				return errEnough
			}
			require.ErrorIs(t, s.run(t.Context(), t.Context()), errEnough)
			b.Close()
			require.NoError(t, b.Run(t.Context()))
		})
		require.Equal(t, 21*steps, store.events, "all were gathered, also in the run that warms up")
		// The op and the node's id when it is decoded, and the event, which the queue has.
		require.InDelta(t, 3, n/steps, 0.25, name)
	}
}

// received is a consumer of w's only partition, and the steps that it was sent.
func received(t *testing.T, w *world, steps int) (*asked, []*nats.Msg) {
	t.Helper()
	for i := range steps {
		m := nats.NewMsg(subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001"))
		m.Header.Set(wire.HeaderMsgID, "dQw4w9WgXcQ3n8jK-"+strconv.Itoa(i))
		m.Header.Set(wire.HeaderChain, fmt.Sprintf("dQw4w9WgXcQ3n8jK-1 %d", i+1))
		m.Data = fmt.Appendf(nil, `{"run_id":"run-001","step":%d,"node_id":"node","state":{"n":%d}}`, i, i)
		_, err := w.js.PublishMsgAsync(m)
		require.NoError(t, err)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("publish: no acknowledgement")
	}
	c, _, err := w.reader.server.Open(within(t), 0, 1)
	require.NoError(t, err)
	sent := c.(*natsConsumer) //nolint:forcetypeassert // a reader of one partition shares with nobody.
	require.NoError(t, sent.Ask(1, steps))
	messages := make([]*nats.Msg, steps)
	for i := range messages {
		messages[i], err = sent.sub.NextMsgWithContext(within(t))
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	return &asked{sent}, messages
}

// asked is a consumer that was asked for all that comes.
type asked struct{ *natsConsumer }

func (*asked) Ask(int, int) error { return nil }

// again has received messages that come again.
type again struct{ messages []*nats.Msg }

func (a *again) NextMsg(time.Duration) (*nats.Msg, error) {
	if len(a.messages) == 0 {
		return nil, nats.ErrTimeout
	}
	m := a.messages[0]
	a.messages = a.messages[1:]
	return m, nil
}

func (a *again) NextMsgWithContext(context.Context) (*nats.Msg, error) { return a.NextMsg(0) }

// counting is a store that keeps nothing.
type counting struct{ events int }

func (c *counting) Commit(_ context.Context, b *batcher.Batch) error {
	c.events += len(b.Events)
	return nil
}
