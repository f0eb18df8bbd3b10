package stream

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

func openLetters(t *testing.T, s *Stream) *Letters {
	t.Helper()
	l, err := OpenLetters(within(t), s.js, Config{})
	require.NoError(t, err)
	return l
}

func TestALetterIsOpenedAsTheEventWas(t *testing.T) {
	t.Parallel()
	s := ensure(t, connect(t), Config{})
	fill := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }
	most := int(s.js.Conn().MaxPayload())
	events := []wire.Event{
		poisonEvent(1, []byte("no JSON\x00\xff"), wire.Header{"Nats-Msg-Id": {"abc"}, "nats-ttl": {"1s"}, "Persistd-Code": {"forged"}, "Trace": {"a", "b"}}),
		poisonEvent(2, []byte{}, wire.Header{}),
		poisonEvent(3, fill(most-100), wire.Header{"Trace": {"a"}}),
		poisonEvent(4, fill(most-60<<10), wire.Header{"Trace": {string(fill(50 << 10))}, "Nats-Msg-Id": {"abc"}}),
		poisonEvent(5, fill(5<<20), wire.Header{}), // of a server that takes more
	}
	events[1].Part = wire.Part{Transaction: "tx", No: 1, Of: 2}
	events[1].Message.Header = wire.Header{wire.HeaderPart: {"tx 1 of 2"}}
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(events...)))
	l := openLetters(t, s)
	all, err := l.List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, len(events))
	for i, x := range all {
		want := events[i]
		require.Equal(t, want.Message.Sequence, x.Sequence)
		require.Equal(t, want.Partition, x.Partition)
		require.Equal(t, *want.Poison, x.Poison)
		require.Equal(t, want.Part, x.Part)
		require.Equal(t, s.Created(), x.StreamCreated)
		require.WithinDuration(t, time.Now(), x.Kept, time.Minute)
		m, err := l.Open(within(t), x)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want.Message.Body, m.Body), "body of %d", x.Sequence)
		m.Body, want.Message.Body = nil, nil
		require.Equal(t, want.Message, m)
	}
	some, err := l.List(within(t), func(x *Letter) bool { return x.Sequence > 3 })
	require.NoError(t, err)
	require.Equal(t, all[3:], some)

	for _, x := range slices.Concat(all, all[:1]) { // twice is once
		require.NoError(t, l.Drop(within(t), x))
	}
	fill2, err := s.DeadLetters().Fill(within(t))
	require.NoError(t, err)
	require.Zero(t, fill2.Messages, "nothing of them is left")
	_, err = l.Open(within(t), all[0])
	require.ErrorContains(t, err, "somebody has dealt with it")
	none, err := l.List(within(t), nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// A letter that is written again with another reason stands in the other's place, also when both are there for a moment.
func TestAnAmendedLetterIsTheSameEvent(t *testing.T) {
	t.Parallel()
	s := ensure(t, connect(t), Config{})
	body := bytes.Repeat([]byte("x"), int(s.js.Conn().MaxPayload())-100) // in parts
	ev := poisonEvent(7, body, wire.Header{"Trace": {"a"}})
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	l := openLetters(t, s)
	all, err := l.List(within(t), nil)
	require.NoError(t, err)
	old := *all[0]
	why := wire.Poison{Code: wire.CodeDatabase, Reason: string(bytes.Repeat([]byte("r"), 10_000)), ErrorNumber: 1406}
	amended, err := l.Amend(within(t), all[0], why)
	require.NoError(t, err)
	reason, found, err := s.DeadLetters().DeadLetter(within(t), 3, 7)
	require.NoError(t, err)
	require.True(t, found)
	require.EqualValues(t, 1406, reason.ErrorNumber)
	require.Regexp(t, `^r{100,}…$`, reason.Reason, "as much of it as fits")
	all, err = l.List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
	m, err := l.Open(within(t), all[0])
	require.NoError(t, err)
	require.True(t, bytes.Equal(body, m.Body))
	require.Equal(t, wire.Header{"Trace": {"a"}}, m.Header)
	_, err = l.Amend(within(t), &old, why)
	require.Error(t, err, "it is not there any more")

	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)), "who found it poison finds it again")
	all, err = l.List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, amended.at, all[0].at, "and its letter, with the newer reason")

	kept, err := l.get.last(within(t), "persistd.dlq.3.7")
	require.NoError(t, err)
	again := nats.NewMsg("persistd.dlq.3.7") // an Amend died before it removed the one before
	again.Header, again.Data = nats.Header(kept.Header), kept.Body
	again.Header.Del(wire.HeaderMsgID)
	again.Header.Del("Nats-Expected-Last-Subject-Sequence")
	_, err = s.js.PublishMsg(within(t), again)
	require.NoError(t, err)
	all, err = l.List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.NoError(t, l.Drop(within(t), all[0]))
	all, err = l.List(within(t), nil)
	require.NoError(t, err)
	require.Empty(t, all, "none of them is left")
}

func TestLettersOfAnOlderLogAreListedToo(t *testing.T) {
	t.Parallel()
	js := connect(t)
	old := ensure(t, js, Config{})
	ev := poisonEvent(1, []byte("old"), nil)
	require.NoError(t, old.DeadLetters().Put(within(t), pointers(ev)))
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	s := ensure(t, js, Config{})
	ev.Message.Body = []byte("new")
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	all, err := openLetters(t, s).List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, old.Created(), all[0].StreamCreated)
	require.Equal(t, s.Created(), all[1].StreamCreated)
}

func TestMoreLettersThanOnePageAreListed(t *testing.T) {
	t.Parallel()
	s := ensure(t, connect(t), Config{})
	var events []wire.Event
	for seq := range uint64(2*listed + 1) {
		events = append(events, poisonEvent(seq+1, []byte("x"), nil))
	}
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(events...)))
	all, err := openLetters(t, s).List(within(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 2*listed+1)
}

func TestWithoutALogThereAreNoLetters(t *testing.T) {
	t.Parallel()
	_, err := OpenLetters(within(t), connect(t), Config{})
	require.ErrorContains(t, err, "it is made with the log, by persistd serve")
}
