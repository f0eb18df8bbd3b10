package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much the heap grows, of what is live, before it is collected. What is live is small, the queues and read-aheads, and of each step of
// a backlog more is allocated than is kept: at 100, Go's default, a sixth of the daemon's CPU was collecting. With more, its peak would pass 96 MiB:
// docs/ideas.md has the figures.
const gcPercent = 150

// collectLess sets that for a program that applies the log, unless GOGC says otherwise.
func collectLess() {
	if os.Getenv("GOGC") == "" { // as the runtime sees it
		debug.SetGCPercent(gcPercent)
	}
}
