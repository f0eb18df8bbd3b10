package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/linear"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

const (
	workers    = 20
	readers    = 8
	historians = 8 // clients that record a history
)

// scenario is a cluster at work while faults befall it.
type scenario struct {
	*cluster
	settings settings

	ledger  *Ledger
	board   *board
	fleet   *fleet
	probes  *Probes
	linear  *linear.Workload
	urls    []string // where the clients of each group reach NATS
	began   time.Time
	stopped time.Time // when faults ended

	mu       sync.Mutex // guards what follows
	injected []injected
	skipped  int
}

// injected is a fault that happened.
type injected struct {
	Fault
	at time.Time
	// surfaced is whether something was seen of it.
	surfaced bool
}

// newScenario prepares the workload of a cluster whose clients reach NATS at urls.
func newScenario(c *cluster, s settings, urls ...string) *scenario {
	sc := &scenario{
		cluster: c, settings: s, ledger: NewLedger(c.database.Engine() == devstack.MySQL), board: &board{}, probes: NewProbes(partitions),
		urls: urls,
	}
	sc.fleet = &fleet{urls: urls, runs: s.runs, seed: s.seed, ledger: sc.ledger, board: sc.board, think: 20 * time.Millisecond}
	sc.linear = &linear.Workload{
		Open: func(ctx context.Context, id int) (client.Store[linear.State], error) {
			for {
				st, err := client.Open[linear.State](context.WithoutCancel(ctx), urls[id%len(urls)],
					client.WithAttemptTimeout(attemptTimeout), client.WithTimeout(callLimit))
				if err == nil || !errors.Is(err, client.ErrUnavailable) || !pause(ctx, 50*time.Millisecond) {
					return st, err
				}
			}
		},
		History: linear.New(), Clients: historians, Keys: 3, Seed: s.seed, Outages: true, Impatient: 8, Renew: 300,
	}
	return sc
}

// serving waits until everything is up: a probe is committed in each partition.
func (sc *scenario) serving() {
	sc.t.Helper()
	ctx, cancel := context.WithTimeout(sc.t.Context(), 2*time.Minute)
	defer cancel()
	st, err := openPatiently(ctx, sc.nats.URL())
	require.NoError(sc.t, err)
	defer func() { require.NoError(sc.t, st.Close()) }()
	for p := range partitions {
		for {
			require.NoError(sc.t, sc.alive())
			if sc.probe(ctx, st, p, 0) {
				break
			}
			require.NoError(sc.t, ctx.Err(), "daemons do not come up: %s", sc.daemons[0].tail())
		}
	}
	sc.began = time.Now()
}

// probe makes one committed write to a partition and notes it.
func (sc *scenario) probe(ctx context.Context, st client.Store[json.RawMessage], partition, n int) bool {
	id := probeRun(partition)
	begun := time.Now()
	state := json.RawMessage(fmt.Sprintf(`{"n":%d,"at":%d}`, n, begun.UnixNano()))
	u := sc.ledger.Begin(id, Unit{Lane: id}, map[Key]json.RawMessage{{Steps, id, n}: state})
	ctx, cancel := context.WithTimeout(client.ContextWithDurability(context.WithoutCancel(ctx), client.Committed), callLimit)
	defer cancel()
	err := st.SaveStep(ctx, id, n, "probe", state)
	o := outcomeOf(err)
	sc.ledger.Settle(u, o)
	if err == nil {
		sc.probes.Add(partition, begun, time.Now())
	}
	if o == Open {
		sc.fleet.fail(fmt.Errorf("probe partition %d: %w", partition, err))
	}
	return err == nil
}

// probeRun is a run of a partition.
func probeRun(partition int) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("probe/%d", i); wire.Partition(wire.DefaultNamespace, id, partitions) == partition {
			return id
		}
	}
}

