package client_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

// TestStepsOfARunAreLoggedInOrderAndOnceWhateverTheConnectionDoes saves many steps of some runs while the connection is
// cut, deaf and slow in turn.
func TestStepsOfARunAreLoggedInOrderAndOnceWhateverTheConnectionDoes(t *testing.T) {
	t.Parallel()
	const runs, steps = 20, 150
	for _, row := range []struct {
		name string
		save client.Durability
	}{{"logged one by one", client.Logged}, {"queued at once", client.Async}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			p := newProxy(t, l.url)
			st := open[state](t, p.url(), client.WithDurability(row.save), client.WithAttemptTimeout(100*time.Millisecond), client.WithMaxInFlight(64, 1<<20), client.WithTimeout(5*time.Minute),
				client.WithNATSOptions(nats.Timeout(time.Second)))

			published := l.tap(t)
			stop := make(chan struct{})
			var faults sync.WaitGroup
			p.dropAnswers(true)
			faults.Go(func() {
				for len(published) == 0 && !pause(stop, time.Millisecond) { // at least this one goes unanswered, however fast the rest is
				}
				p.cut()
				p.dropAnswers(false)
				disturb(p, stop)
			})

			var group errgroup.Group
			for r := range runs {
				group.Go(func() error {
					for s := range steps {
						if err := st.SaveStep(t.Context(), fmt.Sprint("run-", r), s, "", state{N: s}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			require.NoError(t, group.Wait())
			require.NoError(t, st.Flush(t.Context()))
			close(stop)
			faults.Wait()

			require.NoError(t, l.nc.Flush())
			require.Greater(t, len(published), runs*steps, "publishes were retried")
			want := make([]int, steps)
			for s := range want {
				want[s] = s
			}
			got := l.steps(t)
			require.Len(t, got, runs)
			for run, logged := range got {
				require.Equal(t, want, logged, run)
			}
		})
	}
}

// disturb breaks the connection in a random way, for a moment, and again and again.
func disturb(p *proxy, stop <-chan struct{}) {
	for {
		switch rand.N(3) {
		case 0:
			p.dropAnswers(true)
		case 1:
			p.holdRequests(true)
		default: // only what follows
		}
		ended := pause(stop, rand.N(40*time.Millisecond))
		p.cut() // a stream of bytes with a gap in it is no NATS connection any more
		p.dropAnswers(false)
		p.holdRequests(false)
		if ended || pause(stop, 50*time.Millisecond+rand.N(200*time.Millisecond)) {
			return
		}
	}
}

// pause waits for d and reports whether stop was closed instead.
func pause(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return true
	case <-time.After(d):
		return false
	}
}

func TestConcurrentStepsOfOneRunAreAllLoggedAndRunsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())

	var group errgroup.Group
	for s := range 200 {
		group.Go(func() error { return st.SaveStep(t.Context(), "run", s, "", state{N: s}) })
	}
	require.NoError(t, group.Wait())
	require.Len(t, l.steps(t)["run"], 200)

	// 50 runs, one step each, are all outstanding at once.
	published := l.tap(t)
	p.dropAnswers(true)
	var waiting []<-chan error
	for r := range 50 {
		waiting = append(waiting, goSave(t.Context(), st, fmt.Sprint("other-", r), 1))
	}
	for range waiting {
		requireSoon(t, published)
	}
	p.dropAnswers(false)
	p.cut()
	for _, done := range waiting {
		require.NoError(t, requireSoon(t, done))
	}
}

func TestStepsQueuedForARunReachTheLogInTheOrderOfTheCalls(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t, client.WithMaxInFlight(4, 1<<20))
	var want []int
	for s := range 300 {
		want = append(want, s)
		require.NoError(t, st.SaveStep(async(t.Context()), "run", s, "", state{N: s}))
	}
	require.NoError(t, st.SaveStep(t.Context(), "run", 300, "", state{}))
	require.Equal(t, append(want, 300), l.steps(t)["run"])
}
