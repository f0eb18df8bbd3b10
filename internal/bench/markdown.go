package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// The part of the document that does not depend on what was measured stands between these.
const (
	beginMethod = "<!-- what is measured: begin -->\n"
	endMethod   = "<!-- what is measured: end -->\n"
)

// WriteMarkdown writes the document: what was measured how, on which machine, and what was found.
func WriteMarkdown(w io.Writer, r Report) error {
	var b strings.Builder
	b.WriteString(`# Benchmarks

<!-- Written by make bench. -->

What persistd reached once, on one machine, where client, nats-server, daemon and database shared the cores. Nothing here is a promise of
absolute speed: run ` + "`persistd bench`" + ` on the machine that counts. What carries over are the ratios: each scenario measures persistd and what one
would otherwise use alternately, in one process, on the same servers, and takes the median over the rounds.

`)
	b.WriteString(beginMethod + Method(Scenarios()) + endMethod)
	r.found(&b)
	_, err := io.WriteString(w, b.String())
	return err //nolint:wrapcheck // the writer's own words.
}

// Method is how everything is measured, and the targets, as Markdown.
func Method(scenarios []Scenario) string {
	var b strings.Builder
	b.WriteString("## What is measured\n\n")
	for _, s := range scenarios {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n%s\n\n", s.Name, s.Help, s.Method)
	}
	b.WriteString("## Targets\n\n| scenario | of | target | which is to say |\n| --- | --- | --- | --- |\n")
	for _, t := range Targets() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.Scenario, t.of(), t.Bound, t.Says)
	}
	b.WriteString("\n`persistd bench --assert` exits with 1 when one of them is missed.\n\n")
	return b.String()
}

// found is the machine and the figures.
func (r *Report) found(b *strings.Builder) {
	o := r.Options
	fmt.Fprintf(b, "## Measured\n\n%s; rounds: %d, connections: %d, workers: %d, states of %s%s.\n\n", r.Began.UTC().Format("2006-01-02"), o.Rounds, o.Connections, o.workers(), r.sizes(),
		map[bool]string{true: "; **short, which says nothing of speed**"}[o.Short])
	rows := [][2]string{
		{"CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"memory", r.Machine.Memory},
		{"kernel", r.Machine.Kernel},
		{"disk", r.Machine.Disk},
		{"persistd", r.Versions.Persistd},
		{"go", r.Versions.Go},
		{"nats-server", r.Versions.NATS},
		{"database", r.Versions.Database},
		{"its commits", r.Database.Commit},
		{"its buffer pool", r.Database.BufferPool},
		{"its indexes", r.Database.Indexes},
	}
	b.WriteString("| | |\n| --- | --- |\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s |\n", row[0], strings.ReplaceAll(row[1], "|", `\|`))
	}
	for _, f := range r.Failures {
		why, _, _ := strings.Cut(f.Err.Error(), "\n") // without any process's log
		fmt.Fprintf(b, "\n**Not measured to its end**: %s, sync %s: %s\n", f.Scenario, f.Sync, why)
	}
	b.WriteString("\nMedians, and what they lie between.\n\n")
	figures, costs := split(r.Results)
	b.WriteString(figureTable(figures).RenderMarkdown() + "\n")
	missed := r.missed()
	if len(missed) > 0 {
		b.WriteString("\nMissed:\n\n" + strings.Join(missed, ""))
	}
	if names := r.unmeasured(); len(names) > 0 {
		b.WriteString("\nNot measured:\n\n- " + strings.Join(names, "\n- ") + "\n")
	}
	if len(costs) > 0 {
		b.WriteString("\n### What each process used\n\nCPU time, user and system, in µs for each step or call; for how long threads of all of them could run and had no core, in µs for each; and the peak of the resident memory, in MiB. Medians.\n\n")
		b.WriteString(costTable(costs).RenderMarkdown() + "\n")
	}
}

// unknownReason stands where nobody knows why a target is missed.
const unknownReason = "No reason is known."

// missed lists the targets that were missed, each with the reason, or with that none is known.
func (r *Report) missed() (lines []string) {
	for i := range r.Results {
		f := &r.Results[i]
		if f.Met == nil || *f.Met {
			continue
		}
		reason := unknownReason
		if i := slices.IndexFunc(Targets(), func(t Target) bool { return t.fits(f) && t.Bound == *f.Target }); i >= 0 && Targets()[i].Missed != "" {
			reason = Targets()[i].Missed
		}
		lines = append(lines, fmt.Sprintf("- %s, %s: %s, and is %s. %s\n", f.Scenario, f.of(), f.Target, number(f.judged()), strings.TrimSpace(reason+" "+r.spent(f))))
	}
	return lines
}

// sizes is what the states measured.
func (r *Report) sizes() string {
	o := r.Options
	var names []string
	for _, s := range o.Sizes {
		names = append(names, SizeName(s))
	}
	if r.Steps != nil {
		names = append(names, r.Steps.String())
	}
	return strings.Join(names, ", ") + map[bool]string{true: "; the large table had " + humanize.Comma(int64(o.GrownRows)) + " rows"}[o.GrownRows > 0]
}

//go:generate go test . -run TestTheDocumentTells -update
