package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestI5ATransactionInPartsIsOneEvent(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		cfg   Config
		parts int
	}{
		"within one pull":               {Config{}, 20},
		"across pulls":                  {Config{ReadAheadMessages: 7}, 20},
		"with a pull for each message":  {Config{ReadAheadMessages: 1}, 20},
		"of as many parts as there may": {Config{}, wire.MaxParts},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stacktest.NATS(t).URL(), row.cfg)
			n := uint64(row.parts)
			publish(t, w.js, 1, 2, 0)
			require.Equal(t, n+2, batch(t, w.js, parts("run-002", "tx", row.parts)))
			publish(t, w.js, 3, 3, 0)

			var pending []int64
			events := read(t, w.reader, 0, 4, func(left int64) { pending = append(pending, left) })
			require.Equal(t, []uint64{1}, messages(events[0]))
			require.Equal(t, from(3, n+2), messages(events[2]))
			require.Equal(t, []uint64{n + 3}, messages(events[3]))
			joined := events[2]
			require.Nil(t, joined.Poison)
			require.Equal(t, "run-002", joined.RunID)
			require.Equal(t, n+2, joined.Message.Sequence)
			require.Zero(t, joined.Part)
			require.Len(t, joined.Ops, row.parts)
			for i, op := range joined.Ops {
				require.Equal(t, int32(i+1), op.Step)
				require.JSONEq(t, fmt.Sprintf(`{"of":%d}`, row.parts), string(op.State))
			}
			// 1 and 2 are delivered; while the parts come, all of them are behind 2; after the last, only the step is.
			want := []int64{int64(n) + 3, int64(n) + 2, int64(n) + 1}
			for range row.parts - 1 {
				want = append(want, int64(n)+1)
			}
			require.Equal(t, append(want, 1), pending)
			require.Equal(t, 4.0, testutil.ToFloat64(w.reader.metrics.events.WithLabelValues("0")))
			size := len(events[0].Message.Body) + len(events[1].Message.Body) + len(events[3].Message.Body)
			for _, m := range joined.Parts {
				size += len(m.Body)
			}
			require.Equal(t, float64(size), testutil.ToFloat64(w.reader.metrics.bytes.WithLabelValues("0")))

			require.Equal(t, []uint64{n + 3}, collect(t, w.reader, joined.Message.Sequence, n+3), "a position after it is after all of it")
		})
	}
}

// Nearly the largest there may be: many pulls' bytes, in one atomic batch.
func TestI5ATransactionIsLargerThanTheReadAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	all := parts("run-001", "tx", 62)
	state := append(append([]byte(`"`), bytes.Repeat([]byte("x"), 1<<20-16<<10)...), '"')
	for i, m := range all {
		m.Data = fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":%s}`, i+1, state)
	}
	last := batch(t, w.js, all)
	publish(t, w.js, 1, 1, 0)
	events := read(t, w.reader, 0, 2, nil)
	require.Equal(t, from(1, last), messages(events[0]))
	require.Nil(t, events[0].Poison)
	require.Greater(t, events[0].Size, 60<<20)
	for _, op := range events[0].Ops {
		require.True(t, bytes.Equal(state, op.State))
	}
}

// A batch may hold more than the parts, and other partitions' events may stand between those: side by side is a partition's matter.
func TestI5PartsAreSideBySideInTheirPartition(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 2}, 2)
	zero, one := runIn(0, 2), runIn(1, 2)
	var mixed []*nats.Msg
	for no := 1; no <= 5; no++ {
		mixed = append(mixed, part(zero, "tx", no, 5), part(one, "", no, 0))
	}
	require.EqualValues(t, 10, batch(t, w.js, append(mixed, parts(zero, "another", 2)...))-2)
	events := read(t, w.reader, 0, 2, nil)
	require.Equal(t, []uint64{1, 3, 5, 7, 9}, messages(events[0]))
	require.Equal(t, []uint64{11, 12}, messages(events[1]))
	require.Nil(t, events[0].Poison)
}

func TestAPartThatIsPoisonMakesAllOfTheTransactionPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	all := parts("run-001", "tx", 3)
	all[0].Data = wire.Compress(all[0].Data)
	all[0].Header.Set(wire.HeaderEncoding, wire.EncodingZstd)
	all[1].Data = []byte("no JSON")
	batch(t, w.js, all)
	events := read(t, w.reader, 0, 1, nil)
	require.Equal(t, from(1, 3), messages(events[0]))
	require.Equal(t, wire.CodeNotJSON, events[0].Poison.Code)
	require.Empty(t, events[0].Ops)
	require.Equal(t, 1.0, testutil.ToFloat64(w.reader.metrics.poison.WithLabelValues(wire.CodeNotJSON)))
}

// I7: parts that a writer published one by one may have anything between them, or lack some.
func TestI7OrphansAreDeliveredInOrderAndDeliveryGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 2})
	for _, m := range []*nats.Msg{
		part("run-001", "x", 2, 3), part("run-001", "x", 3, 3), // 1, 2: without a beginning
		part("run-001", "", 1, 0),                                                         // 3
		part("run-001", "y", 1, 3), part("run-001", "y", 2, 3), part("run-002", "", 1, 0), // 4, 5: without an end
		part("run-001", "y", 3, 3),                             // 7: too late
		part("run-001", "z", 1, 2), part("run-002", "z", 2, 2), // 8, 9: of two runs
		part("run-001", "ok", 1, 2), part("run-001", "ok", 2, 2), // 10, 11
	} {
		logged(t, w.js, m)
	}
	var got []string
	for _, ev := range read(t, w.reader, 0, 9, nil) {
		code := "applied"
		if ev.Poison != nil {
			require.Empty(t, ev.Ops)
			code = ev.Poison.Code
		}
		got = append(got, fmt.Sprintf("%d %s", messages(ev), code))
	}
	require.Equal(t, []string{
		"[1] bad_part", "[2] bad_part", "[3] applied", "[4] bad_part", "[5] bad_part", "[6] applied", "[7] bad_part", "[8 9] bad_part", "[10 11] applied",
	}, got)
	require.Equal(t, 6.0, testutil.ToFloat64(w.reader.metrics.poison.WithLabelValues(wire.CodePart)))
}

