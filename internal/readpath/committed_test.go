package readpath_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

const ms = time.Millisecond

type answer struct {
	why *wire.Poison
	err error
	at  time.Duration
}

// wait asks for the commit of sequence 10.
func wait(ctx context.Context, r *readpath.Reader) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		why, err := r.Committed(ctx, "default", readpath.Write{ID: run, Sequence: 10})
		out <- answer{why, err, time.Since(epoch)}
	}()
	return out
}

func TestCommittedEndsWithTheCommit(t *testing.T) {
	t.Parallel()
	why := wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
	for name, row := range map[string]struct {
		commit  position.Commit
		letters map[uint64]wire.Poison
		want    *wire.Poison
		asked   []string
	}{
		"that applied the event":                        {position.Commit{From: 8, To: 12}, nil, nil, nil},
		"that rejected the event":                       {position.Commit{From: 8, To: 12, Rejected: map[uint64]wire.Poison{10: why}}, nil, &why, nil},
		"that rejected its neighbour":                   {position.Commit{From: 8, To: 12, Rejected: map[uint64]wire.Poison{9: why}}, nil, nil, nil},
		"after one nobody heard of, which applied it":   {position.Commit{From: 11, To: 12}, nil, nil, []string{fmt.Sprintf("letter 10 of %d", home)}},
		"after one nobody heard of, which rejected it":  {position.Commit{From: 11, To: 12}, map[uint64]wire.Poison{10: why}, &why, []string{fmt.Sprintf("letter 10 of %d", home)}},
		"after one that rejected only what is after it": {position.Commit{From: 10, To: 12, Rejected: map[uint64]wire.Poison{12: why}}, nil, nil, []string{fmt.Sprintf("letter 10 of %d", home)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &data{letters: row.letters}
				r := d.reader(8)
				out := wait(t.Context(), r)
				<-time.After(30 * ms)
				r.Positions.Advance(position.Commit{Partition: (home + 1) % partitions, From: 0, To: 100})
				r.Positions.Advance(position.Commit{Partition: home, From: 8, To: 9})
				synctest.Wait()
				require.Empty(t, out)
				row.commit.Partition = home
				r.Positions.Advance(row.commit)
				require.Equal(t, answer{row.want, nil, 30 * ms}, <-out)
				require.Equal(t, row.asked, d.calls)
			})
		})
	}
}

func TestCommittedOfLongAgoLooksForALetter(t *testing.T) {
	t.Parallel()
	d := &data{letters: map[uint64]wire.Poison{10: {Code: "x"}}}
	why, err := d.reader(10).Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10})
	require.NoError(t, err)
	require.Equal(t, &wire.Poison{Code: "x"}, why)

	d = &data{}
	why, err = d.reader(10).Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10})
	require.NoError(t, err)
	require.Nil(t, why)
	require.Equal(t, []string{fmt.Sprintf("letter 10 of %d", home)}, d.calls)

	d = &data{letterErr: errors.New("away")}
	_, err = d.reader(10).Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10})
	require.EqualError(t, err, "look for dead letter: away")
}

func TestCommittedAsksTheDatabaseWhenNothingWasHeardYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{positions: []uint64{12}}
		ctx, cancel := context.WithTimeout(t.Context(), ms) // less than the period between two looks
		defer cancel()
		require.Equal(t, answer{nil, nil, 0}, <-wait(ctx, d.reader(0)))
	})
}

func TestCommittedAsksTheDatabaseWhenAnnouncementsAreLost(t *testing.T) {
	t.Parallel()
	for recheck, step := range map[time.Duration]time.Duration{0: 500 * ms, 2 * time.Second: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			d := &data{positions: []uint64{8, 4, 9, 10}} // restored in between
			r := d.reader(8)
			r.Recheck = recheck
			require.Equal(t, answer{nil, nil, 4 * step}, <-wait(t.Context(), r))
			require.Equal(t, []time.Duration{step, 2 * step, 3 * step, 4 * step}, d.asked)
			require.Equal(t, fmt.Sprintf("letter 10 of %d", home), d.calls[4])
			require.EqualValues(t, 10, r.Positions.Bound(home))
		})
	}
}

