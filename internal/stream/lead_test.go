package stream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func peers(heard ...time.Duration) *jetstream.ClusterInfo {
	info := &jetstream.ClusterInfo{Leader: "a"}
	for _, h := range heard {
		info.Replicas = append(info.Replicas, &jetstream.PeerInfo{Active: h})
	}
	return info
}

// I6: a leader is believed for as long as those who follow it cannot have elected another.
func TestI6ALeaderIsBelievedWhileNoOtherCanHaveBeenElected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked, answer, copies, connection := 0, peers(time.Second, time.Minute), 3, uint64(0)
		l := newLead(func(context.Context) (*jetstream.ClusterInfo, int, error) {
			asked++
			return answer, copies, nil
		}, func() uint64 { return connection })
		confirm := func() error { return l.confirm(t.Context()) }
		require.NoError(t, confirm(), "one of two others is a majority with itself")
		require.NoError(t, confirm())
		require.Equal(t, 1, asked)
		<-time.After(2*time.Second - 1) // virtual
		require.NoError(t, confirm())
		require.Equal(t, 1, asked, "4 s less a margin of 1 s, less the second for which it has not heard of the other")
		<-time.After(time.Nanosecond) // virtual
		answer = peers(3*time.Second, time.Minute)
		require.ErrorIs(t, confirm(), errCutOff)
		require.Equal(t, 2, asked)
		answer.Replicas[0].Active = 2 * time.Second
		require.NoError(t, confirm())
		<-time.After(time.Second) // virtual
		answer = peers(time.Millisecond)
		answer.Replicas[0].Offline = true
		require.ErrorIs(t, confirm(), errCutOff)

		answer = peers(time.Millisecond, time.Minute)
		require.NoError(t, confirm())
		connection++ // to a server on whose side another leads, or led
		answer = peers(time.Minute, time.Minute)
		require.ErrorIs(t, confirm(), errCutOff, "what was heard through another connection says nothing")

		copies, answer = 5, peers(time.Millisecond, time.Minute, time.Minute, time.Minute)
		require.ErrorIs(t, confirm(), errCutOff, "of five it needs two others")
		answer.Replicas[2].Active = time.Second
		require.NoError(t, confirm())
		<-time.After(time.Minute) // virtual
		copies, answer = 1, nil
		require.NoError(t, confirm(), "a log on one server has one leader")

		<-time.After(time.Minute) // virtual
		l.ask = func(ctx context.Context) (*jetstream.ClusterInfo, int, error) {
			<-time.After(5 * time.Second) // virtual
			return peers(time.Millisecond, time.Millisecond), 3, nil
		}
		require.ErrorIs(t, confirm(), errCutOff, "an answer that took longer than the others wait says nothing")
		l.ask = func(context.Context) (*jetstream.ClusterInfo, int, error) { return nil, 0, errors.New("away") }
		require.ErrorContains(t, confirm(), "away")
	})
}
