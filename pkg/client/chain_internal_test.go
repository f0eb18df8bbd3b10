package client

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// linker sends publications of one client, which has no connection.
type linker struct {
	t  *testing.T
	c  chains
	id int
}

func (l *linker) publication(run string, link link) *publication {
	l.id++
	return &publication{link: link, msgs: []*nats.Msg{{
		Subject: "persistd.write.default.run." + run, Header: nats.Header{wire.HeaderMsgID: {fmt.Sprint("id-", l.id)}}, Data: make([]byte, 100),
	}}}
}

// send is another attempt of pub. It returns the place that it says.
func (l *linker) send(pub *publication, most int) string {
	pub.attempt++
	l.c.sending(pub, most)
	places := pub.msgs[0].Header[wire.HeaderChain]
	require.LessOrEqual(l.t, len(places), 1)
	if len(places) == 0 {
		return ""
	}
	return places[0]
}

// save has a step of run logged, and returns its place.
func (l *linker) save(run string, step int32, attempt uint32) string {
	pub := l.publication(run, link{true, step, attempt})
	place := l.send(pub, 1<<20)
	l.c.settled(pub, true)
	return place
}

func TestStepsThatDoNotFallAreAChain(t *testing.T) {
	t.Parallel()
	l := &linker{t: t}
	require.Equal(t, "id-1 1", l.save("a", 0, 0))
	require.Equal(t, "id-1 2", l.save("a", 1, 0))
	require.Equal(t, "id-3 1", l.save("b", 7, 0), "of another run")
	require.Equal(t, "id-1 3", l.save("a", 1, 0), "the same once more")
	require.Equal(t, "id-1 4", l.save("a", 5, 0))
	require.Equal(t, "id-6 1", l.save("a", 4, 0), "a lower one begins another")
	require.Equal(t, "id-7 1", l.save("a", 5, 1), "and one of another attempt")
	require.Equal(t, "id-7 2", l.save("a", 5, 1))
	require.Equal(t, "id-3 2", l.save("b", 8, 0))
}

// I6: a number is only ever one message's, and given once the one before is logged. So whatever may have been missed ends the chain.
func TestI6AChainEndsWithWhatIsNotKnownToBeInIt(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(l *linker){
		"a write that was given up": func(l *linker) {
			pub := l.publication("a", link{true, 1, 0})
			require.Equal(t, "id-1 2", l.send(pub, 1<<20))
			l.c.settled(pub, false)
		},
		"a write that is no step": func(l *linker) {
			pub := l.publication("a", link{})
			require.Empty(t, l.send(pub, 1<<20))
			l.c.settled(pub, true)
		},
		"a write that is no step, and fails": func(l *linker) {
			pub := l.publication("a", link{})
			require.Empty(t, l.send(pub, 1<<20))
			l.c.settled(pub, false)
		},
		"a connection that was lost": func(l *linker) { l.c.endAll() },
		"a step that has no room for its place": func(l *linker) {
			pub := l.publication("a", link{true, 1, 0})
			require.Empty(t, l.send(pub, headerSize(pub.msgs[0].Header)+100+len(wire.HeaderChain)))
			l.c.settled(pub, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &linker{t: t}
			require.Equal(t, "id-1 1", l.save("a", 1, 0))
			interrupt(l)
			l.id = 10
			require.Equal(t, "id-11 1", l.save("a", 2, 0))
			require.Equal(t, "id-11 2", l.save("a", 3, 0))
		})
	}
}

