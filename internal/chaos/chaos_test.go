package chaos

import "testing"

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	s := readSettings(t)
	seedHint(t, s)
	binary := buildDaemon(t)
	t.Run("though processes are killed and stopped", func(t *testing.T) { testKillLoop(t, s, binary) })
	t.Run("though the network fails", func(t *testing.T) { testNetwork(t, s, binary) })
}
