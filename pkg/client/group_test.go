package client_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// groups is how many messages of the log came in each batch; those that came alone are not counted.
func (l *thelog) groups(t *testing.T) map[string]int {
	t.Helper()
	messages, err := l.messages(t.Context())
	require.NoError(t, err)
	groups := map[string]int{}
	for i := range messages {
		if id := messages[i].Message.Header.Get("Nats-Batch-Id"); id != "" {
			groups[id]++
		}
	}
	return groups
}

// grouping is a store that groups, behind p.
func grouping(t *testing.T, p *proxy, opts ...client.Option) client.Store[state] {
	t.Helper()
	return open[state](t, p.url(), append([]client.Option{client.WithGroupPublish(client.GroupAlways)}, opts...)...)
}

// gather begins a step of each of n runs, of which the first is under way alone, and held up, until the others have gathered.
func gather(t *testing.T, st client.Store[state], p *proxy, n int) []<-chan error {
	t.Helper()
	p.holdRequests(true)
	outcomes := []<-chan error{goSave(t.Context(), st, "run-0", 1)}
	require.Eventually(t, p.holds, eventually, poll)
	for i := 1; i < n; i++ {
		outcomes = append(outcomes, goSave(t.Context(), st, fmt.Sprint("run-", i), 1))
	}
	meter, ok := st.(client.Meter)
	require.True(t, ok)
	require.Eventually(t, func() bool { return meter.Pressure().Steps == n }, eventually, poll)
	requireBlocked(t, outcomes[n-1], soon) // who has room is queued in no time
	return outcomes
}

func requireEachOnce(t *testing.T, l *thelog, n int) {
	t.Helper()
	want := map[string][]int{}
	for i := range n {
		want[fmt.Sprint("run-", i)] = []int{1}
	}
	require.Equal(t, want, l.steps(t))
}

func TestWritesOfManyRunsShareABatch(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	outcomes := gather(t, grouping(t, p), p, 40)
	p.holdRequests(false)
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	requireEachOnce(t, l, 40)
	for _, n := range l.groups(t) {
		require.Equal(t, 39, n)
	}
	require.Len(t, l.groups(t), 1)
}

func TestAGroupIsNoLargerThanABatchMayBe(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p, client.WithDurability(client.Async))
	p.holdRequests(true)
	for i := range 2500 {
		require.NoError(t, st.SaveStep(t.Context(), fmt.Sprint("run-", i), 1, "", state{}))
	}
	p.holdRequests(false)
	require.NoError(t, st.Flush(t.Context()))
	requireEachOnce(t, l, 2500)
	groups := l.groups(t)
	require.GreaterOrEqual(t, len(groups), 3)
	require.LessOrEqual(t, len(groups), 5)
	for _, n := range groups {
		require.LessOrEqual(t, n, 1000)
	}
}

func TestALoneWorkerAndALargeStepAreInNoGroup(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p, client.WithCompression(0))
	for step := range 20 {
		require.NoError(t, st.SaveStep(t.Context(), "alone", step, "", state{}))
	}
	outcomes := gather(t, st, p, 2)
	done := make(chan error, 1)
	go func() { done <- st.SaveStep(t.Context(), "large", 1, "", state{Text: strings.Repeat("x", 200_000)}) }()
	requireBlocked(t, done, soon)
	p.holdRequests(false)
	for _, outcome := range append(outcomes, done) {
		require.NoError(t, requireSoon(t, outcome))
	}
	require.Empty(t, l.groups(t))
}

// One write that the log refuses has the whole batch refused with it.
func TestAWriteThatIsRefusedSpoilsNothingForThoseBesideIt(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	p := newProxy(t, l.url)
	st, heir := grouping(t, p), l.open(t)
	require.Equal(t, 1, begin(t, st, "run-7"))
	require.Equal(t, 2, begin(t, heir, "run-7"))
	outcomes := gather(t, st, p, 20)
	p.holdRequests(false)
	for i, outcome := range outcomes {
		if err := requireSoon(t, outcome); i == 7 {
			require.ErrorIs(t, err, client.ErrStaleAttempt)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
		} else {
			require.NoError(t, err, i)
		}
	}
	steps := l.steps(t)
	for i := range 20 {
		if i != 7 {
			require.Equal(t, []int{1}, steps[fmt.Sprint("run-", i)])
		}
	}
	require.NotContains(t, steps["run-7"], 1)
}

func TestTheWritesOfAttemptsAreFencedInAGroupAsWell(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	p := newProxy(t, l.url)
	st := grouping(t, p)
	for i := range 10 {
		begin(t, st, fmt.Sprint("run-", i))
	}
	outcomes := gather(t, st, p, 10)
	p.holdRequests(false)
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	require.Len(t, l.groups(t), 1)
	messages, err := l.messages(t.Context())
	require.NoError(t, err)
	for i := range messages {
		if messages[i].Message.Header.Get("Nats-Batch-Id") != "" {
			require.NotEmpty(t, messages[i].Message.Header.Get(jetstream.ExpectedLastSubjSeqHeader))
		}
	}
}
