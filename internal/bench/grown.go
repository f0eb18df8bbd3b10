package bench

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/dustin/go-humanize"
)

// grownScenario: whether a table that has grown takes rows more slowly.
func grownScenario() Scenario {
	return Scenario{
		Name: "grown",
		Help: "A drain into a table that has 10,000,000 rows, against one into an empty table.",
		Method: `A table is filled beforehand, by the server itself, with rows of 250 B states, 20 steps a run. It takes the place of the empty one, by renaming,
for the measurements of ours; both are drains of 250 B steps as the scenario drain measures them. "ids in order" has run ids that begin with
the time, as ULIDs and UUIDv7 do: new rows go to one end of the index. "ids at random" has hexadecimal ids, as UUIDv4 are: each row of a new run goes to
another page of the index, which is many times the buffer pool of 128 MiB that the private server has, so what is measured is mostly
that server's disk. What the drains add stays; it is less than a twentieth of the rows.`,
		Run: func(ctx context.Context, b *Bench) error {
			rows := b.Count(b.GrownRows, 1000)
			b.Say("filling a table with " + humanize.Comma(int64(rows)) + " rows")
			if err := b.Rig.Grow(ctx, rows, stepsOfRun); err != nil {
				return err //nolint:wrapcheck // it says what was filled.
			}
			for _, c := range []struct{ name, prefix string }{{caseInOrder, "zz"}, {caseAtRandom, ""}} {
				if err := b.grown(ctx, c.name, c.prefix); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// How the new runs' ids lie among those that are there.
const (
	caseInOrder  = "ids in order"
	caseAtRandom = "ids at random"
)

const (
	grownState = 250
	grownSteps = 60_000
)

func (b *Bench) grown(ctx context.Context, name, prefix string) error {
	n, rng := b.Count(grownSteps, 200), rand.New(rand.NewPCG(3, 4))
	w := Sized(grownState)
	steps := func() []Step { // other runs each time: those of before are still there
		made := w.Make(prefix, n)
		ids := map[string]string{}
		for i, s := range made {
			id, ok := ids[s.Run]
			if !ok {
				id = fmt.Sprintf("%s%016x", prefix, rng.Uint64())
				if prefix != "" {
					id = fmt.Sprintf("%s%08x-%08x", prefix, b.order, rng.Uint32())
				}
				ids[s.Run] = id
			}
			made[i].Run = id
		}
		b.order++
		return made
	}
	s, err := b.Compare(ctx, name,
		func(ctx context.Context) (_ Sample, err error) {
			if err := b.Rig.SwapGrown(ctx); err != nil {
				return nil, err //nolint:wrapcheck // it says what was renamed.
			}
			s, err := b.drainInto(ctx, steps())
			if swapErr := b.Rig.SwapGrown(context.WithoutCancel(ctx)); err == nil {
				err = swapErr
			}
			return s, err
		},
		func(ctx context.Context) (Sample, error) {
			if err := b.Rig.EmptyTables(ctx); err != nil {
				return nil, err //nolint:wrapcheck // it says what was emptied.
			}
			return b.drainInto(ctx, steps())
		})
	if err != nil {
		return err
	}
	return b.Report(Place{Case: name, Size: w.Size}, s, metricRate)
}

// drainInto drains the steps into the table as it is.
func (b *Bench) drainInto(ctx context.Context, steps []Step) (Sample, error) {
	if err := b.Rig.EmptyLog(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	if err := b.fill(ctx, steps); err != nil {
		return nil, err
	}
	last, err := b.Rig.LastRow(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was read.
	}
	if err := b.Rig.Settle(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	s, err := b.catchUp(ctx, len(steps), func() {})
	if err != nil {
		return nil, err
	}
	n, err := b.Rig.CountAfter(ctx, last)
	if err == nil && n != len(steps) {
		err = fmt.Errorf("%d rows are new in the table, not %d", n, len(steps))
	}
	return s, err
}
