package client

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// A request that finds the inbox open, and then the connection closed by the same Close, is told of the Close.
func TestARequestThatTheClosingOvertakesIsToldThatTheStoreIsClosed(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(stacktest.NATS(t).URL())
	require.NoError(t, err)
	m, err := newMux(nc)
	require.NoError(t, err)
	m.publish = func(msg *nats.Msg) error {
		require.NoError(t, m.close())
		nc.Close()
		return nc.PublishMsg(msg)
	}
	_, err = m.request(t.Context(), &nats.Msg{Subject: "nobody.listens"})
	require.Same(t, ErrClosed, err)
}
