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

// mortal starts one. Each time it lives for between least and twice as long from when it serves, by times drawn from seed: on a busy machine,
// too, something gets done in between. One that does not come to serve, for the database is away, is killed at its start.
func (s *stack) mortal(seed uint64, least time.Duration, more ...string) *mortal {
	s.t.Helper()
	m := &mortal{}
	draw := rand.New(rand.NewPCG(seed, seed))
	end, ended := make(chan struct{}), make(chan struct{})
	m.stop = sync.OnceFunc(func() { close(end); <-ended })
	s.t.Cleanup(m.stop)
	running := s.spawn("none", more...)
	go func() {
		defer close(ended)
		for {
			life := least + time.Duration(draw.Int64N(int64(least)))
			if !running.servesWithin(10*time.Second, end) {
				life = 0
			}
			select {
			case <-time.After(life):
			case <-end:
				return
			}
			running.kill()
			m.kills.Add(1)
			running = s.spawn("none", more...)
		}
	}()
	return m
}

// servesWithin reports whether the daemon serves before d is over or end is closed.
func (c *child) servesWithin(d time.Duration, end <-chan struct{}) bool {
	late, look := time.After(d), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if strings.Contains(c.out.String(), `"serving"`) {
				return true
			}
		case <-late:
			return false
		case <-end:
			return false
		}
	}
}
