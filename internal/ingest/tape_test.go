package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// feed is a consumer that sends what is put into it; then it fails.
type feed struct {
	sent   chan Delivery
	failed error
}

func (f *feed) Ask(int, int) error { return nil }
func (f *feed) Close() error       { return nil }

func (f *feed) Ready() (d Delivery, ok bool, err error) {
	select {
	case d, ok = <-f.sent:
		return d, ok, nil
	default:
		return d, false, nil
	}
}

func (f *feed) Receive(ctx context.Context) (Delivery, error) {
	select {
	case d, ok := <-f.sent:
		if !ok {
			return d, f.failed
		}
		return d, nil
	case <-ctx.Done():
		return Delivery{}, ctx.Err()
	}
}

// sent is number n of a log in which behind are behind it.
func sent(n, behind uint64, partition int) Delivery {
	return Delivery{Place: n, Behind: behind, Message: wire.Message{
		Sequence: n, Subject: fmt.Sprintf("persistd.log.%d.default.run.x", partition), Body: []byte("{}"),
	}}
}

// taped is a tape of two partitions of what f sends.
func taped(f *feed) (*tape, []*lane) {
	cfg := Config{Partitions: 2, Subjects: subjects}.WithDefaults()
	return newTape(f, []uint64{1, 1}, cfg, func(*tape) {})
}

// Messages that come slowly do not wait for a chunk to be full, and a partition of which there are none is not taken for silence.
func TestALaneDoesNotWaitForSlowMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		f := &feed{sent: make(chan Delivery)}
		tp, lanes := taped(f)
		begun := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			for i := range uint64(n) {
				sleep(t.Context(), 50*time.Millisecond)
				f.sent <- sent(i+1, n-i-1, 0)
			}
		})
		for p, l := range lanes {
			in := intake{c: l, batch: 256}
			all.Go(func() {
				for got := uint64(0); ; {
					d, err := in.receive(t.Context(), tp.cfg.silence())
					if errors.Is(err, errCaughtUp) {
						require.EqualValues(t, n*(1-p), got, "partition %d", p)
						return
					}
					require.NoError(t, err)
					if d.Place == 0 {
						continue
					}
					got++
					due := begun.Add(time.Duration(got) * 50 * time.Millisecond)
					require.LessOrEqual(t, time.Since(due), 2*chunkTime, "message %d came late", got)
				}
			})
		}
		all.Wait()
		require.ErrorIs(t, tp.why, errCaughtUp)
	})
}

// The server's silence is that of the whole tape, whoever waits; a sign of it is one to all.
func TestATapeEndsWithTheServersSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{sent: make(chan Delivery, 1)}
		tp, lanes := taped(f)
		f.sent <- sent(1, 5, 0)
		begun := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			sleep(t.Context(), 4*time.Second)
			f.sent <- Delivery{Status: Status{Code: "100", Sent: 1}}
		})
		for _, l := range lanes {
			in := intake{c: l, batch: 256}
			all.Go(func() {
				for {
					if _, err := in.receive(t.Context(), tp.cfg.silence()); err != nil {
						anew, ok := errors.AsType[*anewError](err)
						require.True(t, ok, "%s", err)
						require.EqualError(t, anew.why, "no sign of the server for 5s")
						return
					}
				}
			})
		}
		all.Wait()
		require.Equal(t, 9*time.Second, time.Since(begun))
	})
}

// A lane that leaves while it takes messages in leaves them to the others.
func TestWhatALaneTookInIsOnTheTapeWhenItsSessionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{sent: make(chan Delivery, 1)}
		tp, lanes := taped(f)
		f.sent <- sent(1, 5, 1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(chunkTime/2, cancel)
		_, err := lanes[0].Receive(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, tp.why)
		require.NoError(t, lanes[0].Close())
		d, err := lanes[1].Receive(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, d.Message.Sequence)
	})
}

// Somebody else's deadline is not the server's silence.
func TestAConsumersErrorIsNotTakenForSilence(t *testing.T) {
	t.Parallel()
	why := &anewError{fmt.Errorf("receive: %w", context.DeadlineExceeded)}
	f := &feed{sent: make(chan Delivery), failed: why}
	close(f.sent)
	_, err := (&intake{c: f, batch: 1}).receive(t.Context(), time.Hour)
	require.ErrorIs(t, err, why)
}

// Headers are memory, too.
func TestATapeIsBoundedInHeadersAndBodies(t *testing.T) {
	t.Parallel()
	f := &feed{sent: make(chan Delivery, 10)}
	tp, lanes := taped(f)
	for i := range uint64(10) {
		d := sent(i+1, 20, 0)
		d.Message.Body, d.Message.HeaderBytes = make([]byte, 200<<10), 60<<10
		f.sent <- d
	}
	_, err := lanes[0].Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1<<20, tp.cfg.pullBytes())
	require.Equal(t, 4, tp.messages, "as many as reach it")
	require.Equal(t, 4*260<<10, tp.bytes)
}
