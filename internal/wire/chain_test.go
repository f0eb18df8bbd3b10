package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

func TestAPlaceInAChainIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []wire.Chain{{ID: "a", No: 1}, {ID: strings.Repeat("x", 64), No: 1<<63 - 1}} {
		require.Equal(t, c, wire.ChainOf(wire.Header{wire.HeaderChain: {c.String()}}))
	}
}

func TestWhatIsNotSpelledAsAPlaceInAChainIsNone(t *testing.T) {
	t.Parallel()
	require.Zero(t, wire.ChainOf(nil))
	require.Zero(t, wire.ChainOf(wire.Header{wire.HeaderChain: {"a 1", "a 2"}}), "which of them?")
	for _, value := range []string{
		"", " ", "a", "a ", " 1", "a 0", "a 01", "a +1", "a -1", "a 1 ", "a  1", "a 1 2", "a b", "a 1.0",
		"a 9223372036854775808", strings.Repeat("x", 65) + " 1",
	} {
		require.Zero(t, wire.ChainOf(wire.Header{wire.HeaderChain: {value}}), "%q", value)
	}
}
