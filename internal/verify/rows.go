package verify

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Place is where in the order of all logs a row was written; the zero place is of what no log wrote.
type Place struct {
	Generation uint32
	Sequence   uint64
}

// Before reports whether p is before q.
func (p Place) Before(q Place) bool {
	return cmp.Or(cmp.Compare(p.Generation, q.Generation), cmp.Compare(p.Sequence, q.Sequence)) < 0
}

// Table is one of the tables that are compared.
type Table uint8

// The tables. Runs are where attempts began and what was deleted.
const (
	Steps Table = iota
	Checkpoints
	CheckpointsV2
	Keys
	Outbox
	Runs
)

// Tables are all of them.
func Tables() []Table { return []Table{Steps, Checkpoints, CheckpointsV2, Keys, Outbox, Runs} }

var tableNames = [...]string{
	Steps: "workflow_steps", Checkpoints: "workflow_checkpoints", CheckpointsV2: "workflow_checkpoints_v2", Keys: "idempotency_keys",
	Outbox: "events_outbox", Runs: "persistd_runs",
}

// String is the table's name in the database.
func (t Table) String() string {
	if int(t) < len(tableNames) {
		return tableNames[t]
	}
	return fmt.Sprintf("table(%d)", uint8(t))
}

// Key names a row.
type Key struct {
	Table Table
	// ID is the run of a step, a V2 checkpoint or a row of runs, and else the row's own id: a named checkpoint's, a key, an outbox event's.
	ID string
	// Step is of steps and V2 checkpoints.
	Step int32
}

// String is the key for people.
func (k Key) String() string {
	if k.Table == Steps || k.Table == CheckpointsV2 {
		return fmt.Sprintf("%s %q step %d", k.Table, k.ID, k.Step)
	}
	return fmt.Sprintf("%s %q", k.Table, k.ID)
}

// Row is a row of a table: the columns that it has.
type Row struct {
	Place Place
	// RunID is of keys and outbox events, Step of named checkpoints and keys: what is not the row's key.
	RunID string
	Step  int32

	NodeID, Label, IdempotencyKey string
	Attempt                       uint32
	State, Frontier, RecordedIOs  []byte
	RNGSeed                       int64
	Timestamp                     time.Time
	ContentHash                   []byte
}

// RunRow is a row of persistd_runs; the zero value when there is none.
type RunRow struct {
	// Attempt is the newest that has begun, there by the event at Begun; Latest the newest that has saved a step.
	Attempt, Latest uint32
	Begun           Place
	// Deleted is the event that last deleted the run.
	Deleted Place
}

// Claim is what a row says of itself: that it was written at a place.
type Claim struct {
	Key   Key
	RunID string // of every table but Checkpoints
	Place Place
	// Deleted is where the row's run was last deleted.
	Deleted Place
}

// Database is what is compared with the log. Its methods may be called concurrently; they write and lock nothing.
//
// Order matters: who reads rows first and runs afterwards finds, of every row that a deletion took, that deletion.
type Database interface {
	// Generation is the number of the log in this database.
	Generation() uint32
	// Positions are how far the partitions are, by their numbers. No row that was read before says that it is from beyond them.
	Positions(ctx context.Context) ([]uint64, error)
	// Rows reads the rows of keys; those that are not there are not in the answer. Contents are only read of rows that were written in
	// this generation by one of the sequences from first to last. None of the keys is of Runs.
	Rows(ctx context.Context, keys []Key, first, last uint64) (map[Key]Row, error)
	// Runs reads rows of persistd_runs.
	Runs(ctx context.Context, ids []string) (map[string]RunRow, error)
	// Claims reads a page of a table, of all runs or those given, in an order of its own after a cursor, which is "" at the beginning. next
	// is "" at the end. A row of Runs has a claim for each of its places.
	Claims(ctx context.Context, table Table, runs []string, after string) (claims []Claim, next string, err error)
}

// Log is the log.
type Log interface {
	// Range calls deliver with the events of partition after a sequence, up to and with another, in log order.
	Range(ctx context.Context, partition int, after, until uint64, deliver func(context.Context, wire.Event) error) error
	// Event finds the event of a sequence; found is false when the log has it no more.
	Event(ctx context.Context, seq uint64) (ev wire.Event, found bool, err error)
}

// Letters are the dead letters.
type Letters interface {
	// DeadLetter returns why an event is a dead letter; found is false when it is none.
	DeadLetter(ctx context.Context, partition int, seq uint64) (reason wire.Poison, found bool, err error)
}
