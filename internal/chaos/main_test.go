package chaos

import (
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log to the process's stderr, whatever logger they are given
	// Where the writing side of a connection ends first, toxiproxy leaves a toxic, and its reading side, waiting to pass on what they have.
	const toxiproxy = "github.com/Shopify/toxiproxy/v2"
	stacktest.Main(m, goleak.IgnoreAnyFunction(toxiproxy+"/toxics.(*ToxicStub).Run"), goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).read"))
}
