package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestBenchMeasuresADrainBesideRawInserts(t *testing.T) {
	t.Parallel()
	dir, steps := t.TempDir(), filepath.Join(t.TempDir(), "steps")
	require.NoError(t, os.WriteFile(steps, []byte(`{"run_id":"a","step":1,"node_id":"x","state":{"it's":"\\"}}`+"\n"), 0o600))
	out, err := persistd(t.Context(), nil, "bench", "drain", "--short", "-o", "json", "--size=256,1KiB", "--steps="+steps, "--dir="+dir, "--engine="+string(stacktest.Engine(t)))
	require.NoError(t, err)
	var results []bench.Result
	require.NoError(t, json.Unmarshal([]byte(out), &results))
	found := map[string]bench.Result{}
	for _, r := range results {
		require.Equal(t, "drain", r.Scenario)
		require.Equal(t, bench.SyncInterval, r.Sync, "it does not matter, so it is measured once")
		require.Equal(t, 1, r.Rounds)
		require.Nil(t, r.Met, "a short run judges nothing")
		require.Positive(t, r.Ours, r.Metric)
		found[r.Size+" "+r.Metric] = r
	}
	for _, size := range []string{"256B", "1KiB", "steps"} {
		rate := found[size+" rate"]
		require.NotNil(t, rate.Ratio, size)
		require.InEpsilon(t, rate.Ours / *rate.Baseline, *rate.Ratio, 1e-9, "of one round it is simply that")
		for _, metric := range []string{"client_cpu", "daemon_cpu", "nats-server_cpu", "database_cpu", "client_memory", "daemon_memory", "nats-server_memory", "database_memory"} {
			require.Contains(t, found, size+" "+metric)
		}
		require.Nil(t, found[size+" daemon_cpu"].Baseline, "no daemon takes part in a raw insert")
	}
	require.Empty(t, processes(t, dir), "everything that it started is stopped")
	requireEmpty(t, dir)
}

func TestBenchThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logs := &trigger{on: "drain 1KiB: 10 measurements", do: cancel}
	var out tail
	err := run(ctx, []string{"bench", "drain", "--dir=" + dir, "--engine=" + string(stacktest.Engine(t))}, lookup(nil), &out, logs)
	require.EqualError(t, err, "bench: interrupted; everything that it started is stopped, and what was measured by then is told")
	require.Equal(t, codeInterrupted, exitCode(err))
	require.Empty(t, processes(t, dir))
	requireEmpty(t, dir)
}

func TestAScenarioThatFailsDoesNotKeepTheOthersFromBeingMeasured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settings := func(b *bench.Bench) (all string) {
		q := "SELECT CONCAT_WS(' ', @@GLOBAL.innodb_io_capacity_max, @@GLOBAL.innodb_io_capacity, @@GLOBAL.innodb_max_dirty_pages_pct)"
		require.NoError(t, b.Rig.DB().QueryRowContext(t.Context(), q).Scan(&all))
		return all
	}
	one := func(b *bench.Bench) error {
		return b.Report(bench.Place{}, bench.Series{Ours: []bench.Sample{{"rate": 1}}}, "rate")
	}
	scenarios := []bench.Scenario{
		{Name: "fails", Run: func(_ context.Context, b *bench.Bench) error { return errors.Join(one(b), errors.New("boom")) }},
		{Name: "is measured", Run: func(ctx context.Context, b *bench.Bench) error {
			was := settings(b)
			require.NoError(t, b.Rig.Settle(ctx))
			require.Equal(t, was, settings(b), "the database is measured with its own settings")
			return one(b)
		}},
	}
	o := bench.Options{Rounds: 1, Sync: []bench.Sync{bench.SyncInterval}, Engine: stacktest.Engine(t), Dir: dir}
	found, err := bench.Run(t.Context(), o, scenarios)
	require.EqualError(t, err, "fails: boom")
	require.Len(t, found.Results, 2, "what it had found counts")
	require.Equal(t, "is measured", found.Results[1].Scenario)
	require.Len(t, found.Failures, 1)
	require.Equal(t, "fails", found.Failures[0].Scenario)
	require.Regexp(t, `^synced \(innodb_flush_log_at_trx_commit=1, (no binary log|sync_binlog=1)\)$`, found.Database.Commit)
	require.Equal(t, "128 MiB", found.Database.BufferPool)
	require.Equal(t, "workflow_steps: PRIMARY (id), unique_run_step (run_id, step); workflow_checkpoints: PRIMARY (id), checkpoint_id (checkpoint_id)",
		found.Database.Indexes, "as docs/schema.md has them")
	requireEmpty(t, dir)
}

