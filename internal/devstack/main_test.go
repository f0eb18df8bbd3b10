package devstack_test

import (
	"testing"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestMain(m *testing.M) {
	if runAsParent() {
		return
	}
	stacktest.Main(m)
}
