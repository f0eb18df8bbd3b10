package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestTheCollectorIsSetUnlessTheOperatorDoes(t *testing.T) {
	t.Parallel()
	s := newStack(t, stacktest.NATS(t).URL(), stacktest.Database(t))
	percent := func(more ...string) float64 {
		c := s.spawn("none", more...).serving()
		defer c.kill()
		return s.scrape(c.address())["go_gc_gogc_percent"]
	}
	require.InDelta(t, gcPercent, percent("PERSISTD_INSTANCE=one"), 0)
	require.InDelta(t, gcPercent, percent("PERSISTD_INSTANCE=three", "GOGC="), 0, "empty is not set")
	require.InDelta(t, 80, percent("PERSISTD_INSTANCE=two", "GOGC=80"), 0)
}
