package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// examined is what the doctor says of a stack, and the error that it ends with.
func (s *stack) examined(more ...string) (report, error) {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := s.settings()
	err := run(s.t.Context(), append([]string{"doctor", "-o", "json", "--wait", "3s"}, more...), func(k string) (string, bool) { v, ok := env[k]; return v, ok }, &out, &errs)
	var r report
	require.NoError(s.t, json.Unmarshal(out.Bytes(), &r), "%v %s", err, &errs)
	return r, err
}

// settled waits until the replicas answer, are ready, and have all partitions.
func (s *stack) settled(replicas ...string) {
	s.t.Helper()
	s.eventually("the replicas have all partitions", func() bool {
		owned := 0
		for _, r := range s.statuses(len(replicas)) {
			if !r.Ready || !slices.Contains(replicas, r.Instance) {
				return false
			}
			for _, p := range r.Partitions {
				if p.State == "applying" {
					owned++
				}
			}
		}
		return owned == 8
	})
}

func (r report) level(check string) level {
	for _, f := range r.Findings {
		if f.Check == check {
			return f.Level
		}
	}
	return "(none)"
}

func (r report) costs(failure string) outcome {
	for _, o := range r.Outcomes {
		if o.Failure == failure {
			return o
		}
	}
	return outcome{}
}

func (r report) requireLevels(t *testing.T, want map[string]level) {
	t.Helper()
	for check, l := range want {
		require.Equal(t, l, r.level(check), "%s\n%s", check, r.text())
	}
}

func TestTheDoctorTellsWhatASingleServerSurvives(t *testing.T) {
	t.Parallel()
	n, err := devstack.StartNATSProcess(t.Context(), devstack.NATSOptions{Dir: t.TempDir(), Monitor: true})
	require.NoError(t, err)
	t.Cleanup(n.Kill)
	s := newStack(t, n.URL(), stacktest.Database(t))

	r, err := s.examined()
	require.ErrorContains(t, err, "checks failed")
	r.requireLevels(t, map[string]level{"log": warn, "schema": failed, "replicas": warn})
	require.Equal(t, unknown, r.costs("anything").Level)

	d := s.serveHere(hooks{})
	s.settled("test")
	r, err = s.examined()
	require.NoError(t, err)
	r.requireLevels(t, map[string]level{
		"server": fine, "log": fine, "copies of the log": warn, "fsync": unknown, "duplicate window": fine, "room in the log": fine,
		"replay window": fine, "replicas": warn, "replica test": fine, "owned partitions": fine, "schema": fine, "rights": fine, "gaps": fine,
		"writable": fine, "clock": fine,
		"innodb_flush_log_at_trx_commit": warn, // the tests' server is relaxed
	})
	require.Equal(t, unknown, r.costs("power cut of one NATS machine").Level)
	require.Equal(t, fine, r.costs("a nats-server's process dies").Level)
	require.Contains(t, r.text(), "24h, as "+d.cfg.Instance+" has it")
	r, err = s.examined("--stream-replay-window=0s") // what the daemon has counts
	require.NoError(t, err)
	require.Contains(t, r.text(), "24h, as "+d.cfg.Instance+" has it")

	r, err = s.examined("--nats-monitor", n.MonitorURL())
	require.NoError(t, err)
	require.Equal(t, warn, r.level("fsync"))
	require.Equal(t, failed, r.costs("power cut of one NATS machine").Level)
	require.Contains(t, r.costs("power cut of one NATS machine").Costs, "2m0s")
	require.Contains(t, r.text(), "sync_interval: always")

	require.NoError(t, d.stop())
	r, err = s.examined("--nats-monitor", n.URL())
	require.NoError(t, err)
	require.Equal(t, unknown, r.level("fsync"), "what is no monitor says nothing")
	require.Equal(t, warn, r.level("replicas"))
	r, err = s.examined("--stream-replay-window=36h")
	require.NoError(t, err)
	require.Contains(t, r.text(), "36h, as of the settings given here")
}

func TestTheDoctorTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATSProcess(t).URL(), dsn)
	d := s.serveHere(hooks{})
	require.NoError(t, d.stop())
	st, err := s.js.Stream(t.Context(), "PERSISTD")
	require.NoError(t, err)
	c := st.CachedInfo().Config
	c.MaxAge, c.Discard, c.Duplicates = 1<<40, jetstream.DiscardOld, 1<<30
	_, err = s.js.UpdateStream(t.Context(), c)
	require.NoError(t, err)
	root := s.db
	exec := func(statements ...string) {
		for _, q := range statements {
			_, err := root.ExecContext(t.Context(), q)
			require.NoError(t, err, q)
		}
	}
	exec("CREATE USER 'app'@'127.0.0.1' IDENTIFIED BY 'p'", "GRANT SELECT ON persistd.* TO 'app'@'127.0.0.1'",
		"GRANT INSERT, UPDATE ON persistd.workflow_steps TO 'app'@'127.0.0.1'")
	s.daemonDSN = "app:p@tcp(" + server.Addr() + ")/persistd"
	r, err := s.examined()
	require.ErrorContains(t, err, "checks failed")
	r.requireLevels(t, map[string]level{
		"setting max_age": failed, "setting discard": failed, "duplicate window": failed, "log": failed, "rights": failed, "schema": fine, "writable": fine,
	})
	require.Equal(t, failed, r.costs("anything").Level)
	text := r.text()
	require.Contains(t, text, "DELETE on workflow_steps")
	require.Contains(t, text, "UPDATE on persistd_partitions")
	require.NotContains(t, text, "INSERT on workflow_steps")
	require.Contains(t, text, "nats stream edit PERSISTD --max-age 0")

	exec("SET GLOBAL read_only=ON")
	r, err = s.examined()
	require.ErrorContains(t, err, "checks failed")
	require.Equal(t, failed, r.level("writable"))
}

func TestTheDoctorTellsWhatClustersSurvive(t *testing.T) {
	t.Parallel()
	c := stacktest.NATSCluster(t)
	g, dsn := stacktest.Galera(t)
	s := newStack(t, c.URL(), g.Node(0).DSN("persistd"))
	s.daemonDSN = dsn
	for _, name := range []string{"first", "second"} {
		s.serveHere(hooks{}, "PERSISTD_STREAM_REPLICAS=3", "PERSISTD_INSTANCE="+name)
	}
	s.current(c)
	s.settled("first", "second")
	monitors := []string{}
	for i := range c.Nodes() {
		monitors = append(monitors, "--nats-monitor", c.Node(i).MonitorURL())
	}
	r, err := s.examined(monitors...)
	require.NoError(t, err)
	r.requireLevels(t, map[string]level{
		"copies of the log": fine, "state of the copies": fine, "fsync": warn, "replicas": fine, "Galera nodes": fine, "Galera addresses": fine,
	})
	for failure, want := range map[string]level{
		"a persistd replica dies": fine, "power cut of one NATS machine": warn, "power cut of all NATS machines": warn,
		"loss of a NATS server with its disk": fine, "loss of a database server with its disk": fine,
	} {
		require.Equal(t, want, r.costs(failure).Level, failure)
	}
	g.Node(2).Kill()
	db, err := sql.Open("mysql", g.Node(0).DSN(""))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	s.eventually("two nodes are left", func() bool {
		var name, size string
		return db.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'wsrep_cluster_size'").Scan(&name, &size) == nil && size == "2"
	})
	r, err = s.examined()
	require.NoError(t, err)
	require.Equal(t, warn, r.level("Galera nodes"))
	require.NotEqual(t, fine, r.costs("loss of a database server with its disk").Level)
}
