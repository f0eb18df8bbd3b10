//go:build race

package wire

func init() { raceEnabled = true } //nolint:gochecknoinits // how a test is told.
