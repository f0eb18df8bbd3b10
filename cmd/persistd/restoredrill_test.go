package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// drillVariable is for how long workers go on between the dump and the restore of the drill; without it they save some hundred steps.
const drillVariable = "PERSISTD_DRILL_FOR"

// tool prepares a run of one of the server's own programs against the server of s.
func (s *stack) tool(program string, args ...string) *exec.Cmd {
	s.t.Helper()
	cfg, err := mysql.ParseDSN(s.dsn)
	require.NoError(s.t, err)
	host, port, err := net.SplitHostPort(cfg.Addr)
	require.NoError(s.t, err)
	common := []string{"--no-defaults", "--host=" + host, "--port=" + port, "--protocol=tcp", "--user=" + cfg.User}
	if stacktest.Engine(s.t) == devstack.MySQL {
		common = append(common, "--get-server-public-key")
	}
	cmd := exec.CommandContext(s.t.Context(), program, append(common, args...)...)
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+cfg.Passwd)
	return cmd
}

func (s *stack) runTool(cmd *exec.Cmd) []byte {
	s.t.Helper()
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(s.t, cmd.Run(), "%s: %s", cmd.Path, &complaints)
	return out.Bytes()
}

// dump is the database as the engine's own dump program writes it down.
func (s *stack) dump(database string) []byte {
	s.t.Helper()
	_, program, err := stacktest.Engine(s.t).FindClient()
	require.NoError(s.t, err)
	args := []string{"--single-transaction", "--skip-comments"}
	if stacktest.Engine(s.t) == devstack.MySQL {
		args = append(args, "--set-gtid-purged=OFF", "--no-tablespaces")
	}
	return s.runTool(s.tool(program, append(args, database)...))
}

// load runs a dump in a database.
func (s *stack) load(database string, dump []byte) {
	s.t.Helper()
	program, _, err := stacktest.Engine(s.t).FindClient()
	require.NoError(s.t, err)
	cmd := s.tool(program, database)
	cmd.Stdin = bytes.NewReader(dump)
	s.runTool(cmd)
}

// swapIn puts the tables of another database in the stead of those of database, which go to aside, in one statement: whoever reads or
// commits sees all tables of before, or all of the other ones. It is what docs/restore.md says.
func (s *stack) swapIn(database, other, aside string) {
	s.t.Helper()
	s.exec("CREATE DATABASE " + aside)
	var pairs sql.NullString
	conn, err := s.db.Conn(s.t.Context()) // of one session, which the setting is of
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, conn.Close()) }()
	_, err = conn.ExecContext(s.t.Context(), "SET SESSION group_concat_max_len = 1000000")
	require.NoError(s.t, err)
	require.NoError(s.t, conn.QueryRowContext(s.t.Context(), "SELECT GROUP_CONCAT('`"+database+"`.`', table_name, '` TO `"+aside+"`.`', table_name, '`, `"+
		other+"`.`', table_name, '` TO `"+database+"`.`', table_name, '`' SEPARATOR ', ')"+
		" FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'", other).Scan(&pairs))
	_, err = conn.ExecContext(s.t.Context(), "RENAME TABLE "+pairs.String)
	require.NoError(s.t, err)
}

// witness reads runs again and again, each of which has one writer, whose steps rise, and says when a read is wrong: when it does not have
// what was acknowledged before it began, or has what was never saved. A read may fail; then it is made again.
type witness struct {
	reads, failed atomic.Int64

	mu    sync.Mutex
	wrong error // guarded by mu; the first
}

func (w *witness) saw(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = err
	}
}

// acknowledged is the last step of a run that was acknowledged; -1 for none.
func (f *fleet) acknowledged(run string) int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, ok := f.last[run]
	if !ok {
		return -1
	}
	return last
}

func (f *fleet) state(run string, step int32) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state, ok := f.acked[rowKey{run, step}]
	return state, ok
}

// watch reads the runs of f with so many readers until ctx ends.
func (w *witness) watch(ctx context.Context, s *stack, f *fleet, readers, runs int) (wait func()) {
	var wg sync.WaitGroup
	for r := range readers {
		st := s.open(client.WithAttemptTimeout(time.Second))
		wg.Go(func() {
			for i := r; ctx.Err() == nil; i++ {
				w.read(ctx, st, f, fmt.Sprintf("run-%d", i%runs))
			}
		})
	}
	return wg.Wait
}

func (w *witness) read(ctx context.Context, st client.Store[json.RawMessage], f *fleet, run string) {
	atLeast := f.acknowledged(run)
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	state, step, err := st.LoadLatest(bounded, run)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, client.ErrNotFound) && atLeast < 0:
	case errors.Is(err, client.ErrUnavailable):
		w.failed.Add(1)
	case err != nil:
		w.saw(fmt.Errorf("read %s, which has step %d: %w", run, atLeast, err))
	case int32(step) < atLeast:
		w.saw(fmt.Errorf("read %s: step %d, and %d was acknowledged before", run, step, atLeast))
	default:
		w.reads.Add(1)
		if want, ok := f.state(run, int32(step)); ok && !sameJSON(want, string(state)) {
			w.saw(fmt.Errorf("read %s: step %d is not as it was saved", run, step))
		}
	}
}

