package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

func TestStepGoesFromAWorkerToMySQLAndBack(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open()
	ctx := t.Context()

	_, _, err := st.LoadLatest(ctx, "run-001")
	require.ErrorIs(t, err, client.ErrNotFound)

	require.NoError(t, st.SaveStep(ctx, "run-001", 1, "start", json.RawMessage(`{"n":1}`)))
	state, step, err := st.LoadLatest(ctx, "run-001")
	require.NoError(t, err)
	require.Equal(t, 1, step)
	require.JSONEq(t, `{"n":1}`, string(state))

	require.NoError(t, st.SaveStep(client.ContextWithDurability(ctx, client.Committed), "run-001", 2, "next", json.RawMessage(`{"n":2}`)))
	require.Equal(t, 2, s.rows("run_id = 'run-001'"), "committed means that the row is there")

	// What the stock NATS CLI sends.
	require.NoError(t, s.nc.Publish("persistd.write.default.run.run-001", []byte(`{"step":3,"node_id":"by hand","state":{"n":3}}`)))
	s.eventually("hand-written step is a row", func() bool { return s.rows("run_id = 'run-001' AND step = 3 AND node_id = 'by hand'") == 1 })
	require.NoError(t, st.Ping(ctx))
	require.NoError(t, d.stop())
}