// What the log ends with may be continued, or not: nobody knows before something comes.
func TestAnUnfinishedTransactionWaits(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		next *nats.Msg
		want [][]uint64
	}{
		"for its other parts":   {part("run-001", "tx", 3, 3), [][]uint64{{2, 3, 4}}},
		"until another is seen": {part("run-001", "", 1, 0), [][]uint64{{2}, {3}, {4}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stacktest.NATS(t).URL(), Config{})
			publish(t, w.js, 1, 1, 0)
			logged(t, w.js, part("run-001", "tx", 1, 3))
			logged(t, w.js, part("run-001", "tx", 2, 3))
			behind := make(chan int64, 10)
			events := make(chan wire.Event, 10)
			ctx, cancel := context.WithCancel(within(t))
			done := make(chan error, 1)
			go func() {
				done <- w.reader.Read(ctx, 0, wire.Place{}, func(_ context.Context, ev wire.Event) error { events <- ev; return nil }, func(n int64) { behind <- n })
			}()
			require.EqualValues(t, 3, receive(t, behind), "when it begins")
			for range 3 {
				require.EqualValues(t, 2, receive(t, behind), "what is held is pending")
			}
			require.EqualValues(t, 1, receive(t, events).Message.Sequence)
			require.Empty(t, events)
			logged(t, w.js, row.next)
			for _, want := range row.want {
				require.Equal(t, want, messages(receive(t, events)))
			}
			cancel()
			require.ErrorIs(t, receive(t, done), context.Canceled)
		})
	}
}

// I2: a position is never within a transaction, so whoever goes on from it reads all parts again.
func TestI2AReadThatEndsWithinATransactionLeavesThePositionBeforeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 3})
	publish(t, w.js, 1, 1, 0)
	batch(t, w.js, parts("run-002", "tx", 10))
	killed := errors.New("killed")
	ctx, kill := context.WithCancelCause(within(t))
	var last uint64
	err := w.reader.Read(ctx, 0, wire.Place{}, func(_ context.Context, ev wire.Event) error { last = ev.Message.Sequence; return nil }, func() func(int64) {
		told := 0
		return func(int64) {
			if told++; told == 6 { // the step and five parts
				kill(killed)
			}
		}
	}())
	require.ErrorIs(t, err, killed)
	require.EqualValues(t, 1, last)
	require.Equal(t, from(2, 11), messages(read(t, w.reader, last, 1, nil)[0]))
}

// I5: a session that ends in the middle of a transaction is followed by one that reads all of it, whatever ended it.
func TestI5ATransactionSurvives(t *testing.T) {
	t.Parallel()
	const n = 100 // parts of each transaction
	for name, happen := range map[string]func(t *testing.T, w *world, n *devstack.NATSProcess){
		"a killed server": func(t *testing.T, _ *world, n *devstack.NATSProcess) {
			n.Kill()
			require.NoError(t, n.Restart(within(t)))
		},
		"a deleted consumer": func(t *testing.T, w *world, _ *devstack.NATSProcess) {
			s, err := w.js.Stream(within(t), w.stream.Name())
			require.NoError(t, err)
			for name := range s.ConsumerNames(within(t)).Name() {
				require.NoError(t, s.DeleteConsumer(within(t), name))
			}
		},
		"a broken connection": func(t *testing.T, w *world, _ *devstack.NATSProcess) {
			require.NoError(t, w.js.Conn().ForceReconnect())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := stacktest.NATSProcess(t)
			w := newWorld(t, server.URL(), Config{ReadAheadMessages: 16})
			for i := range 3 {
				batch(t, w.js, parts("run-001", "tx-"+strconv.Itoa(i), n))
			}
			var told, delivered atomic.Int64
			middle, happened := make(chan struct{}), make(chan struct{})
			events := make(chan wire.Event, 10)
			ctx, cancel := context.WithCancel(within(t))
			done := make(chan error, 1)
			go func() {
				done <- w.reader.Read(ctx, 0, wire.Place{}, func(_ context.Context, ev wire.Event) error {
					delivered.Add(1)
					events <- ev
					return nil
				}, func(int64) {
					if told.Add(1) == n+n/2 { // of the second
						close(middle)
						<-happened
					}
				})
			}()
			receive(t, middle)
			happen(t, w, server)
			close(happened)
			for i := range uint64(3) {
				ev := receive(t, events)
				require.Equal(t, from(i*n+1, (i+1)*n), messages(ev))
				require.Nil(t, ev.Poison)
			}
			require.NotZero(t, testutil.ToFloat64(w.reader.metrics.resets.WithLabelValues("0")))
			happen(t, w, server) // with a transaction as what was delivered last
			writer := connectTo(t, server.URL())
			require.EqualValues(t, 3*n+2, batch(t, writer, parts("run-001", "last", 2)))
			require.Equal(t, from(3*n+1, 3*n+2), messages(receive(t, events)))
			cancel()
			require.ErrorIs(t, receive(t, done), context.Canceled)
			require.EqualValues(t, 4, delivered.Load(), "each once")
		})
	}
}