// play has everybody work while inject brings faults; what it brought is over when it returns.
func (sc *scenario) play(inject func(ctx context.Context)) {
	sc.t.Helper()
	sc.serving()
	sc.audit()
	ctx, stop := context.WithCancel(sc.t.Context())
	defer stop()
	var all errgroup.Group
	for no := range workers {
		all.Go(func() error { return sc.fleet.work(ctx, no) })
	}
	for no := range readers {
		all.Go(func() error { return sc.board.reader(ctx, sc.urls[no%len(sc.urls)], sc.settings.seed+uint64(no)) })
	}
	all.Go(func() error { return sc.probing(ctx) })
	all.Go(func() error { return sc.linear.Run(ctx) })
	watching, unwatch := context.WithCancel(sc.t.Context())
	var watchers sync.WaitGroup
	watchers.Go(func() { sc.watch(watching) })
	watchers.Go(func() { sc.progress(watching) })
	defer watchers.Wait()
	defer unwatch()

	inject(ctx)
	sc.stopped = time.Now()
	// Everything must work again by itself, with the load that there was.
	require.Eventually(sc.t, func() bool { _, ok := sc.probes.Recovered(sc.stopped); return ok || sc.alive() != nil },
		2*time.Minute, 50*time.Millisecond, "not every partition commits again")
	stop()
	done := make(chan error, 1)
	go func() { done <- all.Wait() }()
	select {
	case err := <-done:
		require.NoError(sc.t, err)
	case <-time.After(3 * time.Minute):
		require.Fail(sc.t, "clients do not come to an end")
	}
	require.NoError(sc.t, sc.alive())
}

func (sc *scenario) probing(ctx context.Context) error {
	st, err := openPatiently(ctx, sc.nats.URL()) // its own way, so that it measures the daemons
	if err != nil || st == nil {
		return err
	}
	var all sync.WaitGroup
	for p := range partitions {
		all.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				sc.probe(ctx, st, p, n)
				pause(ctx, 40*time.Millisecond)
			}
		})
	}
	all.Wait()
	_ = st.Close()
	return nil
}

// broken is what was seen so far of what must not be: there is no need to go on.
func (sc *scenario) broken() error {
	return errors.Join(sc.alive(), sc.fleet.failures(), sc.board.violations())
}

// note keeps what was injected.
func (sc *scenario) note(f Fault) (surfaced func(bool)) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	i := len(sc.injected)
	sc.injected = append(sc.injected, injected{Fault: f, at: time.Now()})
	return func(seen bool) {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		sc.injected[i].surfaced = sc.injected[i].surfaced || seen
	}
}

func (sc *scenario) skip() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.skipped++
}

// count is how many faults of a kind there were, and of how many something was seen.
func (sc *scenario) count(kind Kind) (n, surfaced int) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	for _, f := range sc.injected {
		if f.Kind == kind {
			n++
			if f.surfaced {
				surfaced++
			}
		}
	}
	return n, surfaced
}

// settled waits until all that is in the log is in the database, holds the ledger against that, and returns the verdict.
func (sc *scenario) settled() Verdict {
	sc.t.Helper()
	nc, err := nats.Connect(sc.nats.URL())
	require.NoError(sc.t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(sc.t, err)
	var behind atomic.Value
	require.Eventually(sc.t, func() bool {
		what, err := sc.behind(js)
		behind.Store(fmt.Sprint(what, err))
		return what == "" && err == nil
	}, 2*time.Minute, 100*time.Millisecond, "not everything is committed: %v", &behind)
	found, err := sc.found(sc.t.Context(), sc.ledger)
	require.NoError(sc.t, err)
	require.NoError(sc.t, sc.audited(sc.t.Context(), &found))
	return sc.ledger.Check(found)
}

// behind is the first partition whose position is not at the end of the log, or "".
func (sc *scenario) behind(js jetstream.JetStream) (string, error) {
	ctx, cancel := context.WithTimeout(sc.t.Context(), 10*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, "PERSISTD")
	if err != nil {
		return "", err
	}
	for p := range partitions {
		var at uint64
		if err := sc.sql.QueryRowContext(ctx, "SELECT position FROM persistd_partitions WHERE partition_no = ?", p).Scan(&at); err != nil {
			return "", err
		}
		switch last, err := stream.GetLastMsgForSubject(ctx, fmt.Sprintf("persistd.log.%d.>", p)); {
		case errors.Is(err, jetstream.ErrMsgNotFound): // it was trimmed to nothing
		case err != nil:
			return "", err
		case last.Sequence > at:
			return fmt.Sprintf("partition %d is at %d of %d", p, at, last.Sequence), nil
		}
	}
	return "", nil
}

func seedHint(t *testing.T, s settings) {
	t.Helper()
	t.Logf("seed %d: again with make chaos FOR=%s SEED=%d", s.seed, parts*s.length, s.seed)
}
