package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/wire"
)

func TestAnnouncementAdvancesTheOtherReplicas(t *testing.T) {
	t.Parallel()
	a, nc := serve(t)
	b := newReplica(t, nc.ConnectedUrl())
	b.start(t)
	why := wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
	type answer struct {
		out position.Outcome
		err error
	}
	applied, rejected := make(chan answer, 1), make(chan answer, 1)
	for seq, ch := range map[uint64]chan answer{10: applied, 11: rejected} {
		go func() {
			out, err := b.tracker.Wait(t.Context(), 3, seq)
			ch <- answer{out, err}
		}()
	}
	// Whether the waits or the announcement come first is seen in Known only.
	require.Eventually(t, func() bool {
		a.Announce(position.Commit{Partition: 3, From: 8, To: 12, Rejected: map[uint64]wire.Poison{11: why}})
		return b.tracker.Bound(3) == 12
	}, 20*time.Second, time.Millisecond)
	for ch, want := range map[chan answer]*wire.Poison{applied: nil, rejected: &why} {
		got := <-ch
		require.NoError(t, got.err)
		if got.out.Known {
			require.Equal(t, want, got.out.Rejected)
		}
	}
	require.Eventually(t, func() bool { return a.tracker.Bound(3) == 12 }, 20*time.Second, time.Millisecond, "its own, too")
	require.Zero(t, a.tracker.Bound(2))
}

func TestAnnouncementSaysWhatItRejected(t *testing.T) {
	t.Parallel()
	a, nc := serve(t)
	sub, err := nc.SubscribeSync("persistd.position.3")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	a.Announce(position.Commit{Partition: 3, From: 8, To: 12, Rejected: map[uint64]wire.Poison{11: {Code: "x", Reason: "y", ErrorNumber: 1}}})
	require.JSONEq(t, `{"stream":"PERSISTD","created":"2001-02-03T04:05:06.000000007Z","partition":3,"partitions":8,"from":8,"position":12,
		"rejected":{"11":{"code":"x","reason":"y","error_number":1}}}`, string(reply(t, sub).Data))
	a.Announce(position.Commit{Partition: 3, From: 12, To: 13})
	require.JSONEq(t, `{"stream":"PERSISTD","created":"2001-02-03T04:05:06.000000007Z","partition":3,"partitions":8,"from":12,"position":13}`, string(reply(t, sub).Data))
}

func TestAnnouncementOfAnotherLogIsIgnored(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	for _, body := range []string{
		`{"stream":"OTHER","created":"2001-02-03T04:05:06.000000007Z","partition":3,"from":0,"position":100}`,
		`{"stream":"PERSISTD","created":"2001-02-03T04:05:07Z","partition":3,"from":0,"position":100}`,
		`{"stream":"PERSISTD","created":"2001-02-03T04:05:06.000000007Z","partition":8,"from":0,"position":100}`,
		`{"stream":"PERSISTD","created":"2001-02-03T04:05:06.000000007Z","partition":-1,"from":0,"position":100}`,
		`nonsense`,
		// The same moment in another zone is the same log.
		`{"stream":"PERSISTD","created":"2001-02-03T05:05:06.000000007+01:00","partition":3,"from":0,"position":5}`,
	} {
		require.NoError(t, nc.Publish("persistd.position.3", []byte(body)))
	}
	require.Eventually(t, func() bool { return r.tracker.Bound(3) > 0 }, 20*time.Second, time.Millisecond)
	require.EqualValues(t, 5, r.tracker.Bound(3))
}

func TestLeasesThatChangedHandsAreToldToAllReplicasOfTheLog(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	hears := func(name string) func(*service.Config, *readpath.Reader) {
		return func(c *service.Config, _ *readpath.Reader) { c.Leases = func() { told <- name } }
	}
	a, nc := serve(t, hears("a"))
	newReplica(t, nc.ConnectedUrl(), hears("b")).start(t)
	newReplica(t, nc.ConnectedUrl(), hears("other"), func(c *service.Config, _ *readpath.Reader) { c.Stream = "OTHER" }).start(t)
	newReplica(t, nc.ConnectedUrl()).start(t) // one that does not listen
	require.NoError(t, nc.Publish("persistd.leases", []byte("nonsense")))
	require.NoError(t, nc.Flush())
	a.AnnounceLeases()
	require.ElementsMatch(t, []string{"a", "b"}, []string{<-told, <-told})
	a.AnnounceLeases()
	require.ElementsMatch(t, []string{"a", "b"}, []string{<-told, <-told})
	require.Empty(t, told)
}

func TestAnnouncementThatCannotBeSentIsCounted(t *testing.T) {
	t.Parallel()
	r := newReplica(t, stacktest.NATS(t).URL())
	r.nc.Close()
	r.Announce(position.Commit{Partition: 3, From: 8, To: 12})
	families, err := r.reg.Gather()
	require.NoError(t, err)
	require.Equal(t, "persistd_announcements_dropped_total", families[0].GetName())
	require.EqualValues(t, 1, families[0].GetMetric()[0].GetCounter().GetValue())
}

