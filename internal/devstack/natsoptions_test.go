package devstack

import (
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

func TestNATSOptionsReachTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	for _, always := range []bool{false, true} {
		n, err := StartNATS(t.Context(), NATSOptions{Dir: t.TempDir(), SyncAlways: always, MaxStore: 1 << 20})
		require.NoError(t, err)
		config := n.run.server.JetStreamConfig()
		require.NoError(t, n.Stop())
		require.Equal(t, always, config.SyncAlways)
		require.EqualValues(t, 1<<20, config.MaxStore)
	}
}

func TestNATSOptionsReachTheServerProcess(t *testing.T) {
	t.Parallel()
	for _, always := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), `with "quotes" and a space`)
		n, err := StartNATSProcess(t.Context(), NATSOptions{Dir: dir, SyncAlways: always, MaxStore: 1 << 20})
		require.NoError(t, err)
		n.Kill()
		o, err := server.ProcessConfigFile(filepath.Join(dir, "nats.conf"))
		require.NoError(t, err)
		require.Equal(t, always, o.SyncAlways)
		require.EqualValues(t, 1<<20, o.JetStreamMaxStore)
		require.Equal(t, "127.0.0.1", o.Host)
		require.Equal(t, filepath.Join(dir, "data"), o.StoreDir)
	}
}
