package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// link saves a step of run-001 as the no-th of a chain.
func (h *history) link(t *testing.T, step, no int) uint64 {
	t.Helper()
	ack, err := h.js.PublishMsg(within(t), &nats.Msg{
		Subject: subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001"), Data: []byte(stepBody(step)),
		Header: nats.Header{wire.HeaderChain: {wire.Chain{ID: "chain", No: uint64(no)}.String()}},
	})
	require.NoError(t, err)
	h.seq = append(h.seq, ack.Sequence)
	return ack.Sequence
}

// copies has the stream say that it has so many copies.
func (h *history) copies(n int) {
	h.s.lead = newLead(func(context.Context) (*jetstream.ClusterInfo, int, error) {
		return peers(time.Millisecond, time.Millisecond), n, nil
	}, func() uint64 { return 0 })
}

// I6: of a run that one client wrote, the last event is all that is read, wherever the position is and however many copies the log has.
func TestI6TheTailOfAChainIsItsLastEvent(t *testing.T) {
	t.Parallel()
	for _, copies := range []int{1, 3} {
		t.Run(fmt.Sprint(copies, " copies"), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, 0)
			h.copies(copies)
			const n = 30
			for i := range n {
				h.link(t, i, i+1)
				for range near / n * 2 {
					_, err := h.js.PublishAsync(subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-002"), []byte(stepBody(i)))
					require.NoError(t, err)
				}
				<-h.js.PublishAsyncComplete()
			}
			h.s.page = func(context.Context, string, uint64) (directPage, error) {
				t.Error("the tail is read")
				return directPage{}, nil
			}
			last := []int{n - 1}
			require.Equal(t, last, steps(t, h.tail(t, "run-001", 0)))
			require.Equal(t, last, steps(t, h.tail(t, "run-001", h.seq[5])), "far behind")
			require.Equal(t, last, steps(t, h.tail(t, "run-001", h.seq[n-1]-1)))
			require.NoError(t, h.s.Trim(within(t), 0, wire.Place{Sequence: h.seq[10]}, time.Now().Add(time.Hour)))
			require.Equal(t, last, steps(t, h.tail(t, "run-001", h.seq[12])), "its beginning is trimmed")

			if copies > 1 { // who is near reads what is near, perhaps from one that is behind
				h.s.page = func(context.Context, string, uint64) (directPage, error) { return directPage{}, errors.New("away") }
				require.Equal(t, []int{n - 2, n - 1}, steps(t, h.tail(t, "run-001", h.seq[n-3])))
				return
			}
			require.Equal(t, last, steps(t, h.tail(t, "run-001", h.seq[n-3])), "not far behind")
		})
	}
}

// I6: what others write in between is seen.
func TestI6TheTailOfAChainWithOthersInBetweenIsAllOfIt(t *testing.T) {
	t.Parallel()
	for _, copies := range []int{1, 3} {
		for _, far := range []bool{false, true} {
			t.Run(fmt.Sprint(copies, " copies, far ", far), func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, 0)
				h.copies(copies)
				for i := range 5 {
					h.link(t, i, i+1)
				}
				save(t, h.js, "run-001", 99)
				if far {
					for i := range near + 1 {
						_, err := h.js.PublishAsync(subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-002"), []byte(stepBody(i)))
						require.NoError(t, err)
					}
					<-h.js.PublishAsyncComplete()
				}
				h.link(t, 5, 6)
				require.Equal(t, []int{0, 1, 2, 3, 4, 99, 5}, steps(t, h.tail(t, "run-001", 0)))
				require.Equal(t, []int{4, 99, 5}, steps(t, h.tail(t, "run-001", h.seq[3])))
				require.Equal(t, []int{99, 5}, steps(t, h.tail(t, "run-001", h.seq[4])))
				h.link(t, 6, 7)
				after := []int{5, 6}
				if copies == 1 {
					after = []int{6}
				}
				require.Equal(t, after, steps(t, h.tail(t, "run-001", h.seq[5]-1)), "it is committed")
			})
		}
	}
}

// I6: the connection goes over to another server between the word that the log's is in no cluster and the count. That one is in a cluster, and a
// message behind: it has what another client wrote in the middle of the chain, and not the chain's last.
func TestI6ACountThatCameThroughAnotherConnectionIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"nobody has asked that server": false, "another read has asked that server": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, 0)
			for i := range 4 {
				h.link(t, i, i+1)
			}
			save(t, h.js, "run-001", 99)
			h.link(t, 4, 5)
			connection := uint64(0)
			h.s.lead = newLead(func(context.Context) (*jetstream.ClusterInfo, int, error) {
				if connection == 0 {
					return nil, 1, nil
				}
				return &jetstream.ClusterInfo{Name: "cluster"}, 1, nil
			}, func() uint64 { return connection })
			first := h.s.firstOfOne
			h.s.firstOfOne = func(ctx context.Context, subject string, from uint64) (wire.Message, uint64, bool, error) {
				connection++ // the answer came through it
				m, held, found, err := first(ctx, subject, from)
				if asked {
					require.NoError(t, h.s.lead.confirm(ctx))
				}
				return m, held - 1, found, err
			}
			require.Equal(t, []int{0, 1, 2, 3, 99, 4}, steps(t, h.tail(t, "run-001", 0)))
			require.EqualValues(t, 1, connection, "there was a count")
		})
	}
}