func TestEveryReplicaAnswersForItsStatus(t *testing.T) {
	t.Parallel()
	a, nc := serve(t)
	b := newReplica(t, nc.ConnectedUrl(), func(c *service.Config, _ *readpath.Reader) { c.Stream = "B" })
	b.start(t)
	sub := askLater(t, nc, "status", "")
	var streams []string
	for range 2 {
		var st wire.Status
		require.NoError(t, json.Unmarshal(reply(t, sub).Data, &st))
		require.Equal(t, "test", st.Instance)
		streams = append(streams, st.Stream)
	}
	require.ElementsMatch(t, []string{"PERSISTD", "B"}, streams)

	// Of a read only one does.
	for range 20 {
		sub = askLater(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
		reply(t, sub)
		require.NoError(t, errors.Join(a.nc.Flush(), b.nc.Flush(), nc.Flush()))
		n, _, err := sub.Pending()
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

func TestStopAnswersWhatItHas(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	entered, hold := make(chan struct{}, 1), make(chan struct{})
	r.data.set(func(d *data) {
		d.entered, d.hold = entered, hold
		d.step = &wire.StepRecord{Step: 7, State: []byte(`{}`)}
	})
	read := askLater(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	<-entered
	wait := askLater(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":10,"wait_ms":5000}`)
	require.NoError(t, r.nc.Flush())
	stopped := make(chan error, 2)
	for range 2 {
		go func() { stopped <- r.Stop(context.Background()) }()
	}
	require.Equal(t, "replica is stopping", refused(t, reply(t, wait), wire.StatusUnavailable), "a wait is released")
	require.Empty(t, stopped, "and the read is waited for")
	close(hold)
	require.NoError(t, <-stopped)
	require.NoError(t, <-stopped)
	require.NoError(t, r.nc.Flush())
	m, err := read.NextMsg(20 * time.Second)
	require.NoError(t, err)
	got, err := wire.ParseLatest(m.Data)
	require.NoError(t, err)
	require.EqualValues(t, 7, got.Step)

	_, err = nc.Request("persistd.read.default.latest", []byte(`{"run_id":"run/1"}`), 20*time.Second)
	require.ErrorIs(t, err, nats.ErrNoResponders, "the server knows that nobody is there")
	require.NoError(t, r.Stop(t.Context()))
}

func TestRequestsBehindTheOnesAtStopAreTurnedAway(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.Reads = 2 })
	entered, hold := make(chan struct{}, 5), make(chan struct{})
	r.data.set(func(d *data) { d.entered, d.hold = entered, hold })
	var reads [4]*nats.Subscription
	for i := range reads {
		reads[i] = askLater(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	}
	<-entered
	<-entered
	wait := askLater(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":10,"wait_ms":5000}`)
	require.NoError(t, r.nc.Flush()) // all are with the replica
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(context.Background()) }()
	refused(t, reply(t, wait), wire.StatusUnavailable) // Stop is under way
	hold <- struct{}{}                                 // one of the two is read: its place is free
	for _, sub := range reads[2:] {
		require.Equal(t, "replica is stopping", refused(t, reply(t, sub), wire.StatusUnavailable))
	}
	hold <- struct{}{}
	for _, sub := range reads[:2] {
		require.Equal(t, `{"found":false}`, string(reply(t, sub).Data))
	}
	require.NoError(t, <-stopped)
}

func TestStopThatRunsOutOfTimeCancelsReads(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	entered := make(chan struct{}, 1)
	r.data.set(func(d *data) { d.entered, d.hold = entered, make(chan struct{}) })
	read := askLater(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.Stop(ctx))
	require.Contains(t, refused(t, reply(t, read), wire.StatusUnavailable), "context canceled", "it did not run out of its own time")
}

func TestServiceLivesOnce(t *testing.T) {
	t.Parallel()
	url := stacktest.NATS(t).URL()
	r := newReplica(t, url)
	require.NoError(t, r.Start(t.Context()))
	require.EqualError(t, r.Start(t.Context()), "start service: already started")
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.Stop(t.Context()))
	require.EqualError(t, r.Start(t.Context()), "start service: already stopped")

	never := newReplica(t, url)
	require.NoError(t, never.Stop(t.Context()))
	require.EqualError(t, never.Start(t.Context()), "start service: already stopped")
	_, err := r.nc.Request("persistd.status", nil, 20*time.Second)
	require.ErrorIs(t, err, nats.ErrNoResponders, "nothing of either is left")
}

func TestStartWithoutAConnectionFails(t *testing.T) {
	t.Parallel()
	r := newReplica(t, stacktest.NATS(t).URL())
	r.nc.Close()
	require.ErrorIs(t, r.Start(t.Context()), nats.ErrConnectionClosed)
	require.NoError(t, r.Stop(t.Context()))
}

func TestStartAndStopAtTheSameTime(t *testing.T) {
	t.Parallel()
	url := stacktest.NATS(t).URL()
	nc := connect(t, url)
	for round := range 50 {
		r := newReplica(t, url)
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { _ = r.Start(t.Context()) }) // one wins, or none
		}
		for round%2 == 1 && r.nc.NumSubscriptions() == 0 { // in every other round Stop comes amid Start
			runtime.Gosched()
		}
		errs := make(chan error, 5)
		errs <- r.Stop(context.Background())
		for range 4 {
			all.Go(func() { errs <- r.Stop(context.Background()) })
		}
		all.Wait()
		for range 5 {
			require.NoError(t, <-errs)
		}
		require.NoError(t, r.nc.Flush())
		_, err := nc.Request("persistd.read.default.latest", nil, 20*time.Second)
		require.ErrorIs(t, err, nats.ErrNoResponders, "nothing is left of it")
		require.Eventually(t, func() bool { return r.nc.NumSubscriptions() == 0 }, 20*time.Second, time.Millisecond)
		r.nc.Close()
	}
}

func TestAStartWhoseConnectionIsLostMeanwhileSucceedsWhenItIsBack(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	r := newReplica(t, server.URL())
	r.nc.SetDisconnectErrHandler(nil) // it is to be lost
	require.NoError(t, server.Stop())
	require.Eventually(t, r.nc.IsReconnecting, 10*time.Second, time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- r.Start(t.Context()) }()
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, <-done)
	require.NoError(t, r.Stop(t.Context()))
}
