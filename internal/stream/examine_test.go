package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// past is a log of two partitions that had 12 events, 2 to 12 by twos of partition 1, and lost those after 6.
func past(t *testing.T) (s *Stream, write func(partition int) uint64, places []wire.Place) {
	t.Helper()
	server := stacktest.NATS(t)
	js := connectTo(t, server.URL())
	s = ensure(t, js, Config{Partitions: 2, MaxBytes: 64 << 20})
	runs := [2]string{runIn(0, 2), runIn(1, 2)}
	write = func(p int) uint64 { return save(t, js, runs[p], 1) }
	places = []wire.Place{{}}
	var lose func()
	for i := range 12 {
		if i == 6 {
			lose = stacktest.Rewind(t, server, "PERSISTD")
			reachable(t, s)
		}
		places = append(places, committed(placeOf(t, s, write(i%2))))
	}
	lose()
	reachable(t, s)
	return s, write, places
}

// reachable waits until a server that was started again answers.
func reachable(t *testing.T, s *Stream) {
	t.Helper()
	require.Eventually(t, func() bool { _, err := s.Info(within(t)); return err == nil }, time.Minute, 10*time.Millisecond)
}

func TestALogThatLostItsEndIsRecognisedByThePositions(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		position uint64
		unknown  bool // the position's time is
		grown    []int
		short    bool
	}{
		{"the position is within what is left", 5, false, nil, false},
		{"the position is its end", 6, false, nil, false},
		{"it ends before the position", 7, false, nil, true},
		{"it ends before the position, of which no time is known", 7, true, nil, true},
		{"it grew to the position", 7, false, []int{0}, true},
		{"it grew to the position with another partition's event", 7, false, []int{1}, true},
		{"it grew past the position", 7, false, []int{0, 0, 0}, true},
		{"it grew past the position, of which no time is known", 7, true, []int{0, 0, 0}, false},
		{"it grew, and the position is within what was left", 5, false, []int{0, 0, 0}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, write, places := past(t)
			for _, p := range row.grown {
				write(p)
			}
			at := places[row.position]
			if row.unknown {
				at.Logged = time.Time{}
			}
			err := s.Examine(within(t), 0, at)
			if !row.short {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrShort)
			var e *ShortError
			require.ErrorAs(t, err, &e)
			require.Equal(t, at, e.Position)
			require.False(t, e.Restored)
			if row.grown == nil {
				require.Zero(t, e.Found)
				require.EqualValues(t, 6, e.Last)
			} else {
				require.Equal(t, row.position, e.Found.Sequence)
			}
		})
	}
}

// The event at the position is trimmed, and so are all before it: one that is there is of another log.
func TestALogThatGrewPastATrimmedPositionIsRecognisedByAnEarlierEvent(t *testing.T) {
	t.Parallel()
	s, write, places := past(t)
	for range 6 {
		write(1)
	}
	write(0) // 13
	st, err := s.js.Stream(within(t), "PERSISTD")
	require.NoError(t, err)
	require.NoError(t, st.DeleteMsg(within(t), 11))
	require.NoError(t, s.Examine(within(t), 0, places[11]), "what grew is after the position")
	late := places[11]
	late.Sequence = 14
	write(1) // 14
	write(1)
	require.NoError(t, st.DeleteMsg(within(t), 14))
	require.ErrorIs(t, s.Examine(within(t), 0, late), ErrShort, "event 13 was logged after the position's")
}

func TestAnOlderCopyIsToldFromALostEndByTrimmedEventsThatAreBack(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	js := connectTo(t, server.URL())
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	var places []wire.Place
	var lose func()
	for i := range 6 {
		if i == 4 {
			lose = stacktest.Rewind(t, server, "PERSISTD")
			reachable(t, s)
		}
		places = append(places, committed(placeOf(t, s, save(t, js, "run-001", i))))
	}
	require.NoError(t, s.Trim(within(t), 0, places[2], time.Now().Add(time.Hour)))
	lose()
	reachable(t, s)
	var e *ShortError
	require.ErrorAs(t, s.Examine(within(t), 0, places[5]), &e)
	require.True(t, e.Restored)
	require.ErrorContains(t, e, "events that were trimmed are back")
}

