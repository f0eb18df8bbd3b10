package chaos

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/demo"
)

// The environment variables of the long form, which `make chaos` sets.
const (
	forVariable   = "PERSISTD_CHAOS_FOR"
	seedVariable  = "PERSISTD_CHAOS_SEED"
	stepsVariable = "PERSISTD_CHAOS_STEPS"
)

// settings are how long, and with what.
type settings struct {
	// length is for how long each part has faults.
	length time.Duration
	// long is the long form. kills is how many processes are killed at least, for which it goes on for up to twice its time: 200, where that
	// is long enough for them on a busy machine.
	long  bool
	kills int
	seed  uint64
	runs  demo.Runs
}

const parts = 2 // of the long form, which share its time

func readSettings(t *testing.T) settings {
	t.Helper()
	s := settings{length: 12 * time.Second, seed: uint64(time.Now().UnixNano()) % 1e6, runs: demo.Synthetic}
	if text := os.Getenv(forVariable); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err, forVariable)
		require.GreaterOrEqual(t, d, 10*time.Second, forVariable)
		if s.length, s.long = d/parts, true; s.length >= 5*time.Minute {
			s.kills = 200
		}
	}
	if text := os.Getenv(seedVariable); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
		s.seed = n
	}
	if path := os.Getenv(stepsVariable); path != "" {
		runs, err := demo.Recorded(path)
		require.NoError(t, err, stepsVariable)
		s.runs = runs
	}
	return s
}