// I6: the connection was lost and is back before the pump looks: that it was still waits to be heard, and the run's next step is there to be sent.
func TestI6AStepThatIsSentAfterTheConnectionWasLostBeginsAnotherChain(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	arrived := make(chan *nats.Msg, 10)
	_, err := e.nc.ChanSubscribe("persistd.write.>", arrived)
	require.NoError(t, err)
	require.NoError(t, e.nc.Flush())
	status := make(chan nats.Status, 10)
	p := withoutPump(e, GroupNever)
	p.status = status
	first, second := newPublication(t, e), newPublication(t, e)
	first.link, second.link = link{true, 1, 0}, link{true, 2, 0}
	require.NoError(t, p.submit(t.Context(), first))
	batch, _ := p.collect(nil)
	p.send(batch[0])
	require.Equal(t, first.msgs[0].Header.Get(wire.HeaderMsgID)+" 1", (<-arrived).Header.Get(wire.HeaderChain))
	p.answered(first, 1, pubAck{Stream: "s", Sequence: 1}, nil) // by the server that is lost

	status <- nats.RECONNECTING
	status <- nats.CONNECTED
	require.NoError(t, p.submit(t.Context(), second))
	id := second.msgs[0].Header.Get(wire.HeaderMsgID) // which belongs to the pump from now on
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.pump(t.Context())
	}()
	defer func() {
		close(p.stop)
		<-done
	}()
	require.Equal(t, id+" 1", (<-arrived).Header.Get(wire.HeaderChain))
}

func TestAFurtherAttemptHasThePlaceOfTheFirst(t *testing.T) {
	t.Parallel()
	l := &linker{t: t}
	l.save("a", 1, 0)
	pub := l.publication("a", link{true, 2, 0})
	require.Equal(t, "id-1 2", l.send(pub, 1<<20))
	require.Equal(t, "id-1 2", l.send(pub, 1<<20))
	l.c.endAll()
	require.Empty(t, l.send(pub, 1<<20), "the connection was lost: what the log had before may be gone")
	l.c.settled(pub, true)
	require.Equal(t, "id-3 1", l.save("a", 3, 0))
}

func TestAPlaceThatFitsIsSaid(t *testing.T) {
	t.Parallel()
	l := &linker{t: t}
	pub := l.publication("a", link{true, 1, 0})
	pub.fence = fence{"persistd.log.0.default.attempt.a", 1 << 60}
	place := wire.HeaderChain + ": id-1 1\r\n"
	dressed := nats.Header{wire.HeaderMsgID: {"id-1"}}
	fence{pub.fence.subject, 1<<64 - 1}.guard(dressed)
	most := headerSize(dressed) + 100 + len(place)
	require.Empty(t, l.send(pub, most-1))
	pub = l.publication("a", link{true, 1, 0})
	pub.fence = fence{"persistd.log.0.default.attempt.a", 1 << 60}
	require.Equal(t, "id-2 1", l.send(pub, most))
	require.Empty(t, l.send(l.publication("b", link{true, 1, 0}), 0), "how large a message may be is not known yet")
}

func TestOnlyTheChainsOfTheLastRunsAreKept(t *testing.T) {
	t.Parallel()
	l := &linker{t: t}
	const often, seldom = "often", "seldom"
	first, forgotten := l.save(often, 0, 0), l.save(seldom, 0, 0)
	for i := range 3 * maxChains {
		l.save(fmt.Sprint(i), 0, 0)
		if i%1000 == 0 {
			l.save(often, 0, 0)
		}
		require.LessOrEqual(t, len(l.c.young)+len(l.c.old), 2*maxChains)
	}
	require.Equal(t, first[:5], l.save(often, 0, 0)[:5])
	require.NotEqual(t, forgotten[:5], l.save(seldom, 0, 0)[:5])
}

func TestOnlyAStepAloneIsOfAChain(t *testing.T) {
	t.Parallel()
	step := wire.Op{Type: wire.OpStep, Step: 7}
	one := make([]*nats.Msg, 1)
	require.Equal(t, link{true, 7, 3}, linkOf(&write{kind: wire.KindRun, attempt: 3, ops: []wire.Op{step}}, one))
	require.Zero(t, linkOf(&write{kind: wire.KindRun, ops: []wire.Op{step, step}}, one))
	require.Zero(t, linkOf(&write{kind: wire.KindRun, ops: []wire.Op{step, step}}, make([]*nats.Msg, 2)))
	require.Zero(t, linkOf(&write{kind: wire.KindRun, ops: []wire.Op{{Type: wire.OpDeleteRun}}}, one))
	require.Zero(t, linkOf(&write{kind: wire.KindCheckpoint, ops: []wire.Op{{Type: wire.OpCheckpoint}}}, one))
}
