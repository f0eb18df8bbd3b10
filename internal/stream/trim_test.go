package stream

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// sequences are those of the log that are left, by partition.
func sequences(t *testing.T, s *Stream) map[int][]uint64 {
	t.Helper()
	left := map[int][]uint64{}
	for from := uint64(1); ; {
		m, err := s.get.next(within(t), "persistd.log.>", from)
		if err != nil {
			require.ErrorIs(t, err, errNotFound)
			return left
		}
		addr, err := subjects.ParseLog(m.Subject)
		require.NoError(t, err)
		left[addr.Partition] = append(left[addr.Partition], m.Sequence)
		from = m.Sequence + 1
	}
}

// runIn is a run of partition.
func runIn(partition, partitions int) string {
	for i := 0; ; i++ {
		if run := "run-" + strconv.Itoa(i); partitionOf(run, partitions) == partition {
			return run
		}
	}
}

func TestTrimRemovesWhatIsCommittedAndOld(t *testing.T) {
	t.Parallel()
	zero, one := runIn(0, 2), runIn(1, 2)
	fill := func(t *testing.T) (s *Stream, middle time.Time) { // middle is after sequence 6, before 7
		t.Helper()
		js := connect(t) // one server each: one that makes a deleted stream again while it still removes its files may find them
		s = ensure(t, js, Config{Partitions: 2, MaxBytes: 64 << 20})
		for i := range 6 { // 1 3 5 7 9 11 are of partition 0, the others of partition 1
			if i == 3 {
				last := info(t, js, s.Name()).State.LastTime
				require.Eventually(t, func() bool { return time.Since(last) > 2*time.Millisecond }, time.Minute, time.Millisecond)
				middle = time.Now()
			}
			save(t, js, zero, i)
			save(t, js, one, i)
		}
		return s, middle
	}
	whole := []uint64{2, 4, 6, 8, 10, 12}
	future, past := time.Hour, -time.Hour
	tests := []struct {
		name     string
		position uint64
		age      *time.Duration // nil is the middle
		left     []uint64
	}{
		{"nothing is committed", 0, &future, []uint64{1, 3, 5, 7, 9, 11}},
		{"nothing is old", 11, &past, []uint64{1, 3, 5, 7, 9, 11}},
		{"the first event is committed", 1, &future, []uint64{3, 5, 7, 9, 11}},
		{"the position is just before an event", 4, &future, []uint64{5, 7, 9, 11}},
		{"the position is an event", 5, &future, []uint64{7, 9, 11}},
		{"the position is just after an event", 6, &future, []uint64{7, 9, 11}},
		{"more is committed than is old", 11, nil, []uint64{7, 9, 11}},
		{"more is old than is committed", 3, nil, []uint64{5, 7, 9, 11}},
		{"all is committed and old", 11, &future, nil},
		{"the position is ahead of the partition", 12, &future, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, before := fill(t)
			if test.age != nil {
				before = time.Now().Add(*test.age)
			}
			for range 2 { // again changes nothing
				require.NoError(t, s.Trim(within(t), 0, wire.Place{Sequence: test.position}, before))
				left := sequences(t, s)
				require.Equal(t, test.left, left[0])
				require.Equal(t, whole, left[1], "another partition's events stay")
			}
		})
	}
}

