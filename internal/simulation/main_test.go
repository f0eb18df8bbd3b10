package simulation

import (
	"os"
	"runtime/debug"
	"testing"
)

// A schedule leaves little behind, and collecting it costs more than all else.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
