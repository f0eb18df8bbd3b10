package client_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

func TestLoadLatestReturnsTheHighestStep(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	startPersistd(t, l)
	st := l.open(t)
	for _, step := range []int{1, 3, 2} {
		require.NoError(t, st.SaveStep(t.Context(), "run", step, "", state{N: step, Text: strings.Repeat("x", 2000)}))
	}
	got, step, err := st.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 3, step)
	require.Equal(t, state{N: 3, Text: strings.Repeat("x", 2000)}, got, "from a compressed reply, too")

	got, step, err = st.LoadLatest(t.Context(), "nobody's")
	require.ErrorIs(t, err, client.ErrNotFound)
	require.Zero(t, step)
	require.Zero(t, got)

	_, _, err = st.LoadLatest(t.Context(), "trailing ")
	require.ErrorIs(t, err, client.ErrInvalidID)
}

func TestHostileIDsAreDistinctRunsAndRoundTrip(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	startPersistd(t, l)
	st := l.open(t)
	ids := []string{
		".", "a.b", "*", ">", "a b", "a/b", "%", "%2E", "'", `"`, `\`, "a\nb", "\x00", "😀", "run", "Run", "ré", "re", "~" + strings.Repeat("a", 64),
		strings.Repeat("𝄞", 255), strings.Repeat("𝄞", 254) + "x", strings.Repeat("a", 128), strings.Repeat("a", 129), " leading", "é", "e\u0301",
	}
	for i, id := range ids {
		require.NoError(t, st.SaveStep(t.Context(), id, i, id, state{N: i, Text: id}), "%q", id)
	}
	for i, id := range ids {
		got, step, err := st.LoadLatest(t.Context(), id)
		require.NoError(t, err, "%q", id)
		require.Equal(t, i, step, "%q", id)
		require.Equal(t, state{N: i, Text: id}, got, "%q", id)
	}
	require.Len(t, l.steps(t), len(ids))
}

func TestLoadLatestSeesWhatItsOwnClientStillHasQueued(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	startPersistd(t, l)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithDurability(client.Async))
	p.holdRequests(true)
	for i := range 30 {
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "", state{N: i}))
	}
	_, _, err := st.LoadLatest(within(t, soon), "run")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "own queued steps")

	p.holdRequests(false)
	got, step, err := st.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 29, step)
	require.Equal(t, 29, got.N)
}

func TestAStateThatDoesNotFitTheTypeIsAnErrorThatDoesNotShowIt(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	startPersistd(t, l)
	require.NoError(t, open[any](t, l.url).SaveStep(t.Context(), "run", 4, "", map[string]any{"n": 271828, "text": "secret"}))
	_, _, err := open[struct {
		N int8 `json:"n"`
	}](t, l.url).LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, client.ErrInvalidState)
	require.ErrorContains(t, err, `member "n"`)
	require.NotContains(t, err.Error(), "271828")
	_, _, err = open[[]int](t, l.url).LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, client.ErrInvalidState)
	require.NotContains(t, err.Error(), "secret")
}

func TestLoadLatestIsRetriedUntilSomebodyAnswers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// heal breaks something and returns what repairs it.
		heal func(t *testing.T, l *thelog, p *proxy) func()
	}{
		{"no persistd is there yet", func(t *testing.T, l *thelog, _ *proxy) func() {
			return func() { startPersistd(t, l) }
		}},
		{"persistd is busy", func(t *testing.T, l *thelog, _ *proxy) func() {
			d := startPersistd(t, l)
			d.busy.Store(math.MaxInt64)
			return func() { d.busy.Store(1) }
		}},
		{"a replica dies with the request", func(t *testing.T, l *thelog, _ *proxy) func() {
			sub, err := l.nc.QueueSubscribe(subjects.ReadAny("latest"), "q", func(*nats.Msg) {})
			require.NoError(t, err)
			require.NoError(t, l.nc.Flush())
			return func() {
				require.NoError(t, sub.Unsubscribe())
				startPersistd(t, l)
			}
		}},
		{"the connection drops", func(t *testing.T, l *thelog, p *proxy) func() {
			startPersistd(t, l)
			p.dropAnswers(true)
			return func() {
				p.dropAnswers(false)
				p.cut()
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			p := newProxy(t, l.url)
			st := open[state](t, p.url(), client.WithAttemptTimeout(300*time.Millisecond))
			require.NoError(t, st.SaveStep(t.Context(), "run", 5, "", state{N: 5}))
			heal := row.heal(t, l, p)

			_, _, err := st.LoadLatest(within(t, soon), "run")
			require.ErrorIs(t, err, client.ErrUnavailable)
			require.ErrorIs(t, err, context.DeadlineExceeded)

			done := make(chan error, 1)
			go func() {
				_, _, err := st.LoadLatest(t.Context(), "run")
				done <- err
			}()
			requireBlocked(t, done, soon)
			heal()
			require.NoError(t, requireSoon(t, done))
		})
	}
}

func TestWhatPersistdRefusesIsNotRetried(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		code string
		is   error
	}{{"400", client.ErrBadRequest}, {"404", client.ErrBadRequest}, {"413", client.ErrTooLarge}} {
		l := newLog(t)
		d := &persistd{log: l}
		_, err := l.nc.Subscribe(subjects.ReadAny("latest"), func(m *nats.Msg) { d.refuse(m, row.code, "because of "+row.code) })
		require.NoError(t, err)
		require.NoError(t, l.nc.Flush())
		_, _, err = l.open(t).LoadLatest(t.Context(), "run")
		require.ErrorIs(t, err, row.is)
		require.ErrorContains(t, err, "because of "+row.code)
	}
}

func TestACommittedStepIsInMySQLWhenSaveStepReturns(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	d := startPersistd(t, l)
	st := l.open(t)
	done := goSave(committed(t.Context()), st, "run", 1)
	l.requireCount(t, 1)
	require.Eventually(t, func() bool { return d.asked.Load() > 1 }, eventually, poll)
	requireBlocked(t, done, soon)
	d.position.Store(1)
	require.NoError(t, requireSoon(t, done))
}

func TestAStepThatIsNotCommittedInTimeIsSaidToBeLogged(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t)
	err := st.SaveStep(committed(within(t, 10*soon)), "run", 1, "", state{})
	require.ErrorIs(t, err, client.ErrNotCommitted)
	require.ErrorIs(t, err, client.ErrUnavailable, "no persistd is there")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)

	d := startPersistd(t, l)
	err = st.SaveStep(committed(within(t, 10*soon)), "run", 2, "", state{})
	require.ErrorIs(t, err, client.ErrNotCommitted)
	require.NotErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Positive(t, d.asked.Load())
	require.Less(t, d.asked.Load(), int64(20), "persistd is not asked all the time")
	require.Equal(t, map[string][]int{"run": {1, 2}}, l.steps(t))
}

func TestAStepThatBecameADeadLetterIsRejectedWithTheReason(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	d := startPersistd(t, l)
	reason := "the database does not like it"
	d.rejects.Store(&reason)
	err := l.open(t).SaveStep(committed(t.Context()), "run", 1, "", state{})
	require.ErrorIs(t, err, client.ErrRejected)
	require.ErrorContains(t, err, reason)
	require.ErrorContains(t, err, "refused_by_db")
	require.NotErrorIs(t, err, client.ErrNotCommitted)
}

func TestPingSaysWhichPartDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	d := startPersistd(t, l)
	st := open[state](t, p.url(), client.WithAttemptTimeout(soon))
	require.NoError(t, st.Ping(t.Context()))
	require.Zero(t, l.count(t.Context()), "a ping stores nothing")

	d.busy.Store(1)
	require.ErrorContains(t, st.Ping(t.Context()), "persistd answered 429")

	lonely := l.open(t, client.WithPrefix("elsewhere"))
	require.ErrorContains(t, lonely.Ping(t.Context()), "no stream listens")

	p.refuse(true)
	p.cut()
	err := st.Ping(t.Context())
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, "NATS")
}

func TestPingWithoutPersistdSaysSo(t *testing.T) {
	t.Parallel()
	err := newLog(t).open(t).Ping(t.Context())
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, "no persistd listens on persistd.read.default.latest")
}
