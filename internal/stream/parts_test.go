package stream

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// inParts is a transaction of four messages, which became poison.
func inParts(from uint64) wire.Event {
	ev := poisonEvent(from+3, nil, nil)
	for no := range uint64(4) {
		m := ev.Message
		m.Sequence, m.Body = from+no, []byte{'a' + byte(no)}
		m.Header = wire.Header{wire.HeaderPart: {wire.Part{Transaction: "tx", No: int(no) + 1, Of: 4}.String()}}
		ev.Parts = append(ev.Parts, m)
	}
	ev.Message = ev.Parts[3]
	return ev
}

// I7: all of a transaction is kept, and its reason is found by its sequence.
func TestATransactionInPartsHasALetterForEachMessage(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	ev := inParts(11)
	for range 2 { // again keeps the same
		require.NoError(t, s.DeadLetters().Put(within(t), pointers(poisonEvent(10, []byte("before"), nil), ev, poisonEvent(15, []byte("after"), nil))))
		all := letters(t, s)
		require.Len(t, all, 6)
		for i, m := range all[1:5] {
			require.Equal(t, subjects.DeadLetter(3, uint64(11+i)), m.Subject, "in log order, the event's own last")
			require.Equal(t, ev.Parts[i].Body, m.Body)
			require.Equal(t, wire.CodeDatabase, m.Header.Get(HeaderCode))
			require.Equal(t, ev.Parts[i].Header.Get(wire.HeaderPart), m.Header.Get(HeaderOriginal+wire.HeaderPart))
			require.Empty(t, m.Header.Get(HeaderParts), "each letter is whole")
		}
	}
	for seq := uint64(11); seq <= 14; seq++ {
		reason, found, err := s.DeadLetters().DeadLetter(within(t), 3, seq)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, *ev.Poison, reason)
	}
}

// A process that died while it kept the letters of a transaction is followed by one that keeps the rest.
func TestLettersOfATransactionThatWereBegunAreCompleted(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	ev := inParts(11)
	begun := messages(&ev)[:2]
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(begun...)))
	_, found, err := s.DeadLetters().DeadLetter(within(t), 3, 14)
	require.NoError(t, err)
	require.False(t, found, "the event's own letter comes last")
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	require.Len(t, letters(t, s), 4)
}
