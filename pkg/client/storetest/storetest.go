package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// Settings are what a test needs a store to be opened with.
type Settings struct {
	// EventLease is for how long outbox events are the store's; 0 is the store's own default, which is to be 10 s at least.
	EventLease time.Duration
	// Attempt is the attempt of all its writes; 0 is none.
	Attempt int
	// Timeout is the deadline of calls that have none; 0 is the store's own default.
	Timeout time.Duration
}

// Options are s as options of the stores of package client.
func (s Settings) Options() []client.Option {
	opts := []client.Option{client.WithAttempt(s.Attempt)}
	if s.EventLease > 0 {
		opts = append(opts, client.WithEventLease(s.EventLease))
	}
	if s.Timeout > 0 {
		opts = append(opts, client.WithTimeout(s.Timeout))
	}
	return opts
}

// Opener opens another store on the data that the tests are given.
type Opener func(t *testing.T, s Settings) client.Store[State]

// Option changes how the tests are run.
type Option func(*suite)

// WithPatience sets how long a test waits for what may lag behind; default 20 s.
func WithPatience(d time.Duration) Option { return func(s *suite) { s.patience = d } }

// WithScale multiplies how much the tests save and how many workers they have; default 1.
func WithScale(factor int) Option { return func(s *suite) { s.scale = factor } }

// AnyDepth says that the store takes states nested however deep: it encodes them as something flat.
func AnyDepth() Option { return func(s *suite) { s.anyDepth = true } }

// suite is one run of the tests.
type suite struct {
	opener   Opener
	patience time.Duration
	scale    int
	anyDepth bool
	// st is the store that the tests share: all its methods may be called concurrently.
	st client.Store[State]
}

// sentence is a test and what it says of a store.
type sentence struct {
	says string
	test func(t *testing.T, s *suite)
}

// Run tests the stores that open opens.
func Run(t *testing.T, open Opener, opts ...Option) {
	t.Helper()
	s := &suite{opener: open, patience: 20 * time.Second, scale: 1}
	for _, opt := range opts {
		opt(s)
	}
	s.st = s.open(t, Settings{})
	for _, part := range []struct {
		name      string
		sentences []sentence
	}{
		{"Steps", steps},
		{"IDs", ids},
		{"States", states},
		{"Checkpoints", checkpoints},
		{"CheckpointsV2", checkpointsV2},
		{"Keys", keys},
		{"Transactions", transactions},
		{"History", history},
		{"Runs", runs},
		{"Delete", deletes},
		{"Copy", copies},
		{"Watch", watches},
		{"Attempts", attempts},
		{"Lifecycle", lifecycle},
		{"Workers", workers},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, sentence := range part.sentences {
				t.Run(sentence.says, func(t *testing.T) {
					t.Parallel()
					sentence.test(t, s)
				})
			}
		})
	}
	// The outbox is one for all runs: its tests come one after the other, and each leaves it empty.
	t.Run("Outbox", func(t *testing.T) {
		for _, sentence := range outbox {
			t.Run(sentence.says, func(t *testing.T) { sentence.test(t, s) })
		}
	})
}

// open opens another store, which is closed when t ends.
func (s *suite) open(t *testing.T, settings Settings) client.Store[State] {
	t.Helper()
	st := s.opener(t, settings)
	t.Cleanup(func() { assert.NoError(t, st.Close()) })
	return st
}

// another opens another worker's store.
func (s *suite) another(t *testing.T) client.Store[State] {
	t.Helper()
	return s.open(t, Settings{})
}

// eventually waits until check passes.
func (s *suite) eventually(t *testing.T, check func(c *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, check, s.patience, 10*time.Millisecond)
}

// ping pings until somebody answers: a ping is not tried again, and what the store is of may be away for a moment.
func (s *suite) ping(ctx context.Context, st client.Store[State]) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		err := st.Ping(ctx)
		if !errors.Is(err, client.ErrUnavailable) || ctx.Err() != nil {
			return err //nolint:wrapcheck // the test's caller is to see it as it is.
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// unique is an id that nobody else uses.
func unique(what string) string { return what + "-" + strings.ToLower(rand.Text()[:12]) }

func async(t *testing.T) context.Context {
	t.Helper()
	return client.ContextWithDurability(t.Context(), client.Async)
}

func committed(t *testing.T) context.Context {
	t.Helper()
	return client.ContextWithDurability(t.Context(), client.Committed)
}

// ofAttempt is a ctx whose writes are of attempt n and committed, so that their error is the call's.
func ofAttempt(t *testing.T, n int) context.Context {
	t.Helper()
	return client.ContextWithAttempt(committed(t), n)
}

func save(t *testing.T, st client.Store[State], run string, step int, state State) {
	t.Helper()
	require.NoError(t, st.SaveStep(t.Context(), run, step, node(step), state))
}

// saveSteps saves steps 1 to n, in which N is the number.
func saveSteps(t *testing.T, st client.Store[State], run string, n int) {
	t.Helper()
	require.NoError(t, st.SaveStepBatch(t.Context(), run, numbered(1, n)))
}

// numbered are the steps from first to last.
func numbered(first, last int) []client.Step[State] {
	var steps []client.Step[State]
	for n := first; n <= last; n++ {
		steps = append(steps, client.Step[State]{Step: n, NodeID: node(n), State: State{N: int64(n)}})
	}
	return steps
}

func saveV2(t *testing.T, st client.Store[State], cp client.CheckpointV2[State], opts ...client.SaveOption) {
	t.Helper()
	require.NoError(t, st.SaveCheckpointV2(t.Context(), cp, opts...))
}

func requireLatest(t *testing.T, st client.Store[State], run string, step int, state State) {
	t.Helper()
	got, n, err := st.LoadLatest(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, step, n)
	requireState(t, state, got)
}

func requireNoRun(t *testing.T, st client.Store[State], run string) {
	t.Helper()
	got, n, err := st.LoadLatest(t.Context(), run)
	require.ErrorIs(t, err, client.ErrNotFound)
	require.Zero(t, n)
	require.Zero(t, got)
}

// all are the values of an iterator that ends without an error.
func all[T any](t require.TestingT, seq func(yield func(T, error) bool)) []T {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	var values []T
	for v, err := range seq {
		require.NoError(t, err)
		values = append(values, v)
	}
	return values
}

// failure is the error that an iterator ends with, or nil.
func failure[T any](seq func(yield func(T, error) bool)) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}
