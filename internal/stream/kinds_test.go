package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// publish publishes an event of any kind and returns its sequence.
func publish(t *testing.T, js jetstream.JetStream, kind, id, body string) uint64 {
	t.Helper()
	ack, err := js.Publish(within(t), subjects.Write(wire.DefaultNamespace, kind, id), []byte(body))
	require.NoError(t, err)
	return ack.Sequence
}

// A run, its attempts and a checkpoint may have one name, and are in one partition then: what is read of one is nothing of the others'.
func TestTailOfAKindHasNothingOfTheOthersOfThatName(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 4, MaxBytes: 64 << 20})
	const id = "same name/1"
	p := partitionOf(id, 4)
	bodies := map[string]string{
		wire.KindRun:        `{"run_id":"same name/1","step":%d,"node_id":"n","state":{}}`,
		wire.KindCheckpoint: `{"checkpoint_id":"same name/1","step":%d,"state":{}}`,
		wire.KindAttempt:    `{"run_id":"same name/1","attempt":%d}`,
	}
	sequences := map[string][]uint64{}
	for i := 1; i <= 5; i++ {
		for kind, body := range bodies {
			sequences[kind] = append(sequences[kind], publish(t, js, kind, id, fmt.Sprintf(body, i)))
		}
	}
	for kind, seq := range sequences {
		for from := range 6 {
			after := uint64(0)
			if from > 0 {
				after = seq[from-1]
			}
			shown := from
			if kind == wire.KindCheckpoint && from < 5 {
				shown = 4 // the last one is all that it takes
			}
			var got []uint64
			last, err := s.Tail(within(t), p, wire.DefaultNamespace, kind, id, after, func(ev *wire.Event) {
				require.Nil(t, ev.Poison)
				require.Equal(t, kind, ev.Kind)
				require.Equal(t, p, ev.Partition)
				n := uint32(len(got) + shown + 1)
				switch kind {
				case wire.KindAttempt:
					require.Equal(t, n, ev.Attempt)
				case wire.KindCheckpoint:
					require.Equal(t, id, ev.Ops[0].ID)
					require.EqualValues(t, n, ev.Ops[0].Step)
				default:
					require.Equal(t, id, ev.RunID)
					require.EqualValues(t, n, ev.Ops[0].Step)
				}
				got = append(got, ev.Message.Sequence)
			})
			require.NoError(t, err)
			require.Equal(t, seq[4], last)
			require.Equal(t, append([]uint64(nil), seq[shown:]...), got, "%s after %d", kind, after)
		}
		last, err := s.Last(within(t), p, wire.DefaultNamespace, kind, id)
		require.NoError(t, err)
		require.Equal(t, seq[4], last, kind)
		last, err = s.Last(within(t), p, wire.DefaultNamespace, kind, "other")
		require.NoError(t, err)
		require.Zero(t, last)
	}
	attempt, seq, err := s.LastAttempt(within(t), p, wire.DefaultNamespace, id)
	require.NoError(t, err)
	require.EqualValues(t, 5, attempt)
	require.Equal(t, sequences[wire.KindAttempt][4], seq)
}

func TestLastAttemptIsWhatTheAttemptsSubjectEndsWith(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 1, MaxBytes: 64 << 20})
	requireAttempt := func(attempt uint32, sequence uint64) {
		t.Helper()
		n, seq, err := s.LastAttempt(within(t), 0, wire.DefaultNamespace, "run")
		require.NoError(t, err)
		require.Equal(t, attempt, n)
		require.Equal(t, sequence, seq)
	}
	requireAttempt(0, 0)
	publish(t, js, wire.KindRun, "run", `{"step":1,"attempt":4,"node_id":"n","state":{}}`)
	requireAttempt(0, 0)
	first := publish(t, js, wire.KindAttempt, "run", `{"run_id":"run","attempt":1}`)
	requireAttempt(1, first)

	// What it tells is a fence: the log takes what expects it to be the last, and nothing once it is not.
	fenced := func(kind, body string, last uint64) error {
		m := nats.NewMsg(subjects.Write(wire.DefaultNamespace, kind, "run"))
		m.Data = []byte(body)
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(last))
		m.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", subjects.Log(0, wire.DefaultNamespace, wire.KindAttempt, "run"))
		_, err := js.PublishMsg(within(t), m)
		return err
	}
	require.NoError(t, fenced(wire.KindRun, `{"step":1,"attempt":1,"node_id":"n","state":{}}`, first))
	require.NoError(t, fenced(wire.KindAttempt, `{"run_id":"run","attempt":2}`, first))
	var refused *jetstream.APIError
	require.ErrorAs(t, fenced(wire.KindRun, `{"step":2,"attempt":1,"node_id":"n","state":{}}`, first), &refused)
	require.EqualValues(t, 10071, refused.ErrorCode)
	requireAttempt(2, first+2)

	junk := publish(t, js, wire.KindAttempt, "run", `{"run_id":"run","attempt":"three"}`)
	requireAttempt(0, junk)
	js.Conn().Close()
	_, _, err := s.LastAttempt(within(t), 0, wire.DefaultNamespace, "run")
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	_, err = s.Last(within(t), 0, wire.DefaultNamespace, wire.KindRun, "run")
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
}

// I6: what was acknowledged before Last was asked is at or below what it answers, while others write.
func TestI6LastIsNeverBehindWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	url := connect(t).Conn().ConnectedUrl()
	s := ensure(t, connectTo(t, url), Config{Partitions: 1, MaxBytes: 256 << 20})
	const writes = 400
	var acknowledged, asked atomic.Uint64
	done := make(chan error, 1)
	writer := connectTo(t, url)
	ctx := within(t)
	go func() {
		for i := 0; i < writes || asked.Load() <= 10; i++ { // until enough was asked beside it
			ack, err := writer.Publish(ctx, subjects.Write(wire.DefaultNamespace, wire.KindRun, "run"), []byte(stepBody(i)))
			if err != nil {
				done <- err
				return
			}
			acknowledged.Store(ack.Sequence)
			// And another's, which must not count.
			if _, err := writer.Publish(ctx, subjects.Write(wire.DefaultNamespace, wire.KindRun, "other"), []byte(stepBody(i))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for ; ; asked.Add(1) {
		before := acknowledged.Load()
		last, err := s.Last(ctx, 0, wire.DefaultNamespace, wire.KindRun, "run")
		require.NoError(t, err)
		require.GreaterOrEqual(t, last, before)
		require.True(t, last == 0 || last%2 == 1, "%d is another run's", last)
		select {
		case err := <-done:
			require.NoError(t, err)
			last, err := s.Last(ctx, 0, wire.DefaultNamespace, wire.KindRun, "run")
			require.NoError(t, err)
			require.Equal(t, acknowledged.Load(), last)
			require.GreaterOrEqual(t, last, uint64(2*writes-1))
			return
		case <-ctx.Done():
			require.NoError(t, context.Cause(ctx))
		default:
		}
	}
}
