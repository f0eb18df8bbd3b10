package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func TestFencesAreKeptOfTheRunsThatWereUsedLast(t *testing.T) {
	t.Parallel()
	var f fences
	at := fence{subject: "s", sequence: 7}
	for i := range maxFences {
		f.put(fmt.Sprint("run-", i), 1, at)
	}
	f.put("run-1", 2, at)
	_, _ = f.get("run-0")
	f.put("new", 1, at)
	f.put("newer", 1, at)
	attempt, found := f.get("run-1")
	require.Equal(t, uint32(2), attempt)
	require.Equal(t, at, found)
	for run, want := range map[string]uint32{"run-0": 1, "run-2": 0, "run-3": 0, "run-4": 1, "newer": 1, "nobody's": 0} {
		attempt, _ := f.get(run)
		require.Equal(t, want, attempt, run)
	}
	require.Len(t, f.byRun, maxFences)
	require.Equal(t, maxFences, f.used.Len())
}

// published is a publication that has been sent once, to nobody.
func published(t *testing.T, e *engine, pub *publication) *publication {
	t.Helper()
	pub.msgs, pub.runID = newPublication(t, e).msgs, "run"
	arrived := make(chan *nats.Msg, 1)
	_, err := e.nc.ChanSubscribe("persistd.write.>", arrived)
	require.NoError(t, err)
	require.NoError(t, e.nc.Flush())
	require.NoError(t, e.publisher.submit(t.Context(), pub))
	<-arrived
	return pub
}

func TestALogThatHasForgottenWhereAWriteIsLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	pub := published(t, e, &publication{})
	e.publisher.answered(pub, 1, pubAck{}, &fault{kind: ErrUnavailable, code: codeBatchRepeated})
	require.Eventually(t, func() bool {
		e.publisher.mu.Lock()
		defer e.publisher.mu.Unlock()
		return pub.attempt == 2 && pub.question == atWhich
	}, time.Minute, time.Millisecond)
	e.publisher.answered(pub, 2, pubAck{}, &fault{kind: ErrUnavailable, code: codeNotRepeated, unsent: true})
	_, err := e.publisher.wait(t.Context(), pub)
	require.ErrorIs(t, err, ErrOutcomeUnknown)
}

// A fence that persistd calls right and the log calls wrong must not be tried as fast as the network goes.
func TestAFenceThatStaysRefusedIsTriedWithPauses(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	pub := published(t, e, &publication{refence: func(_ context.Context, refused fence) (fence, error) {
		return refused, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempt, began := 0, time.Now()
	refuse := func() {
		e.publisher.mu.Lock()
		sent := pub.phase == outstanding
		attempt = pub.attempt
		e.publisher.mu.Unlock()
		if sent {
			e.publisher.answered(pub, attempt, pubAck{}, &fault{kind: ErrUnavailable, code: codeFenced, unsent: true, err: errors.New("wrong last sequence")})
		}
	}
	for tick := time.Tick(time.Millisecond); attempt < 3 || time.Since(began) < 500*time.Millisecond; <-tick {
		require.Less(t, time.Since(began), time.Minute)
		refuse()
	}
	cancel()
	_, err := e.publisher.wait(ctx, pub)
	require.ErrorIs(t, err, context.Canceled)
	e.publisher.mu.Lock()
	defer e.publisher.mu.Unlock()
	require.Less(t, pub.attempt, 12)
}