// The restore drill: the database is dumped under load with the engine's own program, the workers go on, and the dump is restored under two
// running daemons, as docs/restore.md says to. What is missing in the dump comes from the log by itself, and no read is wrong meanwhile.
func TestI2I6TheDatabaseIsRestoredFromADumpUnderRunningDaemons(t *testing.T) {
	t.Parallel()
	_, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	const runs = 12
	daemons := []*child{
		s.spawn("none", "PERSISTD_INSTANCE=a", "PERSISTD_LEASE_DURATION=5s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=2s", "PERSISTD_RETRY_MAX=500ms").serving(),
		s.spawn("none", "PERSISTD_INSTANCE=b", "PERSISTD_LEASE_DURATION=5s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=2s", "PERSISTD_RETRY_MAX=500ms").serving(),
	}
	quiet := s.fleet(4, 500, time.Millisecond) // saves nothing after the dump
	quiet.advances(100)
	quiet.stop()
	quiet.wg.Wait()
	f := s.fleetFrom(4, runs-4, 500, 10*time.Millisecond)
	f.advances(200)
	reading, stop := context.WithCancel(t.Context())
	defer stop()
	var w, q witness
	wait := []func(){w.watch(reading, s, f, 4, runs), q.watch(reading, s, quiet, 2, 4)}

	dump := s.dump("persistd")
	dumped, began := s.maxPositions(), time.Now()
	f.advances(400)
	if text, ok := os.LookupEnv(drillVariable); ok {
		goOn, err := time.ParseDuration(text)
		require.NoError(t, err)
		s.eventuallyIn(goOn+time.Minute, "the workers go on", func() bool { return time.Since(began) >= goOn })
	}
	s.eventually("the database is ahead of the dump", func() bool { return s.maxPositions() > dumped+200 })
	missed := f.count.Load()

	s.exec("CREATE DATABASE restored")
	s.load("restored", dump)
	restored := s.scalar("SELECT COUNT(*) FROM restored.workflow_steps") // before the daemons see them, and add to them at once
	s.swapIn("persistd", "restored", "aside")
	f.advances(400)
	s.eventually("enough was read", func() bool { return w.reads.Load() > 200 && q.reads.Load() > 100 })
	f.stop()
	f.wg.Wait()
	stop()
	for _, wait := range wait {
		wait()
	}
	require.NoError(t, w.wrong)
	require.NoError(t, q.wrong)
	require.Empty(t, f.failed, "no worker noticed")
	require.Empty(t, s.deadLetters())

	events := s.matchesLog() // row by row
	counts := s.clean()      // and by the program itself: nothing is missing, nothing is different
	require.Len(t, events, len(f.acked)+len(quiet.acked))
	got := s.table()
	for _, fleet := range []*fleet{quiet, f} {
		for k, state := range fleet.acked {
			require.True(t, sameJSON(got[k].State, state), "acknowledged step %v", k)
		}
	}
	require.Greater(t, s.scalar("SELECT COUNT(*) FROM aside.workflow_steps"), restored, "the restore went back")
	t.Logf("%d steps, of which %d were saved after the dump until the restore, %d rows in the dump; persistd verify: %+v; %d reads right, %d failed and were made again",
		len(events), missed, restored, counts, w.reads.Load()+q.reads.Load(), w.failed.Load()+q.failed.Load())
	for _, d := range daemons {
		require.NoError(t, d.terminate())
	}
}

// maxPositions is how far the partition is that is the furthest.
func (s *stack) maxPositions() (furthest uint64) {
	for _, p := range s.partitions() {
		furthest = max(furthest, p.Position)
	}
	return furthest
}

func (s *stack) eventuallyIn(d time.Duration, what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, d, 100*time.Millisecond, what)
}

// Tables that are not there, as in the middle of a restore, are waited for: the replica is not ready and says why, the workers go on, reads
// fail, and when the tables are back it goes on by itself.
func TestTablesThatAreMissingAreWaitedFor(t *testing.T) {
	t.Parallel()
	_, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	st := s.open(client.WithAttemptTimeout(time.Second))
	for i, table := range []string{"workflow_steps", "persistd_partitions", "persistd_runs"} {
		d := s.spawn("none", "PERSISTD_RETRY_MAX=200ms").serving() // a new one, for which two tables that come back are no restore
		s.publishSteps(1000*(i+1), 50)
		s.matchesLog()
		s.exec("CREATE DATABASE IF NOT EXISTS aside")
		s.exec("RENAME TABLE persistd." + table + " TO aside." + table)
		s.publishSteps(100*(i+1), 20) // what is acknowledged does not wait for the database
		s.eventually("the replica says what is missing", func() bool {
			why := s.readyz(d.address())
			return strings.Contains(why, "readyz check failed") && strings.Contains(why, table)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, _, err := st.LoadLatest(ctx, "run-1")
		cancel()
		require.ErrorIs(t, err, client.ErrUnavailable, "a read fails, and is not wrong")
		s.exec("RENAME TABLE aside." + table + " TO persistd." + table)
		s.matchesLog()
		s.eventually("the replica is ready again", func() bool { return strings.Contains(s.readyz(d.address()), "readyz check passed") })
		require.NoError(t, d.terminate())
	}
	require.Empty(t, s.deadLetters(), "an outage is not poison")
}
