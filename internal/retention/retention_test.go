package retention

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sweeper struct {
	mu    sync.Mutex
	calls []string
	err   error
	hang  bool
}

func (s *sweeper) Sweep(ctx context.Context, table Table, age time.Duration, after string) (int64, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s %q", table, age, after))
	switch {
	case s.hang:
		<-ctx.Done()
		return 0, "", context.Cause(ctx)
	case s.err != nil:
		return 0, "", s.err
	case after == "":
		return 10, "b", nil
	}
	return 3, "", nil
}

func (s *sweeper) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func start(t *testing.T, cfg Config, s *sweeper) *Janitor {
	t.Helper()
	j, err := New(cfg, s, prometheus.NewRegistry(), zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, j.Start(t.Context()))
	return j
}

// after lets virtual time pass.
func after(d time.Duration) { <-time.After(d) }

func TestEachTableIsSweptPageByPageAtItsAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sweeper{}
		j := start(t, Config{Keys: time.Hour, Events: time.Minute, Every: 10 * time.Second}, s)
		after(15 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{
			`idempotency_keys 1h0m0s ""`, `idempotency_keys 1h0m0s "b"`, `events_outbox 1m0s ""`, `events_outbox 1m0s "b"`,
		}, s.take()[:4])
		require.Positive(t, testutil.ToFloat64(j.removed.WithLabelValues("events_outbox")))
		after(15 * time.Second)
		synctest.Wait()
		require.NotEmpty(t, s.take())
		require.NoError(t, j.Stop(t.Context()))
	})
}

func TestWhatIsKeptForEverIsNotSwept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sweeper{}
		j := start(t, Config{Events: time.Minute, Every: time.Second}, s)
		after(2 * time.Second)
		synctest.Wait()
		require.NotContains(t, fmt.Sprint(s.take()), "keys")
		require.NoError(t, j.Stop(t.Context()))

		j = start(t, Config{}, s)
		after(24 * time.Hour)
		require.Empty(t, s.take())
		require.NoError(t, j.Stop(t.Context()))
	})
}

func TestAnErrorEndsThePassAndTheNextOneComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sweeper{err: errors.New("away")}
		j := start(t, Config{Keys: time.Minute, Every: time.Minute}, s)
		after(91 * time.Second)
		synctest.Wait()
		require.Contains(t, []int{1, 2}, len(s.take()), "one call a pass")
		after(91 * time.Second)
		synctest.Wait()
		require.NotEmpty(t, s.take())
		require.NoError(t, j.Stop(t.Context()))
	})
}

func TestStopDoesNotWaitForADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sweeper{hang: true}
		j := start(t, Config{Keys: time.Minute, Every: time.Second}, s)
		after(2 * time.Second)
		began := time.Now()
		require.NoError(t, j.Stop(t.Context()))
		require.NoError(t, j.Stop(t.Context()), "again")
		require.Zero(t, time.Since(began))
		require.Error(t, j.Start(t.Context()), "it lives once")
	})
}
