package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestRoomIsGivenFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &room{maxCount: 3, maxBytes: 100}
		require.NoError(t, r.acquire(t.Context(), 60, nil))
		order := make(chan string, 3)
		wait := func(name string, bytes int) {
			go func() {
				if r.acquire(t.Context(), bytes, nil) == nil {
					order <- name
				}
			}()
			synctest.Wait()
		}
		wait("large", 1000) // all there is
		wait("small", 10)   // would fit, but came later
		require.Empty(t, order)
		r.release(60)
		synctest.Wait()
		require.Equal(t, "large", <-order)
		require.Empty(t, order)
		r.release(1000)
		synctest.Wait()
		require.Equal(t, "small", <-order)
		r.release(10)
		require.Equal(t, 0, r.count)
		require.Equal(t, 0, r.bytes)
	})
}

func TestRoomIsNotTakenByWhoGaveUpAndGoesToWhoWaitedBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &room{maxCount: 10, maxBytes: 100}
		closing := make(chan struct{})
		require.NoError(t, r.acquire(t.Context(), 60, closing))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		outcome := make(chan error, 3)
		for _, bytes := range []int{90, 40, 80} {
			go func() {
				outcome <- r.acquire(map[bool]context.Context{true: ctx, false: t.Context()}[bytes == 90], bytes, closing)
			}()
			synctest.Wait()
		}
		started := time.Now()
		require.ErrorIs(t, <-outcome, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(started))
		require.NoError(t, <-outcome, "the second fits when the first is gone")
		close(closing)
		require.ErrorIs(t, <-outcome, ErrClosed)
		r.release(60)
		r.release(40)
		require.Equal(t, 0, r.count)
		require.Equal(t, 0, r.bytes)
	})
}

func TestPausesGrowToTwoSecondsWithJitter(t *testing.T) {
	t.Parallel()
	pauses := newPauses()
	middle := 25 * time.Millisecond
	for range 50 {
		d := pauses.NextBackOff()
		require.GreaterOrEqual(t, d, middle/2)
		require.LessOrEqual(t, d, middle*3/2+1)
		middle = min(2*middle, 2*time.Second)
	}
	for n := range 100 {
		require.LessOrEqual(t, reconnectPause(n), 3*time.Second)
		require.Positive(t, reconnectPause(n))
	}
}

func TestAnswersOfTheLogAreToldApart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		answer        jetstream.APIError
		kind          error
		final, unsent bool
	}{
		{"a full stream", jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"}, ErrLogFull, false, true},
		{"too many messages", jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum messages exceeded"}, ErrLogFull, false, true},
		{"a closed store", jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "store is closed"}, ErrUnavailable, false, false},
		{"a message over the store's limit", jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "message too large"}, ErrTooLarge, true, true},
		{"a message over the stream's limit", jetstream.APIError{Code: 400, ErrorCode: 10054}, ErrTooLarge, true, true},
		{"a full account", jetstream.APIError{Code: 400, ErrorCode: 10002}, ErrLogFull, false, true},
		{"a full server", jetstream.APIError{Code: 503, ErrorCode: 10023}, ErrLogFull, false, true},
		{"a leader election", jetstream.APIError{Code: 503, ErrorCode: 10008}, ErrUnavailable, false, false},
		{"a server that is overrun", jetstream.APIError{Code: 429, ErrorCode: 10167}, ErrUnavailable, false, true},
		{"the same message in process", jetstream.APIError{Code: 409, ErrorCode: 10158}, ErrUnavailable, false, false},
		{"a fence", jetstream.APIError{Code: 400, ErrorCode: 10071}, ErrUnavailable, false, true},
		{"a fence that moves", jetstream.APIError{Code: 400, ErrorCode: 10164}, ErrUnavailable, false, true},
		{"an id that is asked for and not there", jetstream.APIError{Code: 500, ErrorCode: 10111}, ErrUnavailable, false, true},
		{"a batch that is there", jetstream.APIError{Code: 400, ErrorCode: 10201}, ErrUnavailable, false, false},
		{"a batch with a gap", jetstream.APIError{Code: 400, ErrorCode: 10176}, ErrUnavailable, false, true},
		{"too many batches", jetstream.APIError{Code: 429, ErrorCode: 10210}, ErrUnavailable, false, true},
		{"a batch over the server's limit", jetstream.APIError{Code: 400, ErrorCode: 10199}, ErrTooLarge, true, true},
		{"a stream without batches", jetstream.APIError{Code: 400, ErrorCode: 10174}, ErrRejected, true, true},
		{"a sealed stream", jetstream.APIError{Code: 400, ErrorCode: 10109}, ErrRejected, true, true},
	} {
		f := ackFault(&row.answer)
		require.ErrorIs(t, f, row.kind, row.name)
		require.Equal(t, row.final, f.final, row.name)
		require.Equal(t, row.unsent, f.unsent, row.name)
	}
}

