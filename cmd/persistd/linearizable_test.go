package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

const (
	historyClients = 24
	historyRuns    = 6
	historyCalls   = 24_000
)

// state is what the clients of a history save.
type state struct {
	Value int64 `json:"value"`
}

// I6: whoever answers, and however far MySQL is behind, a read of a run, of a named checkpoint or of a V2 checkpoint returns what was
// acknowledged before it began. Commits and reads are
// slowed down at random, the log is trimmed as soon as it is committed, and the replica that applies it is killed in the middle.
func TestReadsAreLinearizablePerKeyWhileAReplicaIsKilled(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{
		"PERSISTD_STREAM_PARTITIONS=2", "PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=20ms",
		"PERSISTD_LEASE_DURATION=1s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=500ms",
	}
	owner := s.spawn("slow:1", append(settings, "PERSISTD_INSTANCE=owner")...)
	s.eventually("owner has both partitions", func() bool { return s.owned("owner") == 2 })
	var cases readCases
	s.serveHere(cases.count(slow(2)), append(settings, "PERSISTD_INSTANCE=other")...)

	w := &historyWorkload{t: t, s: s, history: newHistory()}
	w.at(historyCalls/3, func() {
		owner.kill()
		s.spawn("slow:3", append(settings, "PERSISTD_INSTANCE=third")...)
	})
	w.run()

	require.GreaterOrEqual(t, w.history.len(), 20_000)
	w.history.requireLinearizable(t)
	require.Positive(t, w.committed.Load())
	for name, n := range map[string]*atomic.Int64{
		"named checkpoints": &w.checkpoints, "V2 checkpoints": &w.checkpointsV2, "transactions": &w.transactions, "found checkpoints": &w.found,
	} {
		require.Greaterf(t, n.Load(), int64(200), "calls on %s", name)
	}
	require.Positive(t, s.owned("other")+s.owned("third"), "somebody went on where the dead replica was")
	for name, n := range map[string]*atomic.Int64{
		"a row alone": &cases.row, "a tail before the row": &cases.tailFirst, "a row before the tail": &cases.rowFirst,
		"a tail that was overtaken": &cases.overtaken,
	} {
		require.Greaterf(t, n.Load(), int64(20), "reads that met %s", name)
	}
	require.Zero(t, s.rows("log_seq = 0"))
	t.Logf("reads here: row %d, tail first %d, row first %d, overtaken %d; committed %d; unknown outcomes %d", cases.row.Load(),
		cases.tailFirst.Load(), cases.rowFirst.Load(), cases.overtaken.Load(), w.committed.Load(), w.unknown.Load())
}

// owned counts the partitions of which instance has the lease.
func (s *stack) owned(instance string) (n int) {
	if s.db.QueryRow("SELECT COUNT(*) FROM persistd_partitions WHERE owner = ? AND lease_until > UTC_TIMESTAMP(6)", instance).Scan(&n) != nil {
		return -1
	}
	return n
}

// historyWorkload is many clients, each with a connection of its own, on few runs.
type historyWorkload struct {
	t       *testing.T
	s       *stack
	history *history

	calls, values      atomic.Int64
	committed, unknown atomic.Int64

	checkpoints, checkpointsV2, transactions, found, repeated atomic.Int64

	highest [historyRuns]atomic.Int64

	due     int64
	event   func()
	pending sync.WaitGroup
}

// at has event happen beside the calls, once n have begun.
func (w *historyWorkload) at(n int64, event func()) { w.due, w.event = n, event }

func (w *historyWorkload) run() {
	errs := make(chan error, historyClients)
	for c := range historyClients {
		go func() { errs <- w.client(c) }()
	}
	var err error
	for range historyClients {
		err = errors.Join(err, <-errs)
	}
	w.pending.Wait()
	require.NoError(w.t, err)
}

func (w *historyWorkload) client(id int) error {
	ctx := w.t.Context()
	st, err := client.Open[state](ctx, w.s.url, client.WithAttemptTimeout(time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	draw := rand.New(rand.NewPCG(7, uint64(id)))
	for {
		n := w.calls.Add(1)
		if n > historyCalls {
			return nil
		}
		if n == w.due {
			w.pending.Go(w.event)
		}
		no := draw.IntN(historyRuns)
		switch {
		case draw.IntN(4) == 0:
			err = w.checkpoint(st, id, no, draw)
		case draw.IntN(2) == 0:
			err = w.load(st, id, fmt.Sprintf("run-%d", no))
		default:
			err = w.save(st, id, no, draw)
		}
		if err != nil {
			return err
		}
	}
}

func (w *historyWorkload) load(st client.Store[state], id int, run string) error {
	began := w.history.now()
	got, step, err := st.LoadLatest(w.t.Context(), run)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return err
	}
	w.history.add(id, call{key: run}, began, held{step, got.Value}, true)
	return nil
}

// save saves a new step, the highest one again, or a lower one again.
func (w *historyWorkload) save(st client.Store[state], id, no int, draw *rand.Rand) error {
	c := call{key: fmt.Sprintf("run-%d", no), save: true, held: held{value: w.values.Add(1)}}
	kind, ctx := draw.IntN(10), w.t.Context()
	switch {
	case kind < 4:
		c.step = int(w.highest[no].Add(1))
	case kind < 7:
		c.step = int(max(1, w.highest[no].Load()))
	default:
		c.step = int(max(1, w.highest[no].Load()-1-draw.Int64N(20)))
	}
	durable := kind == 0 && draw.IntN(4) == 0 // a new step, whose row nobody else has written
	if durable {
		ctx = client.ContextWithDurability(ctx, client.Committed)
	}
	began := w.history.now()
	err := st.SaveStep(ctx, c.key, c.step, "node", state{c.value})
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		w.unknown.Add(1)
		w.history.add(id, c, began, held{}, false)
		return nil
	case err != nil:
		return err
	}
	w.history.add(id, c, began, held{}, true)
	if !durable {
		return nil
	}
	w.committed.Add(1)
	if w.s.rows("run_id = ? AND step = ?", c.key, c.step) != 1 {
		return fmt.Errorf("step %d of %s was committed and has no row", c.step, c.key)
	}
	return nil
}
