package admin_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/admin"
)

func TestStopIsIdempotentAndSafeBeforeStart(t *testing.T) {
	t.Parallel()
	s := newServer(t, admin.Options{})
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Stop(t.Context()))
	require.ErrorContains(t, s.Start(t.Context()), "stopped before")
	require.Nil(t, s.Addr())
}

func TestStopWaitsForACheckAtMostUntilItsDeadline(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	s := newServer(t, admin.Options{CheckTimeout: time.Millisecond, Live: []admin.Check{{Name: "stuck", Check: func(context.Context) error {
		close(begun)
		<-release
		return nil
	}}}})
	require.NoError(t, s.Start(t.Context()))
	get(t, s.Addr(), "/livez")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, s.Stop(ctx), "wait for health checks")
	close(release)
	require.NoError(t, s.Stop(t.Context()), "the second Stop waits for what the first gave up on")
}

func TestStopCancelsARunningCheck(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	cause := make(chan error, 1)
	s := newServer(t, admin.Options{CheckTimeout: time.Hour, Live: []admin.Check{{Name: "slow", Check: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	}}}})
	require.NoError(t, s.Start(t.Context()))
	var probing sync.WaitGroup
	probing.Go(func() {
		if resp, err := client.Get("http://" + s.Addr().String() + "/livez"); err == nil {
			_ = resp.Body.Close()
		}
	})
	<-begun
	require.NoError(t, s.Stop(t.Context()))
	require.EqualError(t, <-cause, "the daemon is shutting down")
	probing.Wait()
}

// Start, probes, SetDraining and two Stops at once, again and again: nothing leaks (goleak), hangs or races.
func TestStartStopStress(t *testing.T) {
	t.Parallel()
	for range 30 {
		s := newServer(t, admin.Options{
			DebugListen: "127.0.0.1:0", CheckTimeout: time.Second,
			Ready: []admin.Check{passing("a"), failing("b", "no")},
		})
		require.NoError(t, s.Start(t.Context()))
		addr := s.Addr().String()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if resp, err := client.Get("http://" + addr + "/readyz"); err == nil {
					_ = resp.Body.Close()
				}
			})
		}
		wg.Go(s.SetDraining)
		for range 2 {
			wg.Go(func() {
				if err := s.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		select {
		case err := <-s.Failed():
			t.Fatal(err)
		default:
		}
	}
}
