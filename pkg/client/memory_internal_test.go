package client

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

func TestALeaseInMemoryEndsToTheMillisecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := NewMemStore[any](WithEventLease(10 * time.Second))
		b := a.Open()
		require.NoError(t, a.SaveCheckpointV2(t.Context(), CheckpointV2[any]{RunID: "run"}, WithEvents(Event{Msg: "1"}, Event{Msg: "2"})))
		pending := func(st Store[any]) int {
			events, err := st.PendingEvents(t.Context(), 1)
			require.NoError(t, err)
			return len(events)
		}
		require.Equal(t, 1, pending(a))
		<-time.After(6 * time.Second) // the time is virtual
		require.Equal(t, 1, pending(a), "asking again leases anew")
		<-time.After(10*time.Second - time.Millisecond) // the time is virtual
		require.Equal(t, 0, pending(b))
		<-time.After(time.Millisecond) // the time is virtual
		require.Equal(t, 1, pending(b))
		require.Equal(t, 0, pending(a))
	})
}

func TestAWatchInMemoryWakesOnAWriteAndOnClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := NewMemStore[int]()
		b := a.Open()
		started := time.Now()
		var shown []int
		var last error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for step, err := range b.WatchRun(t.Context(), "run", 0) {
				if last = err; err == nil {
					shown = append(shown, step.State)
				}
			}
		}()
		synctest.Wait()
		for n := range 3 {
			require.NoError(t, a.SaveStep(t.Context(), "run", n, "", n))
			require.NoError(t, a.SaveStep(t.Context(), "another", n, "", 100))
			synctest.Wait()
			require.Len(t, shown, n+1)
		}
		require.Equal(t, started, time.Now(), "nobody waited for a clock")
		<-time.After(time.Hour) // the time is virtual
		require.NoError(t, a.SaveStep(t.Context(), "run", 3, "", 3))
		synctest.Wait()
		require.Equal(t, []int{0, 1, 2, 3}, shown)
		require.NoError(t, a.Close())
		synctest.Wait()
		require.NoError(t, last, "the store that watches is another one")
		require.NoError(t, b.Close())
		<-ended
		require.ErrorIs(t, last, ErrClosed)
	})
}

func TestAStoreInMemoryWithWrongOptionsFailsWithAllOfThem(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any](WithMaxDepth(0), WithCodec(nil), WithEventLease(0))
	err := st.SaveStep(t.Context(), "run", 1, "", nil)
	require.ErrorIs(t, err, ErrInvalidOption)
	for _, what := range []string{"max depth", "codec", "event lease"} {
		require.ErrorContains(t, err, what)
	}
	_, _, err = st.LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, ErrInvalidOption)
	require.ErrorIs(t, st.Ping(t.Context()), ErrInvalidOption)
	require.ErrorIs(t, st.SaveStepBatch(t.Context(), "run", nil), ErrInvalidOption)
	for _, err := range st.WatchRun(t.Context(), "run", 0) {
		require.ErrorIs(t, err, ErrInvalidOption)
	}
	require.NoError(t, st.Close())
	require.NoError(t, NewMemStore[any](WithNamespace("other"), WithPool(Pool{MaxOpen: 1})).Ping(t.Context()), "what says nothing to it is ignored")
}

// aliasing is a codec that keeps hold of everything it can.
type aliasing struct {
	JSON
	held [][]byte
}

func (a *aliasing) Encode(b Binding, v any) ([]byte, error) {
	data, err := a.JSON.Encode(b, v)
	a.held = append(a.held, data)
	return data, err
}

func (a *aliasing) Decode(b Binding, data []byte, v any) error {
	a.held = append(a.held, data)
	return a.JSON.Decode(b, data, v)
}

func TestWhatIsInMemoryIsNobodyElses(t *testing.T) {
	t.Parallel()
	codec := &aliasing{}
	st := NewMemStore[any](WithCodec(codec))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", "state"))
	require.NoError(t, st.SaveCheckpoint(t.Context(), "named", "state", 1))
	require.NoError(t, st.SaveCheckpointV2(t.Context(), CheckpointV2[any]{RunID: "run", Label: "label", State: "state", Frontier: "f", RecordedIOs: "r"}))
	for range 2 {
		for _, held := range codec.held {
			for i := range held {
				held[i] = 'x'
			}
		}
		state, _, err := st.LoadLatest(t.Context(), "run")
		require.NoError(t, err)
		require.Equal(t, "state", state)
		state, _, err = st.LoadCheckpoint(t.Context(), "named")
		require.NoError(t, err)
		require.Equal(t, "state", state)
		cp, err := st.LoadCheckpointV2ByLabel(t.Context(), "run", "label")
		require.NoError(t, err)
		require.Equal(t, []any{"state", "f", "r"}, []any{cp.State, cp.Frontier, cp.RecordedIOs})
		for cp, err := range st.ListCheckpointsV2(t.Context(), "run") {
			require.NoError(t, err)
			require.Equal(t, "state", cp.State)
		}
		for step, err := range st.Steps(t.Context(), "run", 0, 0) {
			require.NoError(t, err)
			require.Equal(t, "state", step.State)
		}
	}
}

func TestACopyKeepsFrontierAndRecordedIOAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	text := `{"id":9007199254740993,"f":1.0,"twice":1,"twice":2}`
	require.NoError(t, st.SaveCheckpointV2(t.Context(), CheckpointV2[any]{
		RunID: "run", State: json.RawMessage(text), Frontier: json.RawMessage(text), RecordedIOs: json.RawMessage(text),
	}))
	require.NoError(t, st.CopyRun(t.Context(), "run", 0, "fork"))
	cp := st.data.runs["fork"].v2[0]
	require.Equal(t, text, string(cp.State))
	require.Equal(t, text, string(cp.Frontier))
	require.Equal(t, text, string(cp.RecordedIOs))
}

