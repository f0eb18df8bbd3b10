package chaos

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/stretchr/testify/require"
)

// progress logs a line now and then until ctx ends.
func (sc *scenario) progress(ctx context.Context) {
	every := 5 * time.Second
	if sc.settings.long {
		every = 15 * time.Second
	}
	for pause(ctx, every) {
		killed, _ := sc.count(Kill)
		sc.mu.Lock()
		faults := len(sc.injected)
		sc.mu.Unlock()
		sc.t.Logf("%5.0fs  faults %d, of them kills %d; writes acknowledged %d, unknown %d, refused %d; reads %d, failed %d; history %d operations",
			time.Since(sc.began).Seconds(), faults, killed, sc.ledger.Count(Acked), sc.ledger.Count(Unknown), sc.ledger.Count(Refused),
			sc.board.reads.Load(), sc.board.failed.Load(), sc.linear.History.Len())
	}
}

// linearizable requires the history to be, and says how large it is.
func (sc *scenario) linearizable() string {
	sc.t.Helper()
	began := time.Now()
	require.NoError(sc.t, sc.linear.History.Check(10*time.Minute))
	n := &sc.linear.Counts
	return fmt.Sprintf("%s operations on %d keys, linearizable (found out in %s); %d of unknown outcome, %d failed",
		humanize.Comma(int64(sc.linear.History.Len())), sc.linear.History.Keys(), time.Since(began).Round(time.Millisecond), n.Unknown.Load(), n.Failed.Load())
}

// report prints what happened.
func (sc *scenario) report(v Verdict, history string) {
	sc.t.Helper()
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	row := func(what, format string, args ...any) { t.AppendRow(table.Row{what, fmt.Sprintf(format, args...)}) }
	row("seed, faults for", "%d, %s", sc.settings.seed, sc.stopped.Sub(sc.began).Round(time.Second))
	for _, kind := range append(OfProcesses, OfConnections...) {
		if n, surfaced := sc.count(kind); n > 0 {
			row("injected: "+string(kind), "%d, surfaced %d; %s", n, surfaced, sc.byTarget(kind))
		}
	}
	row("passed over: target was busy", "%d", sc.skipped)
	t.AppendSeparator()
	row("seen by daemons", "%s", sc.surfaced())
	row("until a partition commits again, after", "%s", sc.recovery())
	t.AppendSeparator()
	row("calls", "%s", sc.calls())
	row("writes: acknowledged, unknown, refused", "%s, %s, %s", comma(v.Acked), comma(v.Unknown), comma(v.Refused))
	row("unknown, and there", "%d", v.UnknownThere)
	row("rows and events checked", "%s, %s", comma(v.Rows), comma(v.Events))
	row("lost, altered, older, half there", "%d, %d, %d, %d", v.Lost, v.Altered, v.Older, v.Half)
	row("refused and there, swapped, applied twice", "%d, %d, %d", v.Ghosts, v.Swapped, v.Twice)
	row("positions that went back", "%d", v.Back)
	row("reads of active runs", "%s, none went back; %d failed", comma(int(sc.board.reads.Load())), sc.board.failed.Load())
	row("answered by", "%s", sc.answeredBy())
	row("history", "%s", history)
	sc.t.Logf("\n%s", t.Render())
}

func comma(n int) string { return humanize.Comma(int64(n)) }

// byTarget is on what the faults of a kind were.
func (sc *scenario) byTarget(kind Kind) string {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	n := map[string]int{}
	var order []string
	for _, f := range sc.injected {
		if f.Kind == kind {
			if n[f.Target] == 0 {
				order = append(order, f.Target)
			}
			n[f.Target]++
		}
	}
	parts := make([]string, len(order))
	for i, name := range order {
		parts[i] = fmt.Sprintf("%s %d", name, n[name])
	}
	return strings.Join(parts, ", ")
}

// surfaced is what the daemons' metrics and logs say of the faults.
func (sc *scenario) surfaced() string {
	var errs, retries, resets, letters float64
	lines := map[string]int{}
	texts := []string{`"connection lost"`, `"partition acquired"`, `"partition given up"`, `"read failed"`}
	for _, d := range sc.daemons {
		errs += d.counted("persistd_database_errors_total")
		retries += d.counted("persistd_retries_total")
		resets += d.counted("persistd_ingest_resets_total")
		letters += d.counted("persistd_events_dead_lettered_total")
		for text, n := range d.lines(texts...) {
			lines[text] += n
		}
	}
	return fmt.Sprintf("%.0f database errors, %.0f commits tried again, %.0f readers reset, %d connections to NATS lost,\n"+
		"%d terms begun, %d given up, %d reads failed, %.0f dead letters", errs, retries, resets,
		lines[texts[0]], lines[texts[1]], lines[texts[2]], lines[texts[3]], letters)
}

// recovery is how long it took after the kills, and after the other faults, until a partition committed what was begun after them, over all
// partitions.
func (sc *scenario) recovery() string {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	by := map[string][]time.Duration{}
	for _, f := range sc.injected {
		group := "other faults"
		if f.Kind == Kill {
			group = "kills of " + strings.TrimRight(f.Target, "-123")
		}
		each, _ := sc.probes.Recovered(f.at)
		by[group] = append(by[group], each...)
	}
	var out []string
	for _, group := range []string{"kills of persistd", "kills of nats-server", "kills of database", "other faults"} {
		if d := by[group]; len(d) > 0 {
			out = append(out, fmt.Sprintf("%s: p50 %s, p99 %s, max %s", group, round(Quantile(d, 0.5)), round(Quantile(d, 0.99)), round(Quantile(d, 1))))
		}
	}
	return strings.Join(out, "\n")
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func (sc *scenario) calls() string {
	var parts []string
	for i := range sc.fleet.kinds {
		parts = append(parts, fmt.Sprintf("%s %d", opNames[i], sc.fleet.kinds[i].Load()))
		if i%4 == 3 {
			parts[len(parts)-1] += "\n"
		}
	}
	return strings.ReplaceAll(strings.Join(parts, ", "), "\n, ", ",\n") + "; " + humanize.IBytes(uint64(sc.fleet.bytes.Load())) + " of states"
}

func (sc *scenario) answeredBy() string {
	parts := make([]string, len(sc.daemons))
	for i, d := range sc.daemons {
		parts[i] = fmt.Sprintf("%s %.0f", d.name, d.counted("persistd_request_duration_seconds_count", `verb="latest"`))
	}
	return strings.Join(parts, ", ") + " (as last scraped)"
}
