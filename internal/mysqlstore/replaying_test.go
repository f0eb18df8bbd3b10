package mysqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/replay"
)

// Rows and progress move together; a batch that comes again is found applied; two replays of one name do not both move it.
func TestAReplayMovesItsProgressWithTheRowsOnce(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	p, err := s.Replay("mine", replay.Rules{Outbox: replay.Emitted})
	require.NoError(t, err)
	parts := []replay.Part{{Partition: 1, After: 2, Until: 20, Position: 2}}
	require.NoError(t, p.Begin(t.Context(), parts, "all"))
	from := func(at uint64) partition.Term { return partition.Term{Partition: 1, Position: at} }

	first := batch(from(2), save(5, "run", 1, `5`), save(7, "run", 2, `7`))
	out, err := p.Apply(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, replay.Outcomes{Applied: 2}, out)
	out, err = p.Apply(t.Context(), first)
	require.NoError(t, err, "its outcome may not have been learned")
	require.Zero(t, out)

	_, err = p.Apply(t.Context(), batch(from(2), save(5, "run", 1, `5`)))
	requireClass(t, batcher.Moved, err)
	_, err = p.Apply(t.Context(), batch(from(5), save(9, "run", 3, `9`)))
	requireClass(t, batcher.Moved, err)
	require.Len(t, readAll(t, look, "SELECT step FROM workflow_steps"), 2, "nothing was written by who stood elsewhere")

	got, asked, err := p.Parts(t.Context())
	require.NoError(t, err)
	require.Equal(t, "all", asked)
	require.Equal(t, []replay.Part{{Partition: 1, After: 2, Until: 20, Position: 7}}, got)
	for _, row := range readAll(t, look, "SELECT position, epoch, owner FROM persistd_partitions") {
		require.Contains(t, row, `position="0"`, "the daemon's position is the daemon's")
	}
	require.NoError(t, p.Begin(t.Context(), nil, ""))
	_, err = p.Apply(t.Context(), batch(from(7), save(9, "run", 3, `9`)))
	requireClass(t, batcher.Moved, err)
}
