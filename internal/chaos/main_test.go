package chaos

import (
	"testing"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestMain(m *testing.M) { stacktest.Main(m) }
