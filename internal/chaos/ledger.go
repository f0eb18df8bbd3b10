package chaos

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
)

// Outcome is what a worker was told of a write.
type Outcome uint8

// The outcomes. A write is Open until it is settled; one that never is counts as Unknown.
const (
	Open    Outcome = iota
	Acked           // it is in the log, and must be in the database
	Unknown         // it may be there or not, but whole
	Refused         // nothing of it is there, and never will be
)

// Key names a row: a step of a run, a named checkpoint (whose Step is 0), or a V2 checkpoint of a run.
type Key struct {
	Table Table
	ID    string
	Step  int
}

// Table is where a row is.
type Table string

// The tables.
const (
	Steps         Table = "workflow_steps"
	Checkpoints   Table = "workflow_checkpoints"
	CheckpointsV2 Table = "workflow_checkpoints_v2"
)

func (k Key) String() string { return fmt.Sprintf("%s %s/%d", k.Table, k.ID, k.Step) }

// Digest is a state, for comparing.
type Digest [sha256.Size]byte

// Unit is what one call writes: all of it or nothing.
type Unit struct {
	// No is its place among its owner's, from 1.
	No int
	// Lane names the sequence of the log that it goes through: its run, or the checkpoint that it is alone. Within one the order of the
	// calls is that of the log.
	Lane string
	// Life counts the worker's clients: what one that died left behind may come after what its successor wrote, unless it is fenced.
	Life int
	// Fenced says that it is a write of a run of which an attempt begins with each new life: from then on it cannot come any more.
	Fenced bool

	rows    map[Key]Digest
	events  []string
	owner   *owner
	outcome Outcome
}

// Ledger is what the workers did and were told. Its methods may be called concurrently.
type Ledger struct {
	// normalised says that the database gives JSON back with the same value, not with the same bytes.
	normalised bool

	mu     sync.Mutex // guards what follows, and what it points to
	owners map[string]*owner
	count  [Refused + 1]int64
}

// owner is whoever writes some keys alone, one call after the other: a worker at one run.
type owner struct {
	name  string
	units []*Unit
}

// NewLedger is an empty one. normalised is whether the database keeps the value of a JSON document and not its bytes, as MySQL does.
func NewLedger(normalised bool) *Ledger {
	return &Ledger{normalised: normalised, owners: map[string]*owner{}}
}

// Digest is what two states are compared by.
func (l *Ledger) Digest(state []byte) Digest {
	if l.normalised {
		var v any
		if err := json.Unmarshal(state, &v); err == nil { // what is no JSON is compared as it is
			if one, err := json.Marshal(v); err == nil {
				state = one
			}
		}
	}
	return sha256.Sum256(state)
}

// Begin notes what a call is about to write: the states of rows, each of which is written by nobody else and by no other call, and events
// by their ids. u says the rest.
func (l *Ledger) Begin(ownerName string, u Unit, rows map[Key]json.RawMessage, events ...string) *Unit {
	u.rows, u.events = make(map[Key]Digest, len(rows)), events
	for k, state := range rows {
		u.rows[k] = l.Digest(state)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.owners[ownerName]
	if o == nil {
		o = &owner{name: ownerName}
		l.owners[ownerName] = o
	}
	u.owner, u.No, u.outcome = o, len(o.units)+1, Open
	o.units = append(o.units, &u)
	l.count[Open]++
	return &u
}

// Settle notes what was told of a unit.
func (l *Ledger) Settle(u *Unit, o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count[u.outcome]--
	l.count[o]++
	u.outcome = o
}

// Count is how many units have an outcome.
func (l *Ledger) Count(o Outcome) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[o]
}

// Next is the number that the owner's next unit will have.
func (l *Ledger) Next(ownerName string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o := l.owners[ownerName]; o != nil {
		return len(o.units) + 1
	}
	return 1
}