func TestALateRefusalOfAnEarlierAttemptIsNoAnswerAndALateSuccessIs(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	p := e.publisher
	full := &fault{kind: ErrRejected, final: true}

	// Nobody is listening: the publication goes from attempt to attempt.
	msg, err := e.message(wire.KindRun, "run", []byte(`{}`), nil)
	require.NoError(t, err)
	pub := &publication{msgs: []*nats.Msg{msg}, runID: "run"}
	require.NoError(t, p.submit(t.Context(), pub))
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return pub.attempt >= 3
	}, 10*time.Second, time.Millisecond)
	p.answered(pub, 1, pubAck{}, full)
	p.mu.Lock()
	after := pub.phase
	p.mu.Unlock()
	require.NotEqual(t, settled, after)
	p.answered(pub, 1, pubAck{Stream: "s", Sequence: 1}, nil)
	ack, err := p.wait(t.Context(), pub)
	require.NoError(t, err)
	require.Equal(t, uint64(1), ack.Sequence)
	p.answered(pub, 1, pubAck{}, full) // of no consequence any more
	require.NoError(t, pub.err)
}

// A worker that was stopped for minutes (a debugger, a frozen machine) wakes with a publish whose pause is long over. Its message may
// be in the log since before, and the log has forgotten the id: sent again, it would be there twice, over what came since.
func TestAPublishIsNotSentAgainAfterTheRetryLimitHoweverLateThePumpWakes(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	p := withoutPump(e, GroupNever) // as in a process that is stopped
	first, next := newPublication(t, e), newPublication(t, e)
	require.NoError(t, p.submit(t.Context(), first))
	require.NoError(t, p.submit(t.Context(), next))
	batch, _ := p.collect(nil)
	require.Equal(t, []attempt{{pub: first, number: 1}}, batch)
	p.answered(first, 1, pubAck{}, errLostConn)
	require.Equal(t, pausing, first.phase)

	p.mu.Lock()
	first.unanswered = first.unanswered.Add(-10 * time.Minute)
	first.due = first.due.Add(-10 * time.Minute)
	p.mu.Unlock()
	batch, _ = p.collect(nil)
	require.Equal(t, []attempt{{pub: next, number: 1}}, batch, "the outcome is as known as it will ever be, so the run goes on")
	_, err := p.wait(t.Context(), first)
	require.ErrorIs(t, err, ErrOutcomeUnknown)
}

func newPublication(t *testing.T, e *engine) *publication {
	t.Helper()
	msg, err := e.message(wire.KindRun, "run", []byte(`{}`), nil)
	require.NoError(t, err)
	return &publication{msgs: []*nats.Msg{msg}, runID: "run"}
}

func TestAPublishWhoseCallerHasGoneEndsAtItsRefusal(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	arrived := make(chan *nats.Msg, 1)
	_, err := e.nc.ChanSubscribe("persistd.write.>", arrived)
	require.NoError(t, err)
	require.NoError(t, e.nc.Flush())
	msg, err := e.message(wire.KindRun, "run", []byte(`{}`), nil)
	require.NoError(t, err)
	pub := &publication{msgs: []*nats.Msg{msg}, runID: "run"}
	require.NoError(t, e.publisher.submit(t.Context(), pub))
	request := <-arrived

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.publisher.wait(ended, pub)
	require.ErrorIs(t, err, ErrOutcomeUnknown)
	require.NoError(t, request.Respond([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`)))
	<-pub.done
	require.ErrorIs(t, pub.err, ErrLogFull, "it must not be tried again for nobody")
}

func TestNothingIsKeptOfRunsThatAreThrough(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	source, destination := e.subjects.Transform(8)
	js, err := jetstream.New(e.nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "persistd", Subjects: e.subjects.WriteFilters(), SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
	})
	require.NoError(t, err)
	for i := range 500 {
		require.NoError(t, e.apply(t.Context(), oneStep(fmt.Sprint("run-", i%250), i, Async)))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err = e.apply(ended, oneStep("run-1", 1, Logged))
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrOutcomeUnknown, "a call that is over before it begins publishes nothing")
	require.NoError(t, e.flush(t.Context()))

	p := e.publisher
	p.mu.Lock()
	kept := []int{len(p.runs), p.pending.Len(), len(p.timers), len(p.queue)}
	p.mu.Unlock()
	require.Equal(t, []int{0, 0, 0, 0}, kept)
	e.mux.mu.Lock()
	calls := len(e.mux.calls)
	e.mux.mu.Unlock()
	require.Zero(t, calls)
	require.Equal(t, 0, p.room.count)
	require.Equal(t, 0, p.room.bytes)
}

func oneStep(run string, step int, d Durability) *write {
	return &write{
		kind: wire.KindRun, id: run, step: step, durability: d,
		ops: []wire.Op{{Type: wire.OpStep, Step: int32(step), State: []byte("1")}},
	}
}

func TestRedactedURLsHaveNoCredentials(t *testing.T) {
	t.Parallel()
	require.Equal(t, "nats://a:1,tls://b:2,nats://c", redact("nats://user:p@ss@a:1, tls://token@b:2,user:pw@c"))
}

func TestHeaderSizeIsWhatTheServerCounts(t *testing.T) {
	t.Parallel()
	m := nats.NewMsg("x")
	m.Header = nats.Header{wire.HeaderMsgID: {"abc-1"}, wire.HeaderEncoding: {"zstd"}}
	require.Equal(t, m.Size()-len(m.Subject), headerSize(m.Header))
}

func openForTest(t *testing.T) *engine {
	t.Helper()
	cfg, err := newConfig([]Option{WithCloseTimeout(0)})
	require.NoError(t, err)
	e, err := openEngine(t.Context(), stacktest.NATS(t).URL(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := e.close(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	return e
}
