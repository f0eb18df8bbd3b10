//go:build race

package client

func init() { raceEnabled = true } //nolint:gochecknoinits // how a test is told.
