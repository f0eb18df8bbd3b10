package stream

import (
	"strconv"
	"testing"
	"time"

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
	js := connect(t)
	zero, one := runIn(0, 2), runIn(1, 2)
	var middle time.Time // after sequence 6, before 7
	fill := func(t *testing.T, name string) *Stream {
		t.Helper()
		cfg := Config{Name: name, Subjects: wire.Subjects{Prefix: "persistd"}, Partitions: 2, MaxBytes: 64 << 20}
		s := ensure(t, js, cfg)
		for i := range 6 { // 1 3 5 7 9 11 are of partition 0, the others of partition 1
			if i == 3 {
				last := info(t, js, name).State.LastTime
				require.Eventually(t, func() bool { return time.Since(last) > 2*time.Millisecond }, time.Second, time.Millisecond)
				middle = time.Now()
			}
			save(t, js, zero, i)
			save(t, js, one, i)
		}
		return s
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
	for _, test := range tests { // one after another: they share the stream's name
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // as above.
			s := fill(t, "TRIM")
			before := middle
			if test.age != nil {
				before = time.Now().Add(*test.age)
			}
			for range 2 { // again changes nothing
				require.NoError(t, s.Trim(within(t), 0, test.position, before))
				left := sequences(t, s)
				require.Equal(t, test.left, left[0])
				require.Equal(t, whole, left[1], "another partition's events stay")
			}
			require.NoError(t, js.DeleteStream(within(t), "TRIM"))
		})
	}
}

// A position of a log that is no more says nothing about the one that took its name.
func TestTrimLeavesAnotherLogAlone(t *testing.T) {
	t.Parallel()
	js := connect(t)
	old := ensure(t, js, Config{Partitions: 1})
	save(t, js, "run-001", 1)
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	require.ErrorIs(t, old.Trim(within(t), 0, 1, time.Now()), jetstream.ErrStreamNotFound)
	renewed := ensure(t, js, Config{Partitions: 1})
	save(t, js, "run-001", 1)
	require.ErrorIs(t, old.Trim(within(t), 0, 1, time.Now().Add(time.Hour)), ErrOther)
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
	require.NoError(t, s.Trim(within(t), 0, 1, time.Now().Add(time.Hour)))
	_, err = js.Publish(within(t), subject, body)
	require.NoError(t, err)
}
