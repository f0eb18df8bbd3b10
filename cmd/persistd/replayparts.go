package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

// parts are the parts of the log that were asked for, from their beginnings.
func (r *replaying) parts(ctx context.Context) (parts []replay.Part, err error) {
	since := r.cmd.Since.Time
	if r.applied {
		again, err := r.o.store.LastRegistered(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what was read.
		}
		copied, err := r.o.stream.CopiedUntil(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what was looked for.
		}
		if made := r.o.stream.Created(); copied > 0 && made.After(again) {
			again = made
		}
		if again.After(since) {
			since = again
			fmt.Fprintf(r.std.err, "replay: begins with what was logged since %s, when the log was restored or registered again: what is older has other numbers here\n",
				again.Format(time.RFC3339))
		}
	}
	info, err := r.o.stream.Info(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was asked for.
	}
	for _, p := range r.cmd.Partitions {
		if p < 0 || p >= r.o.stream.Partitions() {
			return nil, fmt.Errorf("partition %d: the log has %d, from 0 on", p, r.o.stream.Partitions())
		}
	}
	for p := range r.o.stream.Partitions() {
		if !r.wants(p) {
			continue
		}
		until, err := r.until(ctx, p, info.Last)
		if err != nil {
			return nil, err
		}
		after, found, err := r.begin(ctx, p, since)
		if err != nil {
			return nil, err
		}
		if found && after < until {
			parts = append(parts, replay.Part{Partition: p, After: after, Until: until, Position: after})
		}
	}
	return parts, nil
}

// until is where the events of a partition end that are to be applied: last was the log's end as it began. Of a partition that ends before that its own
// end counts, with which whoever reads it knows at once that nothing more is to come.
func (r *replaying) until(ctx context.Context, p int, last uint64) (uint64, error) {
	if r.applied {
		return r.positions[p], nil
	}
	end, err := r.o.stream.End(ctx, p)
	return min(end, last), err //nolint:wrapcheck // it says what was looked for.
}

// begin is where the events of a partition begin that were asked for.
func (r *replaying) begin(ctx context.Context, p int, since time.Time) (after uint64, found bool, err error) {
	after, found, err = r.o.start(ctx, p, since)
	if err != nil || !found || r.cmd.FromSeq == 0 {
		return after, found, err
	}
	from, found, err := r.o.stream.After(ctx, p, r.cmd.FromSeq)
	return max(after, from), found, err //nolint:wrapcheck // it says what was looked for.
}

// wants reports whether partition p was asked for.
func (r *replaying) wants(p int) bool {
	if len(r.cmd.Partitions) > 0 && !slices.Contains(r.cmd.Partitions, p) {
		return false
	}
	return len(r.cmd.Runs) == 0 || slices.ContainsFunc(r.cmd.Runs, func(run string) bool {
		return wire.Partition(wire.DefaultNamespace, run, r.o.stream.Partitions()) == p
	})
}
