package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// diagnosis is what log and database say of each other.
type diagnosis struct {
	Database string    `json:"database"`
	Stream   string    `json:"stream"`
	Created  time.Time `json:"stream_created"`
	// Owner is the database that the log belongs to; its Database is "" while that is nobody's.
	Owner stream.Owner `json:"owner"`
	First uint64       `json:"first"`
	Last  wire.Place   `json:"last"`
	// Registered says that the database knows the log. Copy says that it knows another, of which this one is a copy.
	Registered bool             `json:"registered"`
	Copy       bool             `json:"copy,omitempty"`
	Partitions []partitionState `json:"partitions"`
	Gaps       []mysqlstore.Gap `json:"gaps"`
	// Findings are what is wrong, or will be said at the next start; none when all is well.
	Findings []finding `json:"findings"`

	pair pairing
	log  mysqlstore.Log
}

// partitionState is a partition in the database and in the log.
type partitionState struct {
	Partition int        `json:"partition"`
	Owner     string     `json:"owner,omitempty"`
	Position  wire.Place `json:"position"`
	Reached   wire.Place `json:"reached"`
	Trimmed   wire.Place `json:"trimmed"`
	// Missing is the last event that is neither here nor in the log; Short says why the log is not the one that the position is of.
	Missing wire.Place `json:"missing,omitzero"`
	Short   string     `json:"lost_end,omitempty"`
}

// finding is one thing that is wrong.
type finding struct {
	// Kind is foreign, lost-end, copy, made-again, gap or went-back.
	Kind string `json:"kind"`
	Text string `json:"text"`
	// Do is what can be done about it.
	Do string `json:"do"`
	// Itself is that nothing is to be done: persistd serve does it.
	Itself bool `json:"by_itself,omitempty"`

	where, why string // Text is both: of several findings the second may be one
}

// waiting are the findings that somebody has to do something about: to mend what is wrong, or to accept it.
func (d *diagnosis) waiting() (n int) {
	for _, f := range d.Findings {
		if !f.Itself {
			n++
		}
	}
	return n
}

// The kinds of findings.
const (
	findForeign   = "foreign"
	findLostEnd   = "lost-end"
	findCopy      = "copy"
	findMadeAgain = "made-again"
	findGap       = "gap"
	findWentBack  = "went-back"
)

// diagnose compares log and database. It changes nothing.
func diagnose(ctx context.Context, s *stream.Stream, store *mysqlstore.Store) (*diagnosis, error) {
	d := &diagnosis{
		Stream: s.Name(), Created: s.Created(), pair: pairing{stream: s, store: store},
		log: mysqlstore.Log{Stream: s.Name(), Created: s.Created(), Partitions: s.Partitions()},
	}
	info, err := s.Info(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was asked.
	}
	d.First, d.Last = info.First, wire.Place{Sequence: info.Last, Logged: info.LastLogged}
	if d.Database, err = store.Identity(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was read.
	}
	if err := d.pair.look(ctx, d.log); err != nil {
		return nil, err
	}
	d.Registered, d.Copy = len(d.pair.rows) > 0, d.pair.copied
	if d.Owner, err = s.Marks().Owner(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was read.
	}
	if d.Gaps, err = store.Gaps(ctx, s.Name(), false); err != nil {
		return nil, err //nolint:wrapcheck // it says what was read.
	}
	d.whose()
	rows, err := d.pair.original(ctx)
	if err != nil {
		return nil, err
	}
	for p := range s.Partitions() {
		var row mysqlstore.PartitionRow
		if p < len(rows) {
			row = rows[p]
		}
		if err := d.partition(ctx, p, row); err != nil {
			return nil, err
		}
	}
	for i := range d.Gaps {
		if g := &d.Gaps[i]; g.AcceptedAt.IsZero() {
			d.find(findGap, describeGap(g), "events are neither here nor in the log: "+g.Why, "restore a later backup, or persistd recover --accept-gap")
		}
	}
	return d, nil
}

// find adds what is wrong, where that is (in a partition, or "") and why.
func (d *diagnosis) find(kind, where, why, do string) {
	f := finding{Kind: kind, Text: why, Do: do, where: where, why: why}
	if where != "" {
		f.Text = where + ": " + why
	}
	d.Findings = append(d.Findings, f)
}

// mendsItself is find for what persistd serve sees to: only what it does is to be known.
func (d *diagnosis) mendsItself(kind, where, why, does string) {
	d.find(kind, where, why, "nothing: persistd serve "+does)
	d.Findings[len(d.Findings)-1].Itself = true
}

// findings is the list for people: what several have in common is said once.
func (d *diagnosis) findings() string {
	var out strings.Builder
	list := slices.Clone(d.Findings)
	for len(list) > 0 {
		first := list[0]
		alike := func(f finding) bool { return f.Kind == first.Kind && f.why == first.why && f.Do == first.Do }
		fmt.Fprintf(&out, "%s: %s\n", first.Kind, first.why)
		for _, f := range list {
			if alike(f) && f.where != "" {
				fmt.Fprintf(&out, "    %s\n", f.where)
			}
		}
		fmt.Fprintf(&out, "  do: %s\n", first.Do)
		list = slices.DeleteFunc(list, alike)
	}
	return out.String()
}

