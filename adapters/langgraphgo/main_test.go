package langgraphgo_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// TestMain makes this binary a worker process when it is started as one.
func TestMain(m *testing.M) {
	if task, ok := os.LookupEnv(taskVariable); ok {
		if err := workerMain(task); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	stacktest.Main(m)
}
