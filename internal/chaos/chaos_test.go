package chaos

import "testing"

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	s := readSettings(t)
	seedHint(t, s)
	binary := buildDaemon(t)
	t.Run("though everything fails", func(t *testing.T) {
		t.Parallel()
		t.Run("processes", func(t *testing.T) { testKillLoop(t, s, binary) })
		t.Run("the network", func(t *testing.T) { testNetwork(t, s, binary) })
	})
	t.Run("though a server is gone without a word", func(t *testing.T) {
		t.Parallel()
		testHalfOpen(t, s, binary)
	})
}
