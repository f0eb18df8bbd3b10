package main

import (
	"math/rand/v2"
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

// mortal starts one. It lives for between least and twice as long each time, by times drawn from seed.
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
			select {
			case <-time.After(least + time.Duration(draw.Int64N(int64(least)))):
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
