package demo

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/persistd/persistd/internal/devstack"
)

// key names one step.
type key struct {
	run  string
	step int
}

// digest is a state, for comparing.
type digest [sha256.Size]byte

// Ledger is what the workers know: which steps were acknowledged, with which state, and of which the outcome is unknown.
type Ledger struct {
	acknowledged atomic.Int64
	bytes        atomic.Int64
	reads        atomic.Int64
	wrongReads   atomic.Int64
	refused      atomic.Int64

	// normalised says that the database gives JSON back with the same value, not with the same bytes.
	normalised bool

	mu    sync.Mutex // guards what follows
	acked map[key]digest
	// maybe are steps whose saving failed: they may be there or not, but if they are there, then with this state.
	maybe map[key]digest
}

// newLedger is a ledger of states that engine keeps: MariaDB byte for byte, MySQL as the JSON value that they are.
func newLedger(engine devstack.Engine) *Ledger {
	return &Ledger{normalised: engine == devstack.MySQL, acked: map[key]digest{}, maybe: map[key]digest{}}
}

// digest is what two states are compared by.
func (l *Ledger) digest(state []byte) digest {
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

// tried notes a step before it is saved.
func (l *Ledger) tried(run string, step int, state []byte) {
	d := l.digest(state)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maybe[key{run, step}] = d
}

// saved notes that a tried step was acknowledged.
func (l *Ledger) saved(run string, step int, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{run, step}
	l.acked[k] = l.maybe[k]
	delete(l.maybe, k)
	l.acknowledged.Add(1)
	l.bytes.Add(int64(size))
}

// read checks what a worker loaded against what it knows was the last acknowledged step.
func (l *Ledger) read(run string, wantStep, step int, state []byte) {
	l.mu.Lock()
	want := l.acked[key{run, wantStep}]
	l.mu.Unlock()
	l.reads.Add(1)
	if step != wantStep || want != l.digest(state) {
		l.wrongReads.Add(1)
	}
}
