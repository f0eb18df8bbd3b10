package simulation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// database is the state of a database: what a backup holds.
type database struct {
	// partitions are the rows of persistd_partitions, by when their stream was made; generations are the streams'.
	partitions  map[time.Time][]partitionRow
	generations map[time.Time]uint32
	replicas    map[string]time.Time // until when each is known to be there
	steps       map[stepKey]stepRow
	runs        map[string]runRow
	checkpoints map[string]checkpointRow
	// names says that the store finds out which events the database refuses; else the batch is halved.
	names bool
	// applied counts how often each event was. No table has that: it is what the other rows would show if they were counters.
	applied map[place]int
}

type partitionRow struct {
	owner    string
	epoch    uint64
	position uint64
	logged   time.Time // when the event at position was, in whole microseconds
	until    time.Time
	writer   uint64 // the epoch of the last commit
}

type stepKey struct {
	run  string
	step int32
}

type stepRow struct {
	state, node string
	attempt     uint32
	at          place
}

type runRow struct{ attempt, latest uint32 } // that has begun, that has saved a step

type checkpointRow struct {
	state string
	step  int32
	at    place
}

// place is a place in the order of all logs.
type place struct {
	generation uint32
	sequence   uint64
}

func (p place) before(q place) bool {
	return p.generation < q.generation || p.generation == q.generation && p.sequence < q.sequence
}

func newDatabase() *database {
	return &database{
		partitions: map[time.Time][]partitionRow{}, generations: map[time.Time]uint32{}, replicas: map[string]time.Time{}, steps: map[stepKey]stepRow{},
		runs: map[string]runRow{}, checkpoints: map[string]checkpointRow{}, applied: map[place]int{},
	}
}

func (d *database) clone() *database {
	c := &database{
		partitions: maps.Clone(d.partitions), generations: maps.Clone(d.generations), replicas: maps.Clone(d.replicas), steps: maps.Clone(d.steps),
		names: d.names, runs: maps.Clone(d.runs), checkpoints: maps.Clone(d.checkpoints), applied: maps.Clone(d.applied),
	}
	for made, rows := range c.partitions {
		c.partitions[made] = slices.Clone(rows)
	}
	return c
}

// register sees to it that the stream's partitions have rows.
func (d *database) register(made time.Time, partitions int) uint32 {
	if d.generations[made] == 0 {
		d.generations[made] = uint32(len(d.generations)) + 1
	}
	if d.partitions[made] == nil {
		d.partitions[made] = make([]partitionRow, partitions)
	}
	return d.generations[made]
}

// acquire takes the partition, if its lease has ended by now.
func (d *database) acquire(row *partitionRow, owner string, reclaim bool, now time.Time) error {
	if row.owner != "" && !now.After(row.until) && (!reclaim || row.owner != owner) {
		return fmt.Errorf("%w: %q", partition.ErrHeld, row.owner)
	}
	row.owner, row.epoch, row.until = owner, row.epoch+1, time.Now().Add(lease)
	return nil
}

func lost(row *partitionRow) error {
	return &batcher.Error{Class: batcher.Lost, Err: fmt.Errorf("partition belongs to %q in epoch %d", row.owner, row.epoch)}
}

// apply writes events as one transaction does, or nothing: of attempts that are over, of what no column takes. unguarded leaves the
// comparison of places out.
func (d *database) apply(events []*wire.Event, generation uint32, unguarded bool) error {
	begun, byWrite := map[string]uint32{}, false
	stale := map[uint64]wire.Poison{}
	for _, ev := range events {
		if ev.Poison != nil || ev.RunID == "" {
			continue
		}
		newest := max(begun[ev.RunID], d.runs[ev.RunID].attempt)
		if ev.Attempt == 0 && onlyDeletes(ev.Ops) {
			continue // an operator's, which counts whatever attempt has begun
		}
		if ev.Attempt < newest {
			stale[ev.Message.Sequence] = wire.Poison{Code: wire.CodeAttempt, Reason: "attempt is over"}
			continue
		}
		byWrite = byWrite || ev.Attempt > newest
		begun[ev.RunID] = max(newest, ev.Attempt)
	}
	named := map[uint64]wire.Poison{}
	for _, ev := range events {
		for j := range ev.Ops {
			if _, over := stale[ev.Message.Sequence]; !over && ev.Ops[j].NodeID == tooLong {
				named[ev.Message.Sequence] = wire.Poison{Code: wire.CodeDatabase, Reason: "data too long for column", ErrorNumber: 1406}
			}
		}
	}
	switch {
	case len(stale) > 0 && (!byWrite || len(named) == 0): // what is refused begins no attempt
		return &batcher.Error{Class: batcher.Refused, Refused: stale, Err: errors.New("attempts are over")}
	case len(named) > 0 && d.names:
		return &batcher.Error{Class: batcher.Refused, Number: 1406, Refused: named, Err: errors.New("data too long for column")}
	case len(named) > 0:
		return &batcher.Error{Class: batcher.Never, Number: 1406, Err: errors.New("data too long for column")}
	}
	for _, ev := range events {
		if ev.Poison == nil {
			d.applied[place{generation, ev.Message.Sequence}]++
			d.write(ev, place{generation, ev.Message.Sequence}, unguarded)
		}
	}
	return nil
}

func onlyDeletes(ops []wire.Op) bool { return len(ops) == 1 && ops[0].Type == wire.OpDeleteRun }

// tooLong is what no node is called: the database does not take it.
const tooLong = "a name that is too long"

func (d *database) write(ev *wire.Event, at place, unguarded bool) {
	run := d.runs[ev.RunID]
	run.attempt = max(run.attempt, ev.Attempt)
	for i := range ev.Ops {
		switch op := &ev.Ops[i]; op.Type {
		case wire.OpStep:
			k := stepKey{ev.RunID, op.Step}
			if old, ok := d.steps[k]; !ok || unguarded || !at.before(old.at) {
				d.steps[k] = stepRow{state: string(op.State), node: op.NodeID, attempt: ev.Attempt, at: at}
			}
			run.latest = max(run.latest, ev.Attempt)
		case wire.OpDeleteRun:
			maps.DeleteFunc(d.steps, func(k stepKey, _ stepRow) bool { return k.run == ev.RunID })
			run.latest = 0
		case wire.OpCheckpoint:
			if old, ok := d.checkpoints[op.ID]; !ok || unguarded || !at.before(old.at) {
				d.checkpoints[op.ID] = checkpointRow{state: string(op.State), step: op.Step, at: at}
			}
		default:
		}
	}
	if ev.RunID != "" {
		d.runs[ev.RunID] = run
	}
}

// history is all steps of the run.
func (d *database) history(run string) (all []wire.StepRecord) {
	for k, s := range d.steps {
		if k.run == run {
			all = append(all, wire.StepRecord{Step: k.step, Attempt: s.attempt, State: []byte(s.state)})
		}
	}
	slices.SortFunc(all, func(a, b wire.StepRecord) int { return int(a.Step - b.Step) })
	return all
}

// latest is the row that readers of the run get.
func (d *database) latest(run string, generation uint32) (step *wire.StepRecord, begun uint32) {
	for k, s := range d.steps {
		if k.run != run || s.attempt != d.runs[run].latest || step != nil && step.Step >= k.step {
			continue
		}
		step = &wire.StepRecord{Step: k.step, NodeID: s.node, Attempt: s.attempt, State: []byte(s.state)}
		if s.at.generation == generation {
			step.Sequence = s.at.sequence
		}
	}
	return step, d.runs[run].attempt
}
