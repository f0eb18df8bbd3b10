package client_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// newReplicatedLog starts three servers that keep the log together: they look at ids, fences and batches in another order and at other times
// than one alone.
func newReplicatedLog(t *testing.T) *thelog {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for len(ports) < 3 { // below those that outgoing connections use, so that nobody takes one before its server listens
		port := 20000 + rand.IntN(12000)
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil || slices.Contains(ports, port) {
			continue
		}
		require.NoError(t, ln.Close())
		ports = append(ports, port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: ln.Addr().String()})
	}
	var l *thelog
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("replica-", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
		})
		require.NoError(t, err)
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		require.True(t, s.ReadyForConnections(eventually))
		if i == 0 {
			l = observe(t, s.ClientURL())
		}
	}
	source, destination := subjects.Transform(partitions)
	require.Eventually(t, func() bool {
		_, err := l.js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: "persistd", Subjects: subjects.WriteFilters(), Replicas: 3, Discard: jetstream.DiscardNew, MaxBytes: -1,
			SubjectTransform:   &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
			AllowAtomicPublish: true, AllowDirect: true,
		})
		return err == nil
	}, eventually, 50*time.Millisecond)
	return l
}

func TestBatchesAndAttemptsInALogOfThreeReplicas(t *testing.T) {
	t.Parallel()
	l := newReplicatedLog(t)
	d := startPersistd(t, l)
	d.position.Store(math.MaxUint64)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(time.Second), client.WithNATSOptions(nats.IgnoreDiscoveredServers()))

	// A batch that was not answered.
	require.Equal(t, 1, begin(t, st, "run"))
	p.dropAnswersWith(`"seq":`)
	done := make(chan error, 1)
	go func() { done <- st.SaveStepBatch(t.Context(), "run", large(1, 5)) }()
	require.Eventually(t, func() bool { return l.count(t.Context()) > 2 }, eventually, poll)
	p.dropAnswersWith("")
	p.cut()
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, [][]int{{1, 2, 3, 4, 5}}, l.transactions(t, "run"))

	// A beginning that was not.
	p.dropAnswersWith(`"seq":`)
	go func() {
		_, err := st.BeginAttempt(t.Context(), "run")
		done <- err
	}()
	require.Eventually(t, func() bool { return len(l.attempts(t, "run")) == 2 }, eventually, poll)
	p.dropAnswersWith("")
	p.cut()
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, []int{1, 2}, l.attempts(t, "run"))

	// A step that was stored, and one that was not, when a newer attempt begins.
	p.dropAnswersWith(`"seq":`)
	saved := goSave(t.Context(), st, "run", 6)
	require.Eventually(t, func() bool { return len(l.transactions(t, "run")) == 2 }, eventually, poll)
	heir := l.open(t)
	require.Equal(t, 3, begin(t, heir, "run"))
	p.dropAnswersWith("")
	p.cut()
	require.NoError(t, requireSoon(t, saved))
	require.ErrorIs(t, st.SaveStep(t.Context(), "run", 7, "", state{}), client.ErrStaleAttempt)
	require.Equal(t, 4, begin(t, st, "run"))
	p.holdRequests(true)
	saved = goSave(t.Context(), st, "run", 8)
	requireBlocked(t, saved, soon)
	require.ErrorIs(t, heir.SaveStep(t.Context(), "run", 9, "", state{}), client.ErrStaleAttempt)
	require.Equal(t, 5, begin(t, heir, "run"))
	p.holdRequests(false)
	p.cut()
	err := requireSoon(t, saved)
	require.ErrorIs(t, err, client.ErrStaleAttempt)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)

	// A beginning that was trimmed.
	d.forget(t, "run", 5)
	require.NoError(t, heir.SaveStepBatch(t.Context(), "run", large(10, 5)))
	require.NoError(t, heir.SaveStep(t.Context(), "run", 15, "", state{}))
	require.Equal(t, [][]int{{1, 2, 3, 4, 5}, {6}, {10, 11, 12, 13, 14}, {15}}, l.transactions(t, "run"))
	require.Equal(t, []int{5}, l.attempts(t, "run"))

	requireAskingStoresNothing(t, l)
}

func TestAskingTheLogWhetherItHasAnIDStoresNothing(t *testing.T) {
	t.Parallel()
	requireAskingStoresNothing(t, newLog(t))
}

// requireAskingStoresNothing asks as the client does, about an id that the log does not have and then has.
func requireAskingStoresNothing(t *testing.T, l *thelog) {
	t.Helper()
	subject, stored := subjects.Write("default", wire.KindRun, "run"), l.count(t.Context())
	ask := func() string {
		answer, err := l.nc.RequestMsg(&nats.Msg{
			Subject: subject, Header: nats.Header{wire.HeaderMsgID: {"asked"}, jetstream.MsgRollup: {"none"}},
		}, eventually)
		require.NoError(t, err)
		return string(answer.Data)
	}
	require.Contains(t, ask(), `"err_code":10111`)
	require.Contains(t, ask(), `"err_code":10111`, "asking does not make it known")
	require.Equal(t, stored, l.count(t.Context()))

	ack, err := l.js.PublishMsg(t.Context(), &nats.Msg{
		Subject: subject, Header: nats.Header{wire.HeaderMsgID: {"asked"}}, Data: []byte(`{"step":1,"node_id":"","state":1}`),
	})
	require.NoError(t, err)
	require.False(t, ack.Duplicate)
	require.Contains(t, ask(), fmt.Sprintf(`"seq":%d,"duplicate": true`, ack.Sequence))
	require.Equal(t, stored+1, l.count(t.Context()))
}
