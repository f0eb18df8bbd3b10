package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// persistd runs a command line in an environment of its own, and returns what it prints.
func persistd(ctx context.Context, env map[string]string, args ...string) (stdout string, err error) {
	var out, logs tail
	err = run(ctx, args, lookup(env), &out, &logs)
	return out.String(), err
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := env[k]; return v, ok }
}

func TestDemoLosesNothing(t *testing.T) {
	t.Parallel()
	out, err := persistd(t.Context(), nil, "demo", "--for=8s", "--workers=4", "--think=20ms", "--engine="+string(stacktest.Engine(t)))
	require.NoError(t, err, out)
	for _, want := range []string{
		`starting nats-server, ` + string(stacktest.Engine(t)) + ` and persistd, privately, under `,
		`✗ SIGKILL persistd`, `✓ persistd started again`, `✗ SIGKILL ` + string(stacktest.Engine(t)), `✓ ` + string(stacktest.Engine(t)) + ` started again`,
		`published +[\d,]+ +in log +[\d,?]+ +committed +[\d,]+ +lag +[\d,]+`,
		`steps acknowledged to workers +│ +[1-9]`, `steps that workers could not save +│ 0 `,
		`acknowledged and lost +│ 0 `, `altered +│ 0 `, `doubled +│ 0 `, `never saved by anybody +│ 0 `,
		`resumes checked \(LoadLatest\) +│ +[1-9]`, `of these wrong +│ 0 `,
		`nothing is lost, doubled or altered\n$`,
	} {
		require.Regexp(t, want, out)
	}
	dir := regexp.MustCompile(`privately, under (\S+)`).FindStringSubmatch(out)[1]
	require.NoDirExists(t, dir)
	require.Empty(t, processes(t, dir), "everything that it started is stopped")
}

func TestDemoRefusesABadRecording(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "steps")
	require.NoError(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	_, err := persistd(t.Context(), nil, "demo", "--steps="+path)
	require.ErrorContains(t, err, "read --steps: read step 1 of "+path)
}

// sharesOf waits until the one replica has seen that it has so many partitions, and returns what it says of the shares.
func (s *stack) sharesOf(has int) (shares []wire.ReplicaShare) {
	s.t.Helper()
	s.eventually("the replica has looked", func() bool {
		shares = s.statuses(1)[0].Replicas
		return len(shares) > 0 && shares[0].Has == has
	})
	return shares
}

func TestStatusShowsAReplicaThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	a := s.spawn("none", "PERSISTD_INSTANCE=a", "PERSISTD_LEASE_DURATION=10m").serving()
	s.spawn("none", "PERSISTD_INSTANCE=b", "PERSISTD_LEASE_DURATION=10m").serving()
	s.shared("a", "b")
	a.kill()
	dead, alive := regexp.MustCompile(`a +│ +│ +│ no answer +│ +\d+ +│ +4 `), regexp.MustCompile(`b +│ .* │ yes +│ +4 +│ +4 `)
	s.eventually("the one that is left has seen how the partitions are shared", func() bool {
		out, err := persistd(t.Context(), map[string]string{"PERSISTD_NATS_URL": s.url}, "status")
		return err == nil && dead.MatchString(out) && alive.MatchString(out)
	})
}

func TestStatusShowsTheReplicas(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=3")
	st := s.open()
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "run-001", 1, "start", json.RawMessage(`{}`)))
	p := wire.Partition("default", "run-001", 3)

	var r wire.Status
	s.eventually("all partitions are applied, and at rest", func() bool {
		out, err := persistd(t.Context(), nil, "status", "--nats-url="+s.url, "--output=json")
		var replicas []wire.Status
		if err != nil || json.Unmarshal([]byte(out), &replicas) != nil || len(replicas) != 1 || !replicas[0].Ready {
			return false
		}
		r = replicas[0]
		return !slices.ContainsFunc(r.Partitions, func(p wire.PartitionStatus) bool { return p.State != "applying" || p.Phase != "idle" })
	})
	require.Len(t, r.Partitions, 3)
	require.Equal(t, []wire.ReplicaShare{{Instance: "test", Share: 3, Has: 3}}, s.sharesOf(3))
	require.Equal(t, "test", r.Instance)
	require.Equal(t, version, r.Version)
	require.Equal(t, "PERSISTD", r.Stream)
	require.EqualValues(t, 1, r.LastSeq)
	require.EqualValues(t, 1<<30, r.MaxBytes)
	for _, part := range r.Partitions {
		want := wire.PartitionStatus{Partition: part.Partition, Owner: "test", Epoch: 1, State: "applying", Phase: "idle", Since: part.Since}
		if part.Partition == p {
			want.Position = 1
		}
		require.Equal(t, want, part)
	}

	out, err := persistd(t.Context(), map[string]string{"PERSISTD_NATS_URL": s.url}, "status")
	require.NoError(t, err)
	require.Regexp(t, `REPLICA +│ VERSION +│ UP +│ READY +│ OWNS +│ SHARE`, out)
	require.Regexp(t, `test +│ `+regexp.QuoteMeta(version)+` +│ \S+ +│ yes +│ +3 +│ +3 `, out)
	require.Contains(t, out, "log PERSISTD: last sequence 1, ")
	require.Contains(t, out, " of 1.0 GiB, 0 dead letters")
	require.Regexp(t, fmt.Sprintf(`%d +│ test +│ +1 +│ +1 +│ +0 +│ +0s +│ idle`, p), out)
}

