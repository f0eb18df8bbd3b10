package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/persistd/persistd/internal/bench/rig"
)

// WriteJSON writes the results as a list of objects.
func WriteJSON(w io.Writer, r Report) error {
	results := r.Results
	if results == nil {
		results = []Result{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(results); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// WriteTable writes the results for people.
func WriteTable(w io.Writer, r Report) error {
	figures, costs := split(r.Results)
	t := figureTable(figures)
	t.SetStyle(table.StyleLight)
	out := t.Render() + "\n"
	if len(costs) > 0 {
		t = costTable(costs)
		t.SetStyle(table.StyleLight)
		out += "\nWhat each process used: µs of CPU for each step or call, µs for which threads of all could run and had no core, and MiB of memory at most\n" + t.Render() + "\n"
	}
	if names := r.unmeasured(); len(names) > 0 {
		out += "\nNot measured:\n  " + strings.Join(names, "\n  ") + "\n"
	}
	_, err := io.WriteString(w, out)
	return err //nolint:wrapcheck // the writer's own words.
}

// split parts the figures from what the processes used. What has a target is a figure, too.
func split(results []Result) (figures, costs []Result) {
	for _, r := range results {
		used := slices.ContainsFunc(processes, func(p string) bool {
			return slices.ContainsFunc(costSuffixes, func(suffix string) bool { return r.Metric == p+suffix })
		})
		if used {
			costs = append(costs, r)
		}
		if !used || r.Target != nil {
			figures = append(figures, r)
		}
	}
	return figures, costs
}

// figureTable has a row for each result.
func figureTable(results []Result) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"scenario", "of", "ours", "baseline", "ratio", "target", "met"})
	t.SetColumnConfigs(rightAligned(3, 5))
	for i := range results {
		r := &results[i]
		row := table.Row{r.Scenario, r.of(), spread(r.Ours, r.Spread.Ours, r.Rounds), "", "", "", ""}
		if r.Baseline != nil {
			row[3] = spread(*r.Baseline, *r.Spread.Baseline, r.Rounds)
		}
		if r.Ratio != nil {
			row[4] = spread(*r.Ratio, *r.Spread.Ratio, r.Rounds)
		}
		if r.Target != nil {
			row[5], row[6] = r.Target.String(), map[bool]string{true: "yes", false: "no"}[*r.Met]
		}
		t.AppendRow(row)
	}
	return t
}

// processes are in the order of the columns, what they cost too.
var (
	processes    = []string{rig.Client, rig.Daemon, rig.NATS, rig.Database}
	costSuffixes = []string{cpuSuffix, waitSuffix, memorySuffix}
)

// costTable has a row for each side of each measurement, and a column for each process.
func costTable(results []Result) table.Writer {
	t := table.NewWriter()
	head := table.Row{"scenario", "of", "side"}
	for _, p := range processes {
		head = append(head, p+" CPU")
	}
	head = append(head, "all wait")
	for _, p := range processes {
		head = append(head, p+" MiB")
	}
	t.AppendHeader(head)
	t.SetColumnConfigs(rightAligned(4, len(head)))
	for len(results) > 0 {
		first := results[0]
		same := func(r Result) bool { return r.Scenario == first.Scenario && r.place() == first.place() }
		n := slices.IndexFunc(results, func(r Result) bool { return !same(r) })
		if n < 0 {
			n = len(results)
		}
		t.AppendRow(costs(results[:n], "ours", ourFigure))
		if row := costs(results[:n], "baseline", baseline); row != nil {
			t.AppendRow(row)
		}
		results = results[n:]
	}
	return t
}

func ourFigure(r Result) *float64 { return &r.Ours }
func baseline(r Result) *float64  { return r.Baseline }

// costs is a row of costTable; nil when nothing is known of that side.
func costs(results []Result, side string, of func(Result) *float64) table.Row {
	known := false
	cell := func(metric string) string {
		v, ok := found(results, metric, of)
		if !ok {
			return ""
		}
		known = true
		return number(v)
	}
	row := table.Row{results[0].Scenario, results[0].place(), side}
	for _, p := range processes {
		row = append(row, cell(p+cpuSuffix))
	}
	row = append(row, "")
	if waited, ok := waited(results, of); ok {
		row[len(row)-1] = number(waited)
	}
	for _, p := range processes {
		row = append(row, cell(p+memorySuffix))
	}
	if !known {
		return nil
	}
	return row
}

// found is the figure of a metric among results.
func found(results []Result, metric string, of func(Result) *float64) (v float64, ok bool) {
	for _, r := range results {
		if r.Metric == metric && of(r) != nil {
			return *of(r), true
		}
	}
	return 0, false
}

// waited is for how long all processes' threads waited for a core; ok is false where that is not known of one.
func waited(results []Result, of func(Result) *float64) (sum float64, ok bool) {
	for _, p := range processes {
		if _, has := found(results, p+cpuSuffix, of); !has {
			continue
		}
		v, has := found(results, p+waitSuffix, of)
		if !has {
			return 0, false
		}
		sum, ok = sum+v, true
	}
	return sum, ok
}

func rightAligned(from, to int) (columns []table.ColumnConfig) {
	for i := from; i <= to; i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight})
	}
	return columns
}

// of says which figure of its scenario it is, and its unit.
func (r *Result) of() string {
	name := r.Metric
	if r.Unit != "" {
		name += ", " + r.Unit
	}
	if at := r.place(); at != "" {
		name += ": " + at
	}
	return name
}

// place says which of a scenario's measurements it is of.
func (r *Result) place() string {
	parts := []string{r.Case, r.Size}
	if r.Sync == SyncAlways {
		parts = append(parts, "sync always")
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// spread is a median with what it lies between.
func spread(median float64, e [2]float64, rounds int) string {
	if rounds == 1 {
		return number(median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(median), number(e[0]), number(e[1]))
}

// number has three digits that count.
func number(v float64) string {
	decimals := 2
	switch a := math.Abs(v); {
	case a >= 100:
		decimals = 0
	case a >= 10:
		decimals = 1
	case a < 1 && a > 0:
		decimals = 3
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}
