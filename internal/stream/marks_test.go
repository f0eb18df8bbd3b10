package stream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// placeOf is the place of the event at seq.
func placeOf(t *testing.T, s *Stream, seq uint64) wire.Place {
	t.Helper()
	m, err := s.get.at(within(t), seq)
	require.NoError(t, err)
	return wire.Place{Sequence: seq, Logged: m.Logged}
}

// committed is a place as a database keeps it.
func committed(p wire.Place) wire.Place {
	p.Logged = p.Logged.Truncate(time.Microsecond)
	return p
}

func TestATrimIsMarkedWithTheLastEventThatItRemoves(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 2, MaxBytes: 64 << 20})
	zero, one := runIn(0, 2), runIn(1, 2)
	save(t, js, zero, 1)
	for i := range 30 {
		save(t, js, one, i)
	}
	save(t, js, zero, 2) // 32
	first, last := placeOf(t, s, 1), placeOf(t, s, 32)
	require.NoError(t, s.Trim(within(t), 0, committed(last), last.Logged))
	mark, err := s.Marks().Partition(within(t), 0)
	require.NoError(t, err)
	require.Equal(t, first, mark.Trimmed, "not the sequences of another partition's events behind it")
	require.Equal(t, committed(last), mark.Reached)
	require.EqualValues(t, 32, mark.Last)
	require.Equal(t, s.Created(), mark.Created)

	// A database that is behind lowers nothing.
	require.NoError(t, s.Trim(within(t), 0, committed(first), time.Now().Add(time.Hour)))
	again, err := s.Marks().Partition(within(t), 0)
	require.NoError(t, err)
	require.Equal(t, mark, again)
	mark, err = s.Marks().Partition(within(t), 1)
	require.NoError(t, err)
	require.Zero(t, mark)
}

// I1: what is removed was marked before: of a purge that does not happen, the mark is there.
func TestI1ATrimThatCannotBeMarkedRemovesNothing(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	save(t, js, "run-001", 1)
	at := committed(placeOf(t, s, 1))
	require.NoError(t, js.DeleteStream(within(t), s.Marks().Name()))
	require.Error(t, s.Trim(within(t), 0, at, time.Now().Add(time.Hour)))
	require.Equal(t, []uint64{1}, sequences(t, s)[0])

	s = ensure(t, js, Config{Partitions: 1})
	c := info(t, js, "PERSISTD").Config
	c.DenyPurge = true
	_, err := js.UpdateStream(within(t), c)
	require.NoError(t, err)
	require.Error(t, s.Trim(within(t), 0, at, time.Now().Add(time.Hour)))
	mark, err := s.Marks().Partition(within(t), 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, mark.Trimmed.Sequence)
}

// I1: the events of a log that lost its end and grew again are not trimmed by a position that is of the lost ones.
func TestI1WhatWasLoggedAfterThePositionIsNotTrimmed(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	for i := range 3 {
		save(t, js, "run-001", i)
	}
	at := committed(placeOf(t, s, 3))
	at.Logged = at.Logged.Add(-time.Second)
	require.ErrorIs(t, s.Trim(within(t), 0, at, time.Now().Add(time.Hour)), ErrShort)
	require.Equal(t, []uint64{1, 2, 3}, sequences(t, s)[0])
	mark, err := s.Marks().Partition(within(t), 0)
	require.NoError(t, err)
	require.Zero(t, mark)
}

func TestTheNewestEventBeforeASequenceIsFoundHoweverFarBackItIs(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 2, MaxBytes: 64 << 20})
	runs := [2]string{runIn(0, 2), runIn(1, 2)}
	rng := rand.New(rand.NewPCG(1, 2))
	mine := map[uint64]bool{}
	for p := 0; len(mine) < 40; {
		if rng.IntN(6) == 0 { // stretches of one and the other
			p = 1 - p
		}
		if seq := save(t, js, runs[p], 1); p == 0 {
			mine[seq] = true
		}
	}
	last := info(t, js, "PERSISTD").State.LastSeq
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD_DLQ")) // it is not needed
	for end := uint64(1); end <= last+2; end++ {
		want := end - 1
		for want > 0 && !mine[want] {
			want--
		}
		got, err := s.before(within(t), subjects.LogPartition(0), end, 1)
		require.NoError(t, err)
		require.Equal(t, want, got.Sequence, "before %d", end)
	}
}