func TestACopyIsToldFromALogThatWasMadeAgain(t *testing.T) {
	t.Parallel()
	js := connect(t)
	renewed := func() *Stream { // whatever it is, it is another stream
		t.Helper()
		s, err := Find(within(t), js, Config{}, zap.NewNop())
		require.NoError(t, err)
		return s
	}
	isCopy := func(s *Stream, reached wire.Place) bool {
		t.Helper()
		is, err := s.Copied(within(t), reached)
		require.NoError(t, err)
		return is
	}
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	require.False(t, isCopy(s, wire.Place{}))
	first := committed(placeOf(t, s, save(t, js, "run-001", 1)))
	second := committed(placeOf(t, s, save(t, js, "run-001", 2)))
	require.False(t, isCopy(s, wire.Place{}))
	snapshot := stacktest.TakeSnapshot(t, js.Conn(), "PERSISTD")
	third := committed(placeOf(t, s, save(t, js, "run-001", 3)))
	snapshot.Restore(t, js.Conn())
	_, err := s.Info(within(t))
	require.ErrorIs(t, err, ErrOther)

	s = renewed()
	require.True(t, isCopy(s, wire.Place{}))
	require.True(t, isCopy(s, third))
	require.NoError(t, s.Examine(within(t), 0, second), "it holds what is committed")
	require.ErrorIs(t, s.Examine(within(t), 0, third), ErrShort)
	st, err := js.Stream(within(t), "PERSISTD")
	require.NoError(t, err)
	require.NoError(t, st.DeleteMsg(within(t), 1))
	require.True(t, isCopy(s, first), "what is left in it is not committed yet")
	require.NoError(t, st.Purge(within(t)))
	require.True(t, isCopy(s, second), "what it held is trimmed")

	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	s = ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	require.False(t, isCopy(s, third))
	event := placeOf(t, s, save(t, js, "run-001", 1))
	require.False(t, isCopy(s, third))
	ahead := event.Logged.Add(time.Second) // the clock of another server, which made the stream
	require.False(t, copied(event, third, ahead))
	require.True(t, copied(event, wire.Place{}, ahead))
}

func TestWhatIsMissingIsWhatWasTrimmedAfterThePosition(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	js := connectTo(t, server.URL())
	s := ensure(t, js, Config{Partitions: 2, MaxBytes: 64 << 20})
	zero, one := runIn(0, 2), runIn(1, 2)
	var mine []wire.Place
	for i := range 6 { // 1 3 5 7 9 11
		mine = append(mine, committed(placeOf(t, s, save(t, js, zero, i))))
		save(t, js, one, i)
	}
	missing := func(at wire.Place) wire.Place {
		t.Helper()
		mark, err := s.Marks().Partition(within(t), 0)
		require.NoError(t, err)
		got, err := s.Missing(within(t), 0, at, mark)
		require.NoError(t, err)
		return committed(got)
	}
	nothing := committed(wire.Place{})
	require.Equal(t, nothing, missing(wire.Place{}), "without a mark nothing is known")
	older := stacktest.Rewind(t, server, "PERSISTD")
	reachable(t, s)
	require.NoError(t, s.Trim(within(t), 0, mine[5], mine[3].Logged))
	require.Equal(t, mine[2], missing(wire.Place{}))
	require.Equal(t, mine[2], missing(mine[1]))
	require.Equal(t, nothing, missing(mine[2]))
	require.Equal(t, nothing, missing(mine[4]))

	// Somebody removes more by hand: what was reached was there.
	st, err := js.Stream(within(t), "PERSISTD")
	require.NoError(t, err)
	require.NoError(t, st.Purge(within(t)))
	require.Equal(t, mine[5], missing(mine[3]))

	// An older copy has it all again, or a part.
	older()
	reachable(t, s)
	require.Equal(t, nothing, missing(mine[1]))
	require.Equal(t, nothing, missing(wire.Place{}))
	st, err = js.Stream(within(t), "PERSISTD")
	require.NoError(t, err)
	for _, seq := range []uint64{1, 3} { // as of a copy from after a trim
		require.NoError(t, st.DeleteMsg(within(t), seq))
	}
	require.EqualValues(t, 4, missing(mine[0]).Sequence, "what the copy does not hold is not known")
	require.Equal(t, nothing, missing(mine[2]))
}

func TestLastOfIsTheNewestEventOfTheOldLog(t *testing.T) {
	t.Parallel()
	s, write, places := past(t)
	for range 8 {
		write(0)
	}
	until := places[12].Logged // the newest of what was committed
	got, err := s.LastOf(within(t), 0, 11, until)
	require.NoError(t, err)
	require.Equal(t, places[5], committed(got))
	got, err = s.LastOf(within(t), 1, 12, until)
	require.NoError(t, err)
	require.Equal(t, places[6], committed(got))
	got, err = s.LastOf(within(t), 0, 3, until)
	require.NoError(t, err)
	require.Equal(t, places[3], committed(got), "not what was not committed")
	got, err = s.LastOf(within(t), 0, 0, until)
	require.NoError(t, err)
	require.Zero(t, got)
}

func TestTheEndOfALogIsWatchedWithoutAPosition(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	js := connectTo(t, server.URL())
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	var seen wire.Place
	look := func() error {
		t.Helper()
		at, err := s.Same(within(t), seen)
		seen = at
		return err
	}
	require.NoError(t, look())
	save(t, js, "run-001", 1)
	require.NoError(t, look())
	lose := stacktest.Rewind(t, server, "PERSISTD")
	reachable(t, s)
	save(t, js, "run-001", 2)
	require.NoError(t, look())
	require.EqualValues(t, 2, seen.Sequence)
	require.NoError(t, look())
	require.NoError(t, s.Trim(within(t), 0, committed(seen), time.Now().Add(time.Hour)))
	require.NoError(t, look(), "trimmed is not lost")
	lose()
	reachable(t, s)
	require.ErrorIs(t, look(), ErrShort)
	save(t, js, "run-001", 3)
	require.ErrorIs(t, look(), ErrShort)
	save(t, js, "run-001", 4)
	require.ErrorIs(t, look(), ErrShort)
}
