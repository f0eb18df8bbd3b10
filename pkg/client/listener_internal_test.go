package client

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

func announcement(t *testing.T, change func(*wire.Announcement)) []byte {
	t.Helper()
	a := wire.Announcement{Stream: "persistd", Partitions: 1, Position: 1}
	if change != nil {
		change(&a)
	}
	body, err := json.Marshal(a)
	require.NoError(t, err)
	return body
}

// quiet is a listener that hears only what a test tells it, in virtual time.
type quiet struct {
	*listener
	t *testing.T
}

func newQuiet(t *testing.T) quiet {
	t.Helper()
	return quiet{&listener{listening: true, sub: &nats.Subscription{}, many: time.Now()}, t}
}

func (q quiet) hears(change func(*wire.Announcement)) {
	q.hear(&nats.Msg{Data: announcement(q.t, change)})
}

// reliesOn is what a write of id would wait for.
func (q quiet) reliesOn(id string) *announced {
	defer q.leave(false)
	log, _ := q.enter("default", id)
	return log
}

// settled is a log that is relied on.
func (q quiet) settled(change func(*wire.Announcement)) *announced {
	q.t.Helper()
	q.hears(change)
	<-time.After(settling)
	log := q.reliesOn("id")
	require.NotNil(q.t, log)
	return log
}

func TestAPartitionIsReliedOnWhileItIsHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t)
		p := wire.Partition("default", "id", 2)
		of := func(a *wire.Announcement) { a.Partition, a.Partitions = p, 2 }
		require.Nil(t, q.reliesOn("id"))
		q.hears(of)
		require.Nil(t, q.reliesOn("id"), "a commit from before it listened was perhaps not heard")
		log := q.settled(of)
		other := "x"
		for wire.Partition("default", other, 2) == p {
			other += "x"
		}
		require.Nil(t, q.reliesOn(other), "its partition's owner is perhaps not heard")

		q.deaf(log, p)
		require.Nil(t, q.reliesOn("id"))
		require.Same(t, log, q.settled(of), "those who waited meanwhile have gone on")

		<-time.After(listenFor + time.Millisecond)
		require.Nil(t, q.reliesOn("id"), "few have waited, and the subscription may end")

		q.many = time.Now()
		q.hears(func(a *wire.Announcement) { a.Partitions = 1 })
		require.Nil(t, q.reliesOn("id"), "it is another log")
	})
}

func TestWhoReliesOnAnAnnouncementHearsItThoughItIsTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t)
		log := q.settled(nil)
		told := make(chan position.Outcome, 1)
		go func() {
			out, _ := log.wait(t.Context(), 0, pubAck{Stream: "persistd", Sequence: 7})
			told <- out
		}()
		synctest.Wait()
		q.many = time.Now().Add(-time.Hour)
		q.hears(func(a *wire.Announcement) { a.From, a.Position = 6, 7 })
		require.Equal(t, position.Outcome{Known: true}, <-told)
		require.False(t, q.listening)
	})
}

func TestHalfOfTheTimeIsLeftForAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newQuiet(t).settled(nil)
		for _, row := range []struct{ left, waits time.Duration }{{100 * time.Millisecond, 50 * time.Millisecond}, {time.Hour, patience}} {
			ctx, cancel := context.WithTimeout(t.Context(), row.left)
			began := time.Now()
			_, inVain := log.wait(ctx, 0, pubAck{Stream: "persistd", Sequence: 7})
			require.True(t, inVain)
			require.Equal(t, row.waits, time.Since(began))
			cancel()
		}
	})
}

// In a large fleet nearly all that is announced is of others.
func TestWhoIsToldTooLittleStopsListening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t)
		hear := func(n int) {
			for range n {
				q.hears(nil)
			}
		}
		for range worthwhile {
			q.leave(true)
		}
		hear(sample)
		require.True(t, q.listening)
		for range worthwhile - 1 {
			q.leave(true)
		}
		hear(sample - 1)
		require.True(t, q.listening)
		hear(1)
		require.False(t, q.listening)
		require.Equal(t, unworthy, time.Until(q.not))
	})
}

func TestWhoHasFewWaitingStopsListening(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(stacktest.NATS(t).URL())
	require.NoError(t, err)
	defer nc.Close()
	subjects := wire.Subjects{Prefix: "persistd"}
	l := newListener(nc, subjects)
	listens := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sub != nil
	}
	announce := func() { require.NoError(t, nc.Publish(subjects.Position(0), announcement(t, nil))) }
	for round := range 2 {
		for range listenFrom - 1 {
			l.enter("default", "id")
		}
		require.False(t, listens())
		l.enter("default", "id")
		require.True(t, listens(), "round %d", round)
		require.Eventually(t, func() bool {
			announce()
			heard, _ := l.enter("default", "id")
			l.leave(false)
			return heard != nil
		}, time.Minute, 5*time.Millisecond)
		for range listenFrom {
			l.leave(false)
		}
		announce()
		require.NoError(t, nc.Flush())
		require.True(t, listens(), "there were many a moment ago")

		l.mu.Lock()
		l.many = time.Now().Add(-listenFor - patience - time.Second)
		l.mu.Unlock()
		require.Eventually(t, func() bool {
			announce()
			return !listens()
		}, time.Minute, 5*time.Millisecond)
		heard, _ := l.enter("default", "id")
		l.leave(false)
		require.Nil(t, heard, "what it heard is old now")
	}

	for range listenFrom {
		l.enter("default", "id")
	}
	require.True(t, listens())
	require.NoError(t, l.close())
	require.NoError(t, l.close())
	l.enter("default", "id")
	require.False(t, listens(), "it is closed")
	require.Zero(t, nc.NumSubscriptions())
}