func TestALogBelongsToOneDatabase(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	var (
		wg   sync.WaitGroup
		errs [4]error
	)
	for i := range errs {
		wg.Go(func() {
			errs[i] = ensure(t, js, Config{}).Marks().Claim(within(t), fmt.Sprintf("database-%d", i/2), fmt.Sprint("instance-", i), false)
		})
	}
	wg.Wait()
	owner, err := s.Marks().Owner(within(t))
	require.NoError(t, err)
	for i, err := range errs {
		if owner.Database == fmt.Sprintf("database-%d", i/2) {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, owner.Database)
		require.ErrorContains(t, err, fmt.Sprintf("this one is database-%d", i/2))
	}

	stale := s.Marks().write(within(t), subjects.MarkDatabase(), 0, Owner{Database: "too late"})
	require.True(t, wrongLastSequence(stale), "%v", stale)

	// Another takes it: the one before may neither go on nor trim.
	mine := ensure(t, js, Config{}).Marks()
	require.NoError(t, mine.Claim(within(t), owner.Database, "me", false))
	require.NoError(t, s.Marks().Claim(within(t), owner.Database, "me", false))
	save(t, js, "run-001", 1)
	at := committed(placeOf(t, s, 1))
	require.NoError(t, mine.Ours(within(t)))
	require.NoError(t, ensure(t, js, Config{}).Marks().Take(within(t), "database-9", "somebody"))
	require.ErrorIs(t, mine.Ours(within(t)), ErrForeign)
	require.ErrorIs(t, s.Trim(within(t), 0, at, time.Now().Add(time.Hour)), ErrForeign)
	require.Equal(t, []uint64{1}, sequences(t, s)[0])

	// Made again, it is nobody's.
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	renewed := ensure(t, js, Config{Partitions: 1})
	require.ErrorIs(t, renewed.Marks().Claim(within(t), "database-5", "me", true), ErrForeign, "unless it is a copy")
	require.NoError(t, renewed.Marks().Claim(within(t), "database-5", "me", false))
	owner, err = renewed.Marks().Owner(within(t))
	require.NoError(t, err)
	require.Equal(t, "database-5", owner.Database)
}

func TestAMarkRemembersTheLogsThatWereDeleted(t *testing.T) {
	t.Parallel()
	js := connect(t)
	var made []time.Time
	var ends []uint64 // a server that still removes the files of a deleted stream may count on
	for n := range mostFormer + 2 {
		s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
		made = append(made, s.Created())
		var end uint64
		for range n + 1 {
			end = save(t, js, "run-001", 1)
		}
		ends = append(ends, end)
		at := committed(placeOf(t, s, end))
		for range 2 {
			require.NoError(t, s.Trim(within(t), 0, at, time.Now().Add(-time.Hour)))
		}
		mark, err := s.Marks().Partition(within(t), 0)
		require.NoError(t, err)
		require.Equal(t, s.Created(), mark.Created)
		require.Equal(t, at, mark.Reached)
		require.Len(t, mark.Before, min(n, mostFormer))
		for i, f := range mark.Logs(s.Created()) {
			no := n - len(mark.Before) + i
			require.Equal(t, made[no], f.Created)
			require.Equal(t, ends[no], f.Reached.Sequence)
			require.Equal(t, ends[no], f.Last)
		}
		require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	}
}

func TestFindMakesNothing(t *testing.T) {
	t.Parallel()
	js := connect(t)
	find := func() (*Stream, error) {
		log, _ := observed()
		return Find(within(t), js, Config{Partitions: 3}, log)
	}
	_, err := find()
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
	made := ensure(t, js, Config{Partitions: 3})
	for _, name := range []string{"PERSISTD_DLQ", "PERSISTD_MARKS"} {
		require.NoError(t, js.DeleteStream(within(t), name))
	}
	s, err := find()
	require.NoError(t, err)
	require.Equal(t, made.Created(), s.Created())
	require.Equal(t, 3, s.Partitions())
	for _, ask := range []func(context.Context) (any, error){
		func(ctx context.Context) (any, error) { return s.Marks().Partition(ctx, 1) },
		func(ctx context.Context) (any, error) { return s.Marks().Owner(ctx) },
	} {
		got, err := ask(within(t))
		require.NoError(t, err)
		require.Zero(t, got)
	}
	names := js.StreamNames(within(t))
	var all []string
	for name := range names.Name() {
		all = append(all, name)
	}
	require.Equal(t, []string{"PERSISTD"}, all)
}

func TestMarksThatWouldBeForgottenAreRefused(t *testing.T) {
	t.Parallel()
	js := connect(t)
	ensure(t, js, Config{})
	c := info(t, js, "PERSISTD_MARKS").Config
	require.EqualValues(t, 1, c.MaxMsgsPerSubject)
	c.MaxAge = time.Hour
	_, err := js.UpdateStream(within(t), c)
	require.NoError(t, err)
	log, _ := observed()
	_, err = Ensure(within(t), js, Config{}, log)
	var settings *ConfigError
	require.ErrorAs(t, err, &settings)
	require.ErrorContains(t, err, "stream PERSISTD_MARKS cannot be the log")
	require.ErrorContains(t, err, "nats stream edit PERSISTD_MARKS --max-age 0")
}