// Thousands may wait while commits are slow. Were each to ask the database, that would keep it, and the renewal of the leases, which
// shares its connections, from anything else.
func TestCommittedAsksTheDatabaseOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{positions: []uint64{8, 8, 8, 8, 10}}
		r := d.reader(8)
		var out []<-chan answer
		for range 400 {
			out = append(out, wait(t.Context(), r))
			<-time.After(ms)
		}
		for _, o := range out {
			a := <-o
			require.NoError(t, a.err)
			require.Equal(t, 2500*ms, a.at)
		}
		require.Equal(t, []time.Duration{500 * ms, 1000 * ms, 1500 * ms, 2000 * ms, 2500 * ms}, d.asked)
	})
}

func TestCommittedEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{positions: []uint64{9}}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 1200*ms, errors.New("waited enough"))
		defer cancel()
		require.Equal(t, answer{nil, errors.New("waited enough"), 1200 * ms}, <-wait(ctx, d.reader(8)))
		require.Len(t, d.asked, 2)
	})
}

func TestCommittedSaysThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{positionErr: errors.New("away")}
		a := <-wait(t.Context(), d.reader(8))
		require.EqualError(t, a.err, "read position: away")
		require.Equal(t, 500*ms, a.at)
	})
}

func TestCommittedOfAnEventWithKeysTellsWhetherItApplied(t *testing.T) {
	t.Parallel()
	mine, other := [32]byte{1}, [32]byte{2}
	letter := wire.Poison{Code: wire.CodeDatabase, Reason: "data too long"}
	for name, row := range map[string]struct {
		keys     []readpath.Key
		rejected *wire.Poison
		want     string // the code, and what the reason names
		asked    bool
	}{
		"it used its keys": {[]readpath.Key{{"a", mine, 10}, {"b", mine, 10}}, nil, "", true},
		"it used one that was deleted, and used again, since":   {[]readpath.Key{{"a", other, 12}, {"b", mine, 10}}, nil, "", true},
		"the same was saved before":                             {[]readpath.Key{{"a", mine, 7}, {"b", mine, 7}}, nil, "", true},
		"the same was saved before, under one of its keys":      {[]readpath.Key{{"b", mine, 7}}, nil, "", true},
		"the same was saved before the log was made":            {[]readpath.Key{{"b", mine, 0}}, nil, "", true},
		"a key was used for something else":                     {[]readpath.Key{{"a", other, 7}}, nil, "duplicate a", true},
		"a key was used by who wrote down no hash":              {[]readpath.Key{{"a", [32]byte{}, 0}}, nil, "duplicate a", true},
		"one was used for the same and one for something else":  {[]readpath.Key{{"a", mine, 7}, {"b", other, 8}}, nil, "duplicate b", true},
		"who used it is later in the log and was earlier there": {[]readpath.Key{{"a", other, 11}}, nil, "duplicate a", true},
		"its keys are gone":                                     {[]readpath.Key{{"c", other, 7}}, nil, "key_expired ", true},
		"it is a dead letter":                                   {[]readpath.Key{{"a", mine, 10}}, &letter, "refused_by_db ", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{keys: row.keys}
			if row.rejected != nil {
				d.letters = map[uint64]wire.Poison{10: *row.rejected}
			}
			why, err := d.reader(10).Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10, Keys: []string{"a", "b"}, ContentHash: mine})
			require.NoError(t, err)
			calls := []string{fmt.Sprintf("letter 10 of %d", home)}
			if row.asked {
				calls = append(calls, "keys [a b]")
			}
			require.Equal(t, calls, d.calls)
			if row.want == "" {
				require.Nil(t, why)
				return
			}
			code, named, _ := strings.Cut(row.want, " ")
			require.Equal(t, code, why.Code)
			if named != "" {
				require.Contains(t, why.Reason, strconv.Quote(named))
			}
		})
	}
	d := &data{historyErr: errors.New("away")}
	_, err := d.reader(10).Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10, Keys: []string{"a"}})
	require.EqualError(t, err, "away")
}

func TestCommittedLooksAtKeysAfterTheCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{}
		r := d.reader(8)
		out := make(chan *wire.Poison, 1)
		go func() {
			why, err := r.Committed(t.Context(), "default", readpath.Write{ID: run, Sequence: 10, Keys: []string{"a"}})
			if err == nil {
				out <- why
			}
		}()
		synctest.Wait()
		require.Empty(t, d.calls)
		d.keys = []readpath.Key{{Key: "a", Sequence: 10}}
		r.Positions.Advance(position.Commit{Partition: home, From: 8, To: 12})
		require.Nil(t, <-out)
		require.Equal(t, []string{"keys [a]"}, d.calls)
	})
}
