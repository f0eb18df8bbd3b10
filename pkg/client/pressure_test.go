package client_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// A full client is seen to be full, with the reason, and that calls wait; and afterwards that it is empty.
func TestPressureShowsWhoWaitsAndForWhat(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	l.create(t, 4000)
	st := l.open(t, client.WithDurability(client.Async), client.WithMaxInFlight(2, 1<<20), client.WithCompression(0))
	meter, ok := st.(client.Meter)
	require.True(t, ok)
	require.Equal(t, client.Pressure{MaxSteps: 2, MaxBytes: 1 << 20}, meter.Pressure())

	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", state{Text: noise(3000)}))
	require.NoError(t, st.Flush(t.Context()))
	for step := range 2 { // the log is full: they stay in the client
		require.NoError(t, st.SaveStep(t.Context(), "run", 2+step, "", state{Text: noise(3000)}))
	}
	blocked := make(chan error, 1)
	go func() { blocked <- st.SaveStep(t.Context(), "run", 4, "", state{}) }()
	var p client.Pressure
	require.Eventually(t, func() bool {
		p = meter.Pressure()
		return p.Waiting == 1 && p.Trouble != nil
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, 2, p.Steps)
	require.Greater(t, p.Bytes, 6000)
	require.Less(t, p.Bytes, 8000, "what waits is not in the client yet")
	require.ErrorIs(t, p.Trouble, client.ErrLogFull)
	require.ErrorIs(t, st.Flush(within(t, soon)), client.ErrLogFull, "Flush says what it waits for")

	l.update(t, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	require.NoError(t, requireSoon(t, blocked))
	require.NoError(t, st.Flush(t.Context()))
	require.Equal(t, client.Pressure{MaxSteps: 2, MaxBytes: 1 << 20}, meter.Pressure(), "all of it is logged")
}