// saveParts publishes a transaction's parts from one number to another, and returns when each was logged.
func saveParts(t *testing.T, s *Stream, first, last, of int) (logged []time.Time) {
	t.Helper()
	for no := first; no <= last; no++ {
		m := nats.NewMsg(subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001"))
		m.Data = []byte(stepBody(no))
		m.Header.Set(wire.HeaderPart, wire.Part{Transaction: "tx", No: no, Of: of}.String())
		ack, err := s.js.PublishMsg(within(t), m)
		require.NoError(t, err)
		stored, err := s.get.next(within(t), "persistd.log.>", ack.Sequence)
		require.NoError(t, err)
		logged = append(logged, stored.Logged)
	}
	return logged
}

// I5: what is committed and old may go, but a transaction goes as a whole.
func TestTrimDoesNotCutATransactionInTwo(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		part int // that is the oldest to stay, by its time
		left []uint64
	}{
		"the time is before its first part": {1, []uint64{3, 4, 5, 6}},
		"the time is within it":             {2, []uint64{3, 4, 5, 6}},
		"the time is at its last part":      {3, []uint64{3, 4, 5, 6}},
		"the time is after it":              {4, []uint64{6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := connect(t)
			s := ensure(t, js, Config{Partitions: 1})
			save(t, js, "run-001", 1)
			save(t, js, "run-001", 2)
			logged := saveParts(t, s, 1, 3, 3)
			save(t, js, "run-001", 3)
			after, err := s.get.next(within(t), "persistd.log.>", 6)
			require.NoError(t, err)
			require.NoError(t, s.Trim(within(t), 0, wire.Place{Sequence: 6}, append(logged, after.Logged)[row.part-1]))
			require.Equal(t, row.left, sequences(t, s)[0])
		})
	}
}

// A part that claims more before it than the log has keeps the whole log, and no more.
func TestTrimIsNotLedBelowTheBeginning(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 1})
	save(t, js, "run-001", 1)
	logged := saveParts(t, s, 900, 900, 900)
	require.NoError(t, s.Trim(within(t), 0, wire.Place{Sequence: 2}, logged[0]))
	require.Equal(t, []uint64{1, 2}, sequences(t, s)[0])
	require.NoError(t, s.Trim(within(t), 0, wire.Place{Sequence: 2}, logged[0].Add(time.Hour)))
	require.Empty(t, sequences(t, s)[0])
}

// A position of a log that is no more says nothing about the one that took its name.
func TestTrimLeavesAnotherLogAlone(t *testing.T) {
	t.Parallel()
	js := connect(t)
	old := ensure(t, js, Config{Partitions: 1})
	save(t, js, "run-001", 1)
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	require.ErrorIs(t, old.Trim(within(t), 0, wire.Place{Sequence: 1}, time.Now()), jetstream.ErrStreamNotFound)
	renewed := ensure(t, js, Config{Partitions: 1})
	save(t, js, "run-001", 1)
	require.ErrorIs(t, old.Trim(within(t), 0, wire.Place{Sequence: 1}, time.Now().Add(time.Hour)), ErrOther)
	require.Equal(t, []uint64{1}, sequences(t, renewed)[0])
	_, err := old.Info(within(t))
	require.ErrorIs(t, err, ErrOther)
}

// I1: a full log refuses what is new and keeps what it has.
func TestAFullLogRefusesAndKeeps(t *testing.T) {
	t.Parallel()
	js := connect(t)
	cfg := Config{Partitions: 1, MaxBytes: minMaxBytes}
	s := ensure(t, js, cfg)
	body := append([]byte(`{"step":1,"node_id":"n","state":"`), make([]byte, 0, 1<<20)...)
	for len(body) < 1000<<10 {
		body = append(body, 'x')
	}
	body = append(body, `"}`...)
	subject := subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001")
	var err error
	published := 0
	for ; err == nil && published < 100; published++ {
		_, err = js.Publish(within(t), subject, body)
	}
	require.ErrorContains(t, err, "maximum bytes exceeded")
	require.Equal(t, uint64(published-1), info(t, js, "PERSISTD").State.Msgs)
	first, err := s.get.next(within(t), "persistd.log.>", 1)
	require.NoError(t, err)
	require.Equal(t, uint64(1), first.Sequence)

	// Trimming what is committed makes room again.
	require.NoError(t, s.Trim(within(t), 0, wire.Place{Sequence: 1}, time.Now().Add(time.Hour)))
	_, err = js.Publish(within(t), subject, body)
	require.NoError(t, err)
}
