package client_test

import (
	"testing"

	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/storetest"
)

func TestMemStore(t *testing.T) {
	t.Parallel()
	data := client.NewMemStore[storetest.State]()
	storetest.Run(t, func(_ *testing.T, s storetest.Settings) client.Store[storetest.State] {
		return data.Open(s.Options()...)
	})
}
