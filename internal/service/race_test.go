//go:build race

package service_test

func init() { raceEnabled = true } //nolint:gochecknoinits // how a test is told.
