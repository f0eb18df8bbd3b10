package chaos

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log to the process's stderr, whatever logger they are given
	// Where the writing side of a connection ends first, toxiproxy leaves a toxic waiting to pass on what it has.
	stacktest.Main(m, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
}