// Whoever cannot tell where the chain begins has the whole tail read.
func TestTheTailOfAChainIsReadWhenItsBeginningIsNotToBeHad(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 0)
	h.copies(1)
	for i := range 5 {
		h.link(t, i, i+1)
	}
	for name, first := range map[string]func(context.Context, string, uint64) (wire.Message, uint64, bool, error){
		"the server does not answer": func(context.Context, string, uint64) (wire.Message, uint64, bool, error) {
			return wire.Message{}, 0, false, errors.New("timeout")
		},
		"there is none": func(context.Context, string, uint64) (wire.Message, uint64, bool, error) {
			return wire.Message{}, 0, false, nil
		},
	} {
		h.s.firstOfOne = first
		require.Equal(t, count(0, 5), steps(t, h.tail(t, "run-001", 0)), name)
	}
}

func TestNothingIsTheFirstOfARunThatTheLogHasNot(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 1)
	for _, copies := range []int{1, 3} {
		h.copies(copies)
		_, _, found, err := h.s.first(within(t), "persistd.log.0.default.run.run-003", 1, 0)
		require.NoError(t, err)
		require.False(t, found)
		m, held, found, err := h.s.first(within(t), "persistd.log.0.default.run.run-001", 1, h.seq[0])
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, 1, held)
		require.Equal(t, h.seq[0], m.Sequence)
		require.Equal(t, stepBody(0), string(m.Body))
	}
}

// I6: a mirror of the log answers direct gets as well, from what it has. It is not believed.
func TestI6AMirrorOfTheLogIsNotTakenForIt(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 0)
	for i := range 5 {
		h.link(t, i, i+1)
	}
	_, err := h.js.CreateStream(within(t), jetstream.StreamConfig{
		Name: "COPY", Storage: jetstream.MemoryStorage, Mirror: &jetstream.StreamSource{Name: h.s.cfg.Name}, MirrorDirect: true, MaxMsgs: 2,
	})
	require.NoError(t, err)
	const subject = "persistd.log.0.default.run.run-001"
	last := func(subject string) (seq uint64, found bool, err error) {
		m, found, err := h.s.lastOfOne(within(t), subject, 0)
		return m.Sequence, found, err
	}
	for what, ask := range map[string]func() error{
		"last": func() error {
			seq, found, err := last(subject)
			if err == nil {
				require.True(t, found)
				require.Equal(t, h.seq[4], seq)
			}
			return err
		},
		"page": func() error {
			p, err := h.s.page(within(t), subject, 1)
			if err == nil {
				require.Len(t, p.messages, 5)
			}
			return err
		},
		"first": func() error {
			m, held, found, err := h.s.firstOfOne(within(t), subject, 1)
			if err == nil {
				require.True(t, found)
				require.EqualValues(t, 5, held)
				require.Equal(t, h.seq[0], m.Sequence)
			}
			return err
		},
	} {
		require.Eventually(t, func() bool { // either of the two answers
			err := ask()
			if err != nil {
				require.ErrorContains(t, err, `answered by ["COPY"], as its mirrors do`)
			}
			return err != nil
		}, time.Minute, time.Millisecond, what)
	}
	other := save(t, h.js, "run-002", 1) // which the mirror drops
	save(t, h.js, "run-001", 99)
	h.link(t, 5, 6)
	require.Eventually(t, func() bool {
		_, found, err := last("persistd.log.0.default.run.run-002")
		return err == nil && !found
	}, 20*time.Second, time.Millisecond, "the mirror says that there is none")
	for range 20 {
		seq, err := h.s.Last(within(t), 0, wire.DefaultNamespace, wire.KindRun, "run-002")
		require.NoError(t, err)
		require.Equal(t, other, seq)
		require.Equal(t, []int{0, 1, 2, 3, 4, 99, 5}, steps(t, h.tail(t, "run-001", 0)))
	}
}

// I6: while there is no leader, any copy may be asked, also one that has not got everything yet.
func TestI6ACopyThatIsBehindIsNotBelievedWhenItCounts(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 0)
	seq := h.link(t, 0, 1)
	const subject = "persistd.log.0.default.run.run-001"
	held, err := h.s.counter.held(within(t), subject, seq)
	require.NoError(t, err)
	require.EqualValues(t, 1, held)
	_, err = h.s.counter.held(within(t), subject, seq+1)
	require.ErrorContains(t, err, "answered by a copy that is at")
}