func TestARunWithoutAnythingIsNotKept(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", nil))
	require.NoError(t, st.DeleteRun(t.Context(), "run"))
	require.NoError(t, st.DeleteRun(t.Context(), "nobody's"))
	require.Empty(t, st.data.runs)
}

func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	require.NoError(t, st.SaveStep(ContextWithAttempt(t.Context(), math.MaxInt32), "run", 1, "", nil))
	_, err := st.BeginAttempt(t.Context(), "run")
	require.ErrorIs(t, err, ErrRejected)
}

func TestATransactionIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	st := NewMemStore[string]()
	state := strings.Repeat("x", 6<<20)
	tx := func(n int) error {
		return st.WithTransaction(t.Context(), func(tx Tx[string]) error {
			for i := range n {
				if err := tx.SaveStep("run", i, "", state); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := tx(11)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "more than 67108864 bytes")
	require.NoError(t, tx(10))
	err = st.SaveCheckpointV2(t.Context(), CheckpointV2[string]{RunID: "run", State: state, Frontier: state})
	require.ErrorIs(t, err, ErrTooLarge, "one write fits a message, in all that it has")
}

// counting is a codec whose encodings are to differ each time.
type counting struct {
	JSON
	fingerprints *int
}

func (c counting) Fingerprint(b Binding, v any) ([]byte, error) {
	*c.fingerprints++
	return c.Encode(b, v)
}

func TestFingerprintsAreMadeWhereThereMayBeAKeyAndNowhereElse(t *testing.T) {
	t.Parallel()
	made := 0
	st := NewMemStore[any](WithCodec(counting{fingerprints: &made}))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", nil))
	require.NoError(t, st.SaveCheckpoint(t.Context(), "named", nil, 1))
	require.NoError(t, st.SaveCheckpointV2(t.Context(), CheckpointV2[any]{RunID: "run"}))
	require.NoError(t, st.CopyRun(t.Context(), "run", 1, "fork"))
	require.Zero(t, made)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), CheckpointV2[any]{RunID: "run", IdempotencyKey: "key"}))
	require.Equal(t, 3, made)
	require.NoError(t, st.WithTransaction(t.Context(), func(tx Tx[any]) error { return tx.SaveStep("run", 1, "", nil) }))
	require.Equal(t, 4, made)
}

func TestAnEventsRowSaysItsRun(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	run := "<run> \"é\""
	require.NoError(t, st.WithTransaction(t.Context(), func(tx Tx[any]) error {
		require.NoError(t, tx.SaveEvents(Event{Msg: "before", Meta: map[string]any{MetaEventID: "1"}}))
		require.NoError(t, tx.SaveEvents(Event{RunID: run, Msg: "named", Meta: map[string]any{MetaEventID: "2"}}))
		return tx.SaveEvents(Event{Msg: "after", Meta: map[string]any{MetaEventID: "3", "n": 1}})
	}))
	for id, want := range map[string]string{
		"1": `{"RunID":"<run> \"é\"","Step":0,"NodeID":"","Msg":"before","Meta":null}`,
		"2": `{"RunID":"<run> \"é\"","Step":0,"NodeID":"","Msg":"named","Meta":null}`,
		"3": `{"RunID":"<run> \"é\"","Step":0,"NodeID":"","Msg":"after","Meta":{"n":1}}`,
	} {
		require.JSONEq(t, want, string(st.data.events[id].Data))
		require.Equal(t, run, st.data.events[id].RunID)
	}
}

func TestAnEventThatIsNotOursIsGivenOutWithItsDataAndCanBeMarked(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	require.NoError(t, st.data.apply(&write{kind: wire.KindRun, id: "run", ops: []wire.Op{{Type: wire.OpOutbox, ID: "odd", State: []byte(`["paid"]`)}}}))
	events, err := st.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []Event{{RunID: "run", Meta: map[string]any{MetaEventID: "odd", MetaData: []any{"paid"}}}}, events)
	require.NoError(t, st.MarkEventsEmitted(t.Context(), []string{"odd"}))
	events, err = st.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, events)
}

func TestATimeThatDoesNotParseIsNotShown(t *testing.T) {
	t.Parallel()
	st := NewMemStore[any]()
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", "secret"))
	_, _, err := (&MemStore[time.Time]{store: newStore[time.Time](&memory{data: st.data, closed: make(chan struct{})}, defaults())}).LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, ErrInvalidState)
	require.NotContains(t, err.Error(), "secret")
	require.ErrorContains(t, err, "of the form")
	require.ErrorContains(t, err, "saved with another type")
}

func TestAWatchAsksForNoLongerThanACallMayTake(t *testing.T) {
	t.Parallel()
	for timeout, want := range map[time.Duration]time.Duration{
		time.Minute: 4 * time.Second, time.Second: 500 * time.Millisecond, time.Nanosecond: time.Millisecond,
	} {
		require.Equal(t, want, NewMemStore[any](WithTimeout(timeout)).watchWait())
	}
}

func TestAnErrorOfAnEndedCtxIsThatOfTheCtx(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrTooLarge)
	require.ErrorIs(t, NewMemStore[any]().SaveStep(ctx, "run", 1, "", nil), context.Canceled)
}
