package batcher

import "time"

// PhaseName is what a batcher is doing.
type PhaseName string

// The phases of a batcher.
const (
	Idle       PhaseName = "idle"       // nothing is queued
	Committing PhaseName = "committing" // a batch is being gathered or committed
	Waiting    PhaseName = "waiting"    // an attempt failed; the next one comes after a pause
)

// Phase is what a batcher is doing and since when.
type Phase struct {
	Name  PhaseName
	Since time.Time
	// Err is what the batcher waits for to pass; set in Waiting only.
	Err error
	// Class is the class of Err.
	Class Class
}

// Phase is what b is doing now.
func (b *Batcher) Phase() Phase { return *b.phase.Load() }

// enter records a phase. Since is kept while the phase lasts: an outage is as old as its first failure.
func (b *Batcher) enter(name PhaseName, err *Error) {
	p := &Phase{Name: name, Since: time.Now()}
	if old := b.phase.Load(); old != nil && old.Name == name {
		p.Since = old.Since
	}
	if err != nil {
		p.Err, p.Class = err, err.Class
	}
	b.phase.Store(p)
}
