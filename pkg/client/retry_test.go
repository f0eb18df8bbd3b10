package client_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// untilKnown has a store save what is refused, and returns what it says at the deadline. When that came just while an attempt was on its way,
// which nobody can know of, another store tries, with more time: the same one would have the run's next write wait for that attempt.
func untilKnown(t *testing.T, wait time.Duration, opened func() client.Store[state], save func(ctx context.Context, st client.Store[state]) error,
) (st client.Store[state], err error) {
	t.Helper()
	for began := time.Now(); ; wait += soon {
		st = opened()
		if err = save(within(t, wait), st); !errors.Is(err, client.ErrOutcomeUnknown) {
			return st, err
		}
		require.Less(t, time.Since(began), 2*eventually, "%v", err)
		_ = st.Close() // says what is not acknowledged
	}
}

// requireConnected waits until st has a connection that works both ways.
func requireConnected(t *testing.T, st client.Store[state]) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := st.Ping(t.Context())
		return err == nil || strings.Contains(err.Error(), "no persistd listens")
	}, eventually, poll)
}

func msgID(m *nats.Msg) string { return m.Header.Get(wire.HeaderMsgID) }

func TestARetryHasTheSameMessageIDAndTheLogHoldsOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(soon))
	published := l.tap(t)

	p.dropAnswers(true)
	done := goSave(t.Context(), st, "run", 1)
	first, second, third := requireSoon(t, published), requireSoon(t, published), requireSoon(t, published)
	p.cut() // what was cut off in the middle of an answer is of no use
	p.dropAnswers(false)
	require.NoError(t, requireSoon(t, done))

	require.NotEmpty(t, msgID(first))
	require.Equal(t, msgID(first), msgID(second))
	require.Equal(t, msgID(first), msgID(third))
	require.Equal(t, uint64(1), l.count(t.Context()))
}

func TestALogThatIsKilledBetweenPublishAndAnswerHoldsTheStepOnce(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	l := observe(t, server.URL())
	l.create(t, -1)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())

	p.dropAnswers(true)
	done := goSave(t.Context(), st, "run", 1)
	l.requireCount(t, 1)
	server.Kill()
	<-server.Done()
	p.dropAnswers(false)
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, requireSoon(t, done))
	l.requireCount(t, 1)
	require.Equal(t, map[string][]int{"run": {1}}, l.steps(t))
}

func TestALostConnectionIsRetriedAtOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(time.Hour))

	p.holdRequests(true)
	done := goSave(t.Context(), st, "run", 1)
	requireBlocked(t, done, soon)
	p.holdRequests(false)
	p.cut()
	require.NoError(t, requireSoon(t, done), "the attempt's hour must not be waited for")
	require.Equal(t, map[string][]int{"run": {1}}, l.steps(t))
}

func TestADeadlineWithoutAnAnswerLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())

	p.dropAnswers(true)
	err := overWhen(t, func() bool { return l.count(t.Context()) == 1 }, func(ctx context.Context) error {
		return st.SaveStep(ctx, "run", 1, "", state{})
	})
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	ctx, cancel := context.WithCancel(t.Context())
	done := goSave(ctx, st, "other", 1)
	l.requireCount(t, 2)
	cancel()
	err = requireSoon(t, done)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.Canceled)
}

func TestANextStepDoesNotOvertakeOneWhoseOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())

	p.holdRequests(true)
	err := overWhen(t, p.holds, func(ctx context.Context) error { return st.SaveStep(ctx, "run", 1, "", state{N: 1}) })
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	published := l.tap(t)
	second := goSave(t.Context(), st, "run", 2)
	requireBlocked(t, published, soon)

	// A step that is given up while it waits its turn is not published at all.
	err = st.SaveStep(within(t, soon), "run", 3, "", state{N: 3})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)

	p.holdRequests(false)
	p.cut() // the first attempt is lost with its connection
	require.NoError(t, requireSoon(t, second))
	require.Equal(t, map[string][]int{"run": {1, 2}}, l.steps(t))
}

