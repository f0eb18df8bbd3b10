package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/persistd/persistd/internal/verify"
)

// verified is what a comparison found.
type verified struct {
	Clean  bool      `json:"clean"`
	Stream string    `json:"stream"`
	Since  time.Time `json:"since,omitzero"`
	// Took is in seconds.
	Took       float64           `json:"took_seconds"`
	Partitions []verifiedRange   `json:"partitions"`
	Counts     verify.Counts     `json:"counts"`
	Findings   []verifiedFinding `json:"findings"`
}

// verifiedRange is what was compared of a partition: its events after After, up to and with Until.
type verifiedRange struct {
	Partition int    `json:"partition"`
	After     uint64 `json:"after"`
	Until     uint64 `json:"until"`
}

type verifiedFinding struct {
	Kind       verify.Kind `json:"kind"`
	Table      string      `json:"table"`
	ID         string      `json:"id"`
	Step       *int32      `json:"step,omitempty"`
	Generation uint32      `json:"generation"`
	Sequence   uint64      `json:"sequence"`
	Columns    []string    `json:"columns,omitempty"`
	Detail     string      `json:"detail"`
}

// add adds a partition's window.
func (r *verified) add(c *verify.Config, p int, after, until uint64) {
	if after < until {
		c.Windows[p] = verify.Window{After: after, Until: until}
		r.Partitions = append(r.Partitions, verifiedRange{p, after, until})
	}
}

func findingOf(f verify.Finding) verifiedFinding {
	out := verifiedFinding{
		Kind: f.Kind, Table: f.Key.Table.String(), ID: f.Key.ID, Generation: f.Place.Generation, Sequence: f.Place.Sequence,
		Columns: f.Columns, Detail: f.Detail,
	}
	if f.Key.Table == verify.Steps || f.Key.Table == verify.CheckpointsV2 {
		out.Step = &f.Key.Step
	}
	return out
}

// kinds counts the findings by kind.
func (r *verified) kinds() string {
	var parts []string
	for _, k := range []verify.Kind{verify.Missing, verify.Different, verify.Stale, verify.Extra, verify.Letter} {
		if n := r.Counts.Findings[k]; n > 0 {
			name := string(k)
			if k == verify.Letter {
				name = "without a dead letter"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

// text is the report for people.
func (r *verified) text() string {
	var b strings.Builder
	if len(r.Findings) > 0 {
		t := newTable("finding", "table", "id", "step", "sequence", "what")
		for _, f := range r.Findings {
			var step any = "–"
			if f.Step != nil {
				step = *f.Step
			}
			what := f.Detail
			if len(f.Columns) > 0 {
				what += ": " + strings.Join(f.Columns, ", ")
			}
			t.AppendRow(table.Row{string(f.Kind), f.Table, f.ID, step, f.Sequence, what})
		}
		b.WriteString(t.Render() + "\n")
		var total int64
		for _, n := range r.Counts.Findings {
			total += n
		}
		if more := total - int64(len(r.Findings)); more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
		b.WriteString("\n")
	}
	c := &r.Counts
	t := newTable("compared", "")
	for _, line := range []struct {
		what string
		n    int64
	}{
		{"events of the log", c.Events},
		{"rows as their event says", c.Rows},
		{"rows with a later write", c.Superseded},
		{"events of runs deleted since", c.Deleted},
		{"duplicates of an idempotency key", c.Duplicates},
		{"dead letters", c.Letters},
		{"events that keys no longer tell of", c.Untold},
		{"rows looked through", c.Scanned},
		{"rows that persistd did not write", c.Foreign},
	} {
		t.AppendRow(table.Row{line.what, humanize.Comma(line.n)})
	}
	b.WriteString(t.Render() + "\n\n")
	took := time.Duration(r.Took * float64(time.Second)).Round(10 * time.Millisecond)
	if r.Clean {
		fmt.Fprintf(&b, "log and database agree (%s)\n", took)
	} else {
		fmt.Fprintf(&b, "log and database differ: %s (%s)\n", r.kinds(), took)
	}
	return b.String()
}
