package chaos

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// noticed is in what time a connection whose other end is gone without a word must be given up, by daemons and clients: their pings, and some
// room on a busy machine.
const noticed = 45 * time.Second

// A connection to NATS whose other end is gone without a word is not waited for until the kernel gives up, or for the minutes of the NATS
// client's default.
func testHalfOpen(t *testing.T, s settings, binary string) {
	t.Helper()
	c := newCluster(t)
	n := newNetwork(t)
	nats := natsAddr(c.nats.URL())
	c.addDaemon(binary, "nats://"+n.link("persistd-1 to nats", nats), c.database.DSN("persistd"))
	st, err := client.Open[json.RawMessage](t.Context(), "nats://"+n.link("client to nats", nats),
		client.WithDurability(client.Committed), client.WithTimeout(noticed), client.WithAttemptTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	sc := newScenario(c, s, c.nats.URL())
	sc.serving()
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "node", json.RawMessage(`1`)))

	// Only connections that are there already are half open: those that are made anew work.
	for _, l := range n.links {
		require.NoError(t, l.halfOpen())
		t.Cleanup(func() { require.NoError(t, errors.Join(l.remove("mute_downstream"), l.remove("sever_upstream"))) })
	}
	began := time.Now()
	require.NoError(t, st.SaveStep(t.Context(), "run", 2, "node", json.RawMessage(`2`)))
	t.Logf("noticed by client and daemon in %s", time.Since(began).Round(100*time.Millisecond))
	sc.stop()
}
