package mysqlstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
)

func TestRegisterIsIdempotentAndKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	s, dsn, _ := ready(t)
	term := acquire(t, s, 1)
	commit(t, s, &term, save(3, "run", 1, `1`))
	was, err := s.Positions(t.Context())
	require.NoError(t, err)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	is, err := two.Positions(t.Context())
	require.NoError(t, err)
	require.Len(t, is, 4)
	for i := range is {
		require.InDelta(t, was[i].LeaseFor, is[i].LeaseFor, float64(leased/2))
		was[i].LeaseFor, is[i].LeaseFor = 0, 0
		require.Equal(t, i, is[i].Partition)
	}
	require.Equal(t, was, is)
}

func TestRegisterAddsAMissingPartitionAndLeavesTheOthers(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 1)
	commit(t, s, &term, save(3, "run", 1, `1`))
	exec(t, look, "DELETE FROM persistd_partitions WHERE partition_no=2")
	require.NoError(t, s.Register(t.Context(), testLog))
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Len(t, rows, 4)
	require.EqualValues(t, 3, rows[1].Position)
	require.Equal(t, "one", rows[1].Owner)
	require.Zero(t, rows[2].Position)
	commit(t, s, &term, save(4, "run", 2, `1`))
}

func TestEachStreamEverRegisteredHasAGenerationOfItsOwn(t *testing.T) {
	t.Parallel()
	_, dsn, _ := ready(t) // generation 1
	const streams, replicas = 5, 3
	got := make([][replicas]uint32, streams)
	var g errgroup.Group
	for replica := range replicas {
		s := open(t, dsn, owner(fmt.Sprint("replica", replica)))
		g.Go(func() error {
			for i := range streams {
				log := testLog
				log.Created = created.Add(time.Duration(i+1) * time.Microsecond)
				if err := s.Register(t.Context(), log); err != nil {
					return err
				}
				rows, err := s.Positions(t.Context())
				if err != nil {
					return err
				}
				got[i][replica] = rows[0].Generation
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	last := uint32(1)
	for _, generations := range got {
		require.Equal(t, [replicas]uint32{generations[0], generations[0], generations[0]}, generations, "the same for all")
		require.Greater(t, generations[0], last, "larger than all before")
		last = generations[0]
	}
}

func TestRegisterRefusesAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	fewer := testLog
	fewer.Partitions = 3
	err := s.Register(t.Context(), fewer)
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "stream has 3 partitions, but 4 in the database")
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Len(t, rows, 4, "the log registered before stays")
}

func TestRegisterRefusesALogThatIsNone(t *testing.T) {
	t.Parallel()
	s := open(t, "root@tcp(127.0.0.1:1)/none")
	require.ErrorContains(t, s.Register(t.Context(), Log{Stream: "X", Partitions: 1}), "is none")
	require.ErrorContains(t, s.Register(t.Context(), Log{Stream: "X", Created: created}), "is none")
	require.ErrorContains(t, s.Register(t.Context(), Log{Created: created, Partitions: 1}), "is none")
}
