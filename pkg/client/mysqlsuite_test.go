package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/storetest"
)

func TestMySQLStore(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	storetest.Run(t, func(t *testing.T, s storetest.Settings) client.Store[storetest.State] {
		t.Helper()
		st, err := client.NewMySQLStore[storetest.State](dsn, append(s.Options(), client.WithPool(client.Pool{MaxOpen: 4}))...)
		require.NoError(t, err)
		return st
	})
}
