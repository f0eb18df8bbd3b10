//go:build !race

package chaos

// underRace is whether the race detector watches this test; then it watches the daemons, too.
const underRace = false