func TestStatusTellsWhatItKnowsWhileTheDatabaseHangs(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	st := s.open()
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "run-001", 1, "start", json.RawMessage(`{}`)))
	require.NoError(t, syscall.Kill(server.Pid(), syscall.SIGSTOP))
	awake := sync.OnceValue(func() error { return syscall.Kill(server.Pid(), syscall.SIGCONT) })
	t.Cleanup(func() { require.NoError(t, awake()) }) // before the server is stopped
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	for range 100 { // more than may be answered at a time
		hanging.Go(func() { _, _, _ = st.LoadLatest(ctx, "run-001") })
	}
	out, err := persistd(t.Context(), nil, "status", "--nats-url="+s.url, "--output=json", "--wait=10s")
	cancel()
	hanging.Wait()
	require.NoError(t, err)
	var replicas []wire.Status
	require.NoError(t, json.Unmarshal([]byte(out), &replicas))
	require.Len(t, replicas, 1)
	require.False(t, replicas[0].Ready)
	require.Equal(t, []string{"database: no answer for 600ms"}, replicas[0].NotReady)
	require.EqualValues(t, 1, replicas[0].LastSeq)
	require.Len(t, replicas[0].Partitions, 1)
	p := replicas[0].Partitions[0]
	require.Equal(t, "test", p.Owner)
	require.EqualValues(t, 1, p.Epoch)
	require.EqualValues(t, 1, p.Position)
	require.NoError(t, awake())
}

func TestStatusOfNobodyIsAnError(t *testing.T) {
	t.Parallel()
	url := stacktest.NATS(t).URL()
	for _, output := range []string{"table", "json"} {
		out, err := persistd(t.Context(), nil, "status", "--nats-url="+url, "--wait=100ms", "-o", output)
		require.ErrorContains(t, err, "no replica answered within 100ms on "+url+": is `persistd serve` running")
		require.Empty(t, out)
	}
	_, err := persistd(t.Context(), nil, "status", "--nats-url=nats://me:hunter2@127.0.0.1:1")
	require.EqualError(t, err, "no NATS server answers at nats://me:xxxxx@127.0.0.1:1: is it running, and reachable from here?")
}

func TestConfigPrintMasksSecrets(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"PERSISTD_MYSQL_DSN": "worker:hunter2@tcp(db:3306)/persistd", "PERSISTD_NATS_URL": "nats://me:hunter3@nats:4222",
		"PERSISTD_NATS_USER": "me", "PERSISTD_NATS_PASSWORD": "hunter4", "PERSISTD_BATCH_ROWS": "77",
	}
	out, err := persistd(t.Context(), env, "config", "print", "--stream-name=MINE")
	require.NoError(t, err)
	require.NotContains(t, out, "hunter")
	for _, want := range []string{`dsn: worker:\S+@tcp\(db:3306\)/persistd`, `url: nats://me:\S+@nats:4222`, `rows: 77`, `name: MINE`} {
		require.Regexp(t, want, out)
	}
	out, err = persistd(t.Context(), env, "config", "check")
	require.NoError(t, err)
	require.Equal(t, "configuration is valid\n", out)
}

func TestBrokenConfigurationIsToldAllAtOnce(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"PERSISTD_NATS_URL": "http://nats", "PERSISTD_STREAM_REPLICAS": "7", "PERSISTD_RETRY_MAX": "1ms", "PERSISTD_LOG_LEVEL": "loud",
		"PERSISTD_HTTP_LISTEN": "nowhere",
	}
	for _, command := range [][]string{{"serve"}, {"migrate"}, {"config", "check"}} {
		out, err := persistd(t.Context(), env, command...)
		require.ErrorContains(t, err, "configuration: ")
		for _, path := range []string{"nats.url", "stream.replicas", "retry.max", "log.level", "http.listen", "mysql.dsn"} {
			require.ErrorContains(t, err, path, command)
		}
		require.Empty(t, out)
	}
	_, err := persistd(t.Context(), map[string]string{"PERSISTD_BATCH_ROWS": "many", "PERSISTD_RETRY_MIN": "soon"}, "serve")
	require.ErrorContains(t, err, "PERSISTD_BATCH_ROWS")
	require.ErrorContains(t, err, "PERSISTD_RETRY_MIN")
	_, err = persistd(t.Context(), nil, "serve", "--no-such-flag")
	require.EqualError(t, err, "unknown flag --no-such-flag (see persistd --help)")
}

func TestMisspelledVariablesAreWarnedOf(t *testing.T) {
	t.Parallel()
	s := &stack{t: t, url: "nats://127.0.0.1:1", dsn: "u:p@tcp(127.0.0.1:1)/none"}
	c := s.spawn("none", "PERSISTD_BATCHROWS=7")
	s.eventually("it warns", func() bool {
		return strings.Contains(c.out.String(), `"variable":"PERSISTD_BATCHROWS (did you mean PERSISTD_BATCH_ROWS?)"`)
	})
	require.NoError(t, c.terminate())
	require.Equal(t, 1, strings.Count(c.out.String(), "variable is no setting"), c.out)
}

func TestMigrateMakesTheTables(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	for range 2 {
		out, err := persistd(t.Context(), map[string]string{"PERSISTD_MYSQL_DSN": dsn}, "migrate")
		require.NoError(t, err)
		require.Equal(t, "schema is up to date\n", out)
	}
	db, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	defer db.Close()
	for _, table := range []string{"workflow_steps", "workflow_checkpoints", "persistd_streams", "persistd_partitions"} {
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n), table)
		require.Zero(t, n)
	}
	_, err = persistd(t.Context(), map[string]string{"PERSISTD_MYSQL_DSN": strings.Replace(dsn, "/test_", "/absent_", 1)}, "migrate")
	require.ErrorContains(t, err, "migrate: ")
}