// trigger does something once when something is written.
type trigger struct {
	tail

	on string
	do func()
}

func (w *trigger) Write(p []byte) (int, error) {
	n, err := w.tail.Write(p)
	if strings.Contains(w.String(), w.on) {
		w.do()
	}
	return n, err //nolint:wrapcheck // there is none.
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBenchRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what is not refused measures nothing, either
	for args, want := range map[string]string{
		"drian":               `no scenario is called "drian": persistd bench --list shows them`,
		"--size=10":           `bench: --size: size "10": want 64 to 512KiB, as in 256,1KiB,32KiB`,
		"--rounds=0":          "bench: --rounds: must be at least 1",
		"--assert --rounds=4": "bench: --assert judges medians of 5 rounds or more: give --rounds=5, or leave --assert out",
		"--connections=9":     "bench: --connections: must be 1 to 8",
		"--workers=1":         "bench: --workers: must be 2 to 256",
		"--workers=257":       "bench: --workers: must be 2 to 256",
		"--grown-rows=1":      "bench: --grown-rows: must be at least 1000",
		"--short --assert":    "bench: --short measures nothing that --assert could judge: give one of them",
		"--sync=sometimes":    `--sync must be one of "interval","always","both"`,
		"drain --engine=pgs":  `--engine must be one of "mariadb","mysql"`,
	} {
		_, err := persistd(ctx, nil, append([]string{"bench"}, strings.Fields(args)...)...)
		require.ErrorContains(t, err, want)
		require.Equal(t, codeUsage, exitCode(err), args)
	}
}

func TestBenchListsScenariosAndTargets(t *testing.T) {
	t.Parallel()
	out, err := persistd(t.Context(), nil, "bench", "--list")
	require.NoError(t, err)
	for _, s := range bench.Scenarios() {
		require.Contains(t, out, s.Name+": "+s.Help)
	}
	for _, target := range bench.Targets() {
		require.Contains(t, out, "  target: "+target.String()+"\n")
	}
	out, err = persistd(t.Context(), nil, "bench", "--list", "memory")
	require.NoError(t, err)
	require.NotContains(t, out, "drain:")
}

func TestBenchAssertExitsWithOneWhenATargetIsMissed(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	err := (&benchCmd{Assert: true}).verdict(&said, bench.Report{Results: []bench.Result{{Scenario: "x", Target: &bench.Bound{Of: bench.OfOurs}, Met: new(false)}}})
	require.ErrorContains(t, err, "bench: 1 of 1 targets missed: x")
	require.Equal(t, 1, exitCode(err))
	require.Contains(t, said.String(), "bench: not measured: memory: none of its 3 targets\n")
	said.Reset()
	require.NoError(t, (&benchCmd{}).verdict(&said, bench.Report{}), "unless nobody asked")
	require.Empty(t, said.String())
	require.ErrorContains(t, (&benchCmd{Assert: true}).verdict(&said, bench.Report{}), "nothing that has a target was measured")
}

func TestATargetThatWasNotMeasuredIsNamedAndNoFailure(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	var results []bench.Result
	for _, target := range bench.Targets() {
		if target.Size != bench.SizeSteps {
			results = append(results, bench.Result{Scenario: target.Scenario, Metric: target.Metric, Case: target.Case, Size: target.Size, Sync: target.Sync, Target: &target.Bound, Met: new(true)})
		}
	}
	require.NoError(t, (&benchCmd{Assert: true}).verdict(&said, bench.Report{Results: results}))
	require.Equal(t, "bench: not measured: drain, rate, steps: ratio ≥ 0.95\n", said.String())
}