// whose says to whom the log belongs, and which log it is.
func (d *diagnosis) whose() {
	present := d.Owner.Created.Equal(d.Created)
	if (present || d.Copy) && d.Owner.Database != "" && d.Owner.Database != d.Database {
		d.find(findForeign, "", fmt.Sprintf("the log belongs to database %s, claimed by %q at %s; this is %s", d.Owner.Database, d.Owner.By,
			d.Owner.At.Format(time.RFC3339), d.Database), hintForeign)
	}
	if !present && !d.Copy {
		d.Owner = stream.Owner{} // of the log before
	}
	switch former := d.pair.former; {
	case d.Copy:
		d.mendsItself(findCopy, "", fmt.Sprintf("the log is a copy, made at %s, of the one made at %s", stampOf(d.Created), stampOf(former.Created)),
			"goes on where its original was (where the copy lost its end, that is a finding of its own)")
	case !d.Registered && former != nil:
		d.mendsItself(findMadeAgain, "", fmt.Sprintf("the log is a new one, made at %s; the one made at %s was applied up to %s", stampOf(d.Created),
			stampOf(former.Created), describePlace(former.Position)), "begins it, and says what is known to be lost of the one before")
	}
}

func (d *diagnosis) partition(ctx context.Context, p int, row mysqlstore.PartitionRow) error {
	s := d.pair.stream
	state := partitionState{Partition: p, Owner: row.Owner, Position: wire.Place{Sequence: row.Position, Logged: row.Logged}}
	mark, err := s.Marks().Partition(ctx, p)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	if d.Copy && mark.Created.Equal(d.pair.former.Created) || mark.Created.Equal(d.Created) {
		state.Reached, state.Trimmed = mark.Reached, mark.Trimmed
	}
	err = s.Examine(ctx, p, state.Position)
	switch {
	case errors.Is(err, stream.ErrShort):
		state.Short = err.Error()
		d.find(findLostEnd, state.Short, "the log lost its end, and what is new in it has sequences that are committed", "find out what was lost (docs/recovery.md); then persistd recover --accept-lost-end")
	case err != nil:
		return err //nolint:wrapcheck // it says what was examined.
	default:
		if err := d.behind(ctx, &state, mark); err != nil {
			return err
		}
	}
	d.Partitions = append(d.Partitions, state)
	return nil
}

// behind says what a position that is behind what was reached means.
func (d *diagnosis) behind(ctx context.Context, state *partitionState, mark stream.Mark) (err error) {
	if state.Missing, err = d.pair.stream.Missing(ctx, state.Partition, state.Position, mark); err != nil {
		return err //nolint:wrapcheck // it says what was looked for.
	}
	if state.Missing.Sequence > 0 && !d.recorded(state) {
		d.find(findGap, fmt.Sprintf("partition %d after %s through %s", state.Partition, describePlace(state.Position), describePlace(state.Missing)),
			"events are neither here nor in the log",
			"restore a later backup; or start persistd serve, which records the gap, and persistd recover --accept-gap")
	}
	if state.Reached.Sequence > max(state.Position.Sequence, state.Missing.Sequence) { // there is something left to apply again
		d.mendsItself(findWentBack, fmt.Sprintf("partition %d is at %s, and was at %s before", state.Partition,
			describePlace(state.Position), describePlace(state.Reached)), "the database was restored", "applies these events again")
	}
	return nil
}

// recorded reports whether what a partition misses is among the gaps.
func (d *diagnosis) recorded(state *partitionState) bool {
	for i := range d.Gaps {
		g := &d.Gaps[i]
		if g.Partition == state.Partition && g.Created.Equal(d.Created) && g.After.Sequence <= state.Position.Sequence && g.Through.Sequence >= state.Missing.Sequence {
			return true
		}
	}
	return false
}

// lostEnd is the way past the log's lost end: for each partition the newest event that is of the old log and was committed. It is found by the
// latest moment at which something is known to have been in the log: what the log holds of before then it held already, and what it
// was given again in place of what it lost came later.
func (d *diagnosis) lostEnd(ctx context.Context) (plan mysqlstore.LostEnd, until time.Time, err error) {
	for _, p := range d.Partitions {
		for _, at := range []wire.Place{p.Position, p.Reached} {
			if at.Logged.After(until) {
				until = at.Logged
			}
		}
	}
	if until.IsZero() {
		return plan, until, errors.New("accept lost end: no position's time is known (they were committed by an earlier version of persistd):" +
			" which events of the log are new cannot be told; set the positions by hand: docs/recovery.md")
	}
	for _, p := range d.Partitions {
		to, err := d.pair.stream.LastOf(ctx, p.Partition, p.Position.Sequence, until)
		if err != nil {
			return plan, until, err //nolint:wrapcheck // it says what was looked for.
		}
		to.Logged = to.Logged.Truncate(time.Microsecond)
		plan.From, plan.To = append(plan.From, p.Position), append(plan.To, to)
	}
	return plan, until, nil
}

func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }
