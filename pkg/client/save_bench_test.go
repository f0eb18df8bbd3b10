package client_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// BenchmarkSaveStep saves steps of 1 KiB, acknowledged by the log, and beside it, alternately, the same steps with the direct store, whose
// every write is a transaction of its own. What counts are the ratios: of the steps in a second, and of the time that a call takes. Client,
// nats-server and database share the machine.
func BenchmarkSaveStep(b *testing.B) {
	database, err := devstack.StartDatabase(b.Context(), devstack.DatabaseOptions{Engine: stacktest.Engine(b), Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(database.Kill)
	db, err := sql.Open("mysql", database.DSN(""))
	require.NoError(b, err)
	_, err = db.ExecContext(b.Context(), "CREATE DATABASE steps")
	require.NoError(b, errors.Join(err, db.Close()))
	for _, row := range []struct {
		name                 string
		workers, connections int
		sync                 bool
		options              []client.Option
	}{
		{"1 worker", 1, 1, false, nil},
		{"64 workers on one connection", 64, 1, false, nil},
		{"64 workers with a connection each", 64, 64, false, nil},
		{"1 worker, each write fsynced", 1, 1, true, nil},
		{"64 workers on one connection, each write fsynced", 64, 1, true, nil},
	} {
		b.Run(row.name, func(b *testing.B) {
			server, err := devstack.StartNATSProcess(b.Context(), devstack.NATSOptions{Dir: b.TempDir(), SyncAlways: row.sync})
			require.NoError(b, err)
			b.Cleanup(server.Kill)
			observe(b, server.URL()).create(b, -1)
			var logged, direct []client.Store[json1K]
			for range row.connections {
				logged = append(logged, open[json1K](b, server.URL(), row.options...))
			}
			st, err := client.NewMySQLStore[json1K](database.DSN("steps"), client.WithPool(client.Pool{MaxOpen: row.workers, MaxIdle: row.workers}))
			require.NoError(b, err)
			b.Cleanup(func() { _ = st.Close() })
			direct = append(direct, st)
			ours, theirs := measured{stores: logged, pid: server.Pid()}, measured{stores: direct, pid: database.Pid()}
			for round := 0; b.Loop(); round++ {
				order := []*measured{&ours, &theirs}
				if round%2 == 1 { // whoever goes first finds another machine than who goes second
					slices.Reverse(order)
				}
				for _, m := range order {
					require.NoError(b, m.round(b.Context(), row.workers, round))
				}
			}
			b.ReportMetric(0, "ns/op") // a round's length means nothing
			b.ReportMetric(median(ours.rates), "steps/s")
			b.ReportMetric(median(theirs.rates), "direct-steps/s")
			b.ReportMetric(ratio(ours.rates, theirs.rates), "rate-ratio")
			b.ReportMetric(ratio(ours.p50, theirs.p50), "p50-ratio")
			b.ReportMetric(ratio(ours.p99, theirs.p99), "p99-ratio")
			b.ReportMetric(median(ours.p50), "p50-us")
			b.ReportMetric(median(ours.p99), "p99-us")
			b.ReportMetric(median(ours.clientCPU), "client-cpu-us/step")
			b.ReportMetric(median(ours.serverCPU), "server-cpu-us/step")
			b.ReportMetric(median(ours.allocs), "allocs/step") // b.ReportAllocs would count a round, and the other side's
		})
	}
}

// json1K is a state of 1 KiB.
type json1K struct {
	N    int    `json:"n"`
	Text string `json:"text"`
	OK   bool   `json:"ok"`
}

var text1K = strings.Repeat("abcdefghijklmnopqrstuvwxyz012345", 30)

// benchRound is how long a round of one side is.
const benchRound = 700 * time.Millisecond

// measured is what was found of one side.
type measured struct {
	stores []client.Store[json1K]
	pid    int // of the server behind it

	rates, p50, p99, clientCPU, serverCPU, allocs []float64
}

// round has workers save steps of runs of their own, one after the other, for as long as a round is.
func (m *measured) round(ctx context.Context, workers, round int) error {
	var g errgroup.Group
	took := make([][]time.Duration, workers)
	own, server := cpuOf(os.Getpid()), cpuOf(m.pid)
	var earlier, later runtime.MemStats
	runtime.ReadMemStats(&earlier)
	started := time.Now()
	for w := range workers {
		g.Go(func() error {
			st, run := m.stores[w%len(m.stores)], fmt.Sprintf("run-%d-%d", round, w)
			for n := 0; time.Since(started) < benchRound; n++ {
				before := time.Now()
				if err := st.SaveStep(ctx, run, n, "node", json1K{n, text1K, true}); err != nil {
					return err
				}
				took[w] = append(took[w], time.Since(before))
			}
			return nil
		})
	}
	err := g.Wait()
	elapsed := time.Since(started)
	runtime.ReadMemStats(&later)
	all := slices.Concat(took...)
	slices.Sort(all)
	n := float64(len(all))
	m.allocs = append(m.allocs, float64(later.Mallocs-earlier.Mallocs)/n)
	m.rates = append(m.rates, n/elapsed.Seconds())
	m.p50 = append(m.p50, microseconds(all[len(all)/2]))
	m.p99 = append(m.p99, microseconds(all[len(all)*99/100]))
	m.clientCPU = append(m.clientCPU, microseconds(cpuOf(os.Getpid())-own)/n)
	m.serverCPU = append(m.serverCPU, microseconds(cpuOf(m.pid)-server)/n)
	return err
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// cpuOf is how much CPU time a process has used.
func cpuOf(pid int) time.Duration {
	if pid == os.Getpid() {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var user, system int64
	_, _ = fmt.Sscan(fields[11], &user)
	_, _ = fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond // in ticks, of which a second has 100
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}

// ratio is the median of the rounds' ratios.
func ratio(xs, ys []float64) float64 {
	ratios := make([]float64, len(xs))
	for i := range xs {
		ratios[i] = xs[i] / ys[i]
	}
	return median(ratios)
}
