package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/storetest"
)

// opener opens stores on s.
func (s *stack) opener(opts ...client.Option) storetest.Opener {
	return func(t *testing.T, settings storetest.Settings) client.Store[storetest.State] {
		t.Helper()
		st, err := client.Open[storetest.State](t.Context(), s.url, append(settings.Options(), opts...)...)
		require.NoError(t, err)
		return st
	}
}

func TestTheStoreThroughPersistdPassesTheConformanceSuite(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	storetest.Run(t, s.opener())
}

// The same, while the daemon is killed again and again and MySQL is stopped for a part of the time.
func TestTheStoreThroughPersistdPassesTheConformanceSuiteWhileAllBehindTheLogDies(t *testing.T) {
	t.Parallel()
	db, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	daemon := s.mortal(31, 4*time.Second)
	outages := s.outages(db, 32)
	storetest.Run(t, s.opener(client.WithAttemptTimeout(time.Second), client.WithTimeout(2*time.Minute), client.WithCloseTimeout(2*time.Minute)),
		storetest.WithPatience(2*time.Minute))
	outages.stop()
	daemon.stop()
	require.Positive(t, daemon.kills.Load(), "kills of the daemon")
	require.Positive(t, outages.n.Load(), "outages of MySQL")
	t.Logf("%d kills of the daemon, %d outages of MySQL", daemon.kills.Load(), outages.n.Load())
}

// outages are times at which the database is not there.
type outages struct {
	n    atomic.Int64
	stop func()
}

// outages kills the database first within six seconds, then every eight to sixteen, and starts it again one to two seconds later, until stop.
func (s *stack) outages(db *devstack.Database, seed uint64) *outages {
	s.t.Helper()
	o := &outages{}
	draw := rand.New(rand.NewPCG(seed, seed))
	end, ended := make(chan struct{}), make(chan struct{})
	o.stop = sync.OnceFunc(func() { close(end); <-ended })
	s.t.Cleanup(o.stop)
	wait := func(least time.Duration) bool {
		select {
		case <-time.After(least + time.Duration(draw.Int64N(int64(least)))):
			return true
		case <-end:
			return false
		}
	}
	go func() {
		defer close(ended)
		for pause := 3 * time.Second; wait(pause); pause = 8 * time.Second {
			db.Kill()
			o.n.Add(1)
			wait(time.Second)
			if err := db.Restart(context.Background()); err != nil {
				s.t.Errorf("start database again: %v", err)
				return
			}
		}
	}()
	return o
}
