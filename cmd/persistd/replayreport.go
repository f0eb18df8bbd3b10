package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

// refusedEvent is an event that was not applied.
type refusedEvent struct {
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject"`
	Code     string `json:"code"`
	Reason   string `json:"reason"`
}

// replayed is what a replay did, or would do.
type replayed struct {
	Name    string `json:"name"`
	DryRun  bool   `json:"dry_run"`
	Resumed bool   `json:"resumed"`
	// Took is in seconds.
	Took    float64        `json:"took_seconds"`
	Parts   []replayedPart `json:"partitions"`
	Counts  replay.Counts  `json:"counts"`
	Refused []refusedEvent `json:"refused"`
}

type replayedPart struct {
	Partition int    `json:"partition"`
	After     uint64 `json:"after"`
	Until     uint64 `json:"until"`
	From      uint64 `json:"from"` // where this command began
}

// text is the report for people.
func (r *replayed) text() string {
	c := &r.Counts
	head := "replayed"
	if r.DryRun {
		head = "would be replayed"
	}
	t := newTable(head, "")
	add := func(what string, n int64, always bool) {
		if n > 0 || always {
			t.AppendRow(table.Row{what, humanize.Comma(n)})
		}
	}
	add("partitions", int64(len(r.Parts)), true)
	add("events", c.Events, true)
	add("runs", c.Runs, true)
	for _, op := range []wire.OpType{wire.OpStep, wire.OpCheckpoint, wire.OpCheckpointV2, wire.OpOutbox, wire.OpDeleteRun, wire.OpAttempt} {
		add("ops: "+op.String(), c.Ops[op.String()], false)
	}
	add("in the database now", c.Applied, !r.DryRun)
	add("said what was said before under their key", c.Same, false)
	add("duplicates of an idempotency key", c.Duplicates, false)
	add("of runs deleted since", c.Deleted, false)
	add("left out, as their keys are not there any more", c.Untold, false)
	add("refused", c.Refused, false)
	add("dead letters, passed over", c.Letters, false)
	add("of other runs, passed over", c.PassedOver, false)
	add("partitions that end within a transaction", c.Unfinished, false)
	var b strings.Builder
	b.WriteString(t.Render() + "\n")
	for _, f := range r.Refused {
		fmt.Fprintf(&b, "refused: event %d of %s: %s (%s)\n", f.Sequence, f.Subject, f.Reason, f.Code)
	}
	fmt.Fprintf(&b, "\nreplay %s took %s\n", r.Name, time.Duration(r.Took*float64(time.Second)).Round(10*time.Millisecond))
	return b.String()
}
