package main

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mortal is a daemon that is killed with SIGKILL again and again, and started again at once under the same name.
type mortal struct {
	kills atomic.Int64
	// stop ends it: from then on the daemon that runs is left alone, until the test ends.
	stop func()
}

// lives say how long each daemon lives: in what gets done, and not in time. So it is killed as often on a fast machine, in the midst of it, and on a
// slow one something gets done in between.
type lives struct {
	// done counts what the test is about, and is called at any time.
	done func() int64
	// least is how much of it gets done at least from when a daemon serves until it is killed; by seed it is up to twice as much.
	least int64
	seed  uint64
	// killed, which may be nil, is called after each kill, before the next daemon is started.
	killed func()
}

// mortal starts one.
func (s *stack) mortal(l lives, more ...string) *mortal {
	s.t.Helper()
	m := &mortal{}
	draw := rand.New(rand.NewPCG(l.seed, l.seed))
	end, ended := make(chan struct{}), make(chan struct{})
	m.stop = sync.OnceFunc(func() { close(end); <-ended })
	s.t.Cleanup(m.stop)
	running := s.spawn("none", more...)
	go func() {
		defer close(ended)
		for {
			if !until(end, func() bool { return strings.Contains(running.out.String(), `"serving"`) }) {
				return
			}
			dies := l.done() + l.least + draw.Int64N(l.least)
			if !until(end, func() bool { return l.done() >= dies }) {
				return
			}
			running.kill()
			m.kills.Add(1)
			if l.killed != nil {
				l.killed()
			}
			running = s.spawn("none", more...)
		}
	}()
	return m
}

// until waits until ok, and reports false when end is closed before.
func until(end <-chan struct{}, ok func() bool) bool {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-end:
			return false
		}
	}
	return true
}