func TestAnUnansweredPublishIsNotRetriedPastTheLimit(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(soon), client.WithRetryLimit(2*time.Second))

	p.dropAnswers(true)
	published := l.tap(t)
	started := time.Now()
	err := st.SaveStep(t.Context(), "run", 1, "", state{})
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "gave up after 2s")
	require.Less(t, time.Since(started), eventually)
	for requireSoon(t, published); len(published) > 0; {
		<-published
	}
	requireBlocked(t, published, soon)

	p.dropAnswers(false)
	p.cut()
	requireConnected(t, st)
	require.NoError(t, st.SaveStep(t.Context(), "run", 2, "", state{}), "the run goes on")
	require.Equal(t, map[string][]int{"run": {1, 2}}, l.steps(t))
}

func TestAServerThatIsAwayIsWaitedForAndTheErrorSaysThatNothingWasLogged(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	l := observe(t, server.URL())
	l.create(t, -1)
	st := l.open(t)
	require.NoError(t, server.Stop())
	// Until the client itself has noticed, what it publishes is under way somewhere.
	require.Eventually(t, func() bool {
		return !errors.Is(st.SaveStep(within(t, soon), "probe", 1, "", state{}), client.ErrOutcomeUnknown)
	}, eventually, poll)

	err := st.SaveStep(within(t, soon), "run", 1, "", state{})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)

	done := goSave(t.Context(), st, "run", 2)
	requireBlocked(t, done, soon)
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, []int{2}, l.steps(t)["run"], "what was reported as not logged is not")
}

func TestAMissingStreamIsWaitedForAndNeverTakenForSuccess(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	st, err := untilKnown(t, soon, func() client.Store[state] { return l.open(t) }, func(ctx context.Context, st client.Store[state]) error {
		return st.SaveStep(ctx, "run", 1, "", state{})
	})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no stream listens")
	var typed *client.Error
	require.ErrorAs(t, err, &typed)
	require.Contains(t, typed.Hint, "persistd creates the stream")

	done := goSave(t.Context(), st, "run", 2)
	requireBlocked(t, done, soon)
	l.create(t, -1)
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, map[string][]int{"run": {2}}, l.steps(t))
}

func TestAnAnswerThatIsNotAStreamsIsNotSuccess(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	for name, answer := range map[string]string{"nothing": "", "text": "ok", "an empty object": "{}", "no sequence": `{"stream":"x"}`} {
		var asked atomic.Int64
		_, err := l.nc.Subscribe("persistd.write.default.run."+wire.Token(name), func(m *nats.Msg) {
			asked.Add(1)
			_ = m.Respond([]byte(answer))
		})
		require.NoError(t, err)
		require.NoError(t, l.nc.Flush())
		again := func() bool { return asked.Load() > 1 } // for what the first answer was
		err = overWhen(t, again, func(ctx context.Context) error { return l.open(t).SaveStep(ctx, name, 1, "", state{}) })
		require.ErrorIs(t, err, client.ErrUnavailable, name)
		require.ErrorContains(t, err, "not a stream", name)
	}
}

func TestAFullLogIsWaitedForAndReportedAtTheDeadline(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	l.create(t, 4000)
	opened := func() client.Store[state] { return l.open(t, client.WithCompression(0)) }
	require.NoError(t, opened().SaveStep(t.Context(), "run", 1, "", state{Text: noise(3000)}))

	st, err := untilKnown(t, soon, opened, func(ctx context.Context, st client.Store[state]) error {
		return st.SaveStep(ctx, "run", 2, "", state{Text: noise(3000)})
	})
	require.ErrorIs(t, err, client.ErrLogFull)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "maximum bytes exceeded")
	require.ErrorContains(t, err, "max_bytes")
	require.Equal(t, map[string][]int{"run": {1}}, l.steps(t), "nothing was dropped to make room")

	done := make(chan error, 1)
	go func() { done <- st.SaveStep(t.Context(), "run", 3, "", state{Text: noise(3000)}) }()
	requireBlocked(t, done, soon)
	l.purge(t)
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, map[string][]int{"run": {3}}, l.steps(t))
}
