package client_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

func TestMySQLStoresRaceForAKeyAndForEvents(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	one, two := mysqlStore(t, dsn), mysqlStore(t, dsn)
	wins := make(chan int, 2)
	var g errgroup.Group
	for i, st := range []*client.MySQLStore[state]{one, two} {
		g.Go(func() error {
			err := st.SaveCheckpointV2(t.Context(), v2Checkpoint("run", i, "key", i), client.WithEvents(client.Event{Msg: fmt.Sprint(i)}))
			if err == nil {
				wins <- i
			} else if !errors.Is(err, client.ErrDuplicate) {
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Len(t, wins, 1)
	winner := <-wins
	_, err := one.LoadCheckpointV2(t.Context(), "run", 1-winner)
	require.ErrorIs(t, err, client.ErrNotFound, "of the other one nothing is there")
	require.NoError(t, two.SaveCheckpointV2(t.Context(), v2Checkpoint("run", winner, "key", winner), client.WithEvents(client.Event{Msg: fmt.Sprint(winner)})), "the same again")

	events, err := one.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, fmt.Sprint(winner), events[0].Msg)
	require.NoError(t, two.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
		return errors.Join(tx.SaveEvents(client.Event{RunID: "run", Msg: "later"}), tx.SaveStep("run", 9, "n", state{}))
	}))
	later, err := two.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, later, "an earlier one of the run is another's")
	require.NoError(t, one.MarkEventsEmitted(t.Context(), []string{events[0].ID()}))
	later, err = two.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, later, 1)
}
