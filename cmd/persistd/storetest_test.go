package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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
	logged := s.countLogged()
	daemon := s.mortal(lives{done: logged.Load, least: 150, seed: 31}) // of some 3400
	outages := s.outages(db, lives{done: logged.Load, least: 400, seed: 32})
	storetest.Run(t, s.opener(client.WithAttemptTimeout(time.Second), client.WithTimeout(2*time.Minute), client.WithCloseTimeout(2*time.Minute)),
		storetest.WithPatience(2*time.Minute))
	outages.stop()
	daemon.stop()
	require.Positive(t, daemon.kills.Load(), "kills of the daemon")
	require.Positive(t, outages.n.Load(), "outages of MySQL")
	t.Logf("%d events, %d kills of the daemon, %d outages of MySQL", logged.Load(), daemon.kills.Load(), outages.n.Load())
}

// countLogged counts what is published to the log.
func (s *stack) countLogged() *atomic.Int64 {
	s.t.Helper()
	var n atomic.Int64
	_, err := s.nc.Subscribe("persistd.write.>", func(*nats.Msg) { n.Add(1) })
	require.NoError(s.t, err)
	require.NoError(s.t, s.nc.Flush())
	return &n
}

// outages are times at which the database is not there.
type outages struct {
	n    atomic.Int64
	stop func()
}

// outages kills the database when so much has been done since it was back, and starts it again one to two seconds later, until stop.
func (s *stack) outages(db *devstack.Database, l lives) *outages {
	s.t.Helper()
	o := &outages{}
	draw := rand.New(rand.NewPCG(l.seed, l.seed))
	end, ended := make(chan struct{}), make(chan struct{})
	o.stop = sync.OnceFunc(func() { close(end); <-ended })
	s.t.Cleanup(o.stop)
	go func() {
		defer close(ended)
		for {
			dies := l.done() + l.least + draw.Int64N(l.least)
			if !until(end, func() bool { return l.done() >= dies }) {
				return
			}
			db.Kill()
			o.n.Add(1)
			select {
			case <-time.After(time.Second + time.Duration(draw.Int64N(int64(time.Second)))):
			case <-end:
			}
			if err := db.Restart(context.Background()); err != nil {
				s.t.Errorf("start database again: %v", err)
				return
			}
		}
	}()
	return o
}
