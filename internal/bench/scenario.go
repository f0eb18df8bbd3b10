package bench

import (
	"cmp"
	"context"

	"github.com/persistd/persistd/internal/bench/rig"
	"github.com/persistd/persistd/internal/devstack"
)

// Sync is when the nats-server writes the log through to its disk.
type Sync string

// The ways to sync.
const (
	SyncInterval Sync = "interval" // every two minutes, its default
	SyncAlways   Sync = "always"   // before each acknowledgement
)

// Scenario is one thing that is measured.
type Scenario struct {
	// Name is what it is called by on the command line.
	Name string
	// Help is a sentence for those who choose: what is measured, against what.
	Help string
	// Method says what is counted and what is not. It is printed into the document.
	Method string
	// Syncs says that it matters how the log syncs, so that with --sync=both it is measured with both.
	Syncs bool
	// Run measures. It has a fresh rig for itself, with no daemon running, and reports through b.
	Run func(ctx context.Context, b *Bench) error
}

// Options says how much is measured.
type Options struct {
	// Rounds is how often each side is measured.
	Rounds int
	// Sizes are the sizes of made-up states in bytes, for the scenarios where the size matters.
	Sizes []int
	// Steps is a file of real steps; empty is none. See [Recorded].
	Steps string
	// Sync lists how the log is to sync.
	Sync []Sync
	// Engine is the database server.
	Engine devstack.Engine
	// Connections is how many commits the daemon has in flight, and how many connections a baseline of the log's side has.
	Connections int
	// Workers is how many workers many are, in the scenarios save, fleet and checkpoint; zero is 64, of which the targets are.
	Workers int
	// GrownRows is how many rows the table of the scenario `grown` has.
	GrownRows int
	// Short makes everything so small that it says nothing, to see that it works: one round, and no targets.
	Short bool
	// Dir is where a folder for all data is made, and removed; empty is the system's place for temporary files.
	Dir string
	// Binary is the persistd whose daemon is measured; empty is this program itself.
	Binary string
	// Version is persistd's.
	Version string
	// Watch is told of the progress; nil is nobody.
	Watch Watcher
}

// fleetWorkers is how many workers many are, unless somebody says otherwise.
const fleetWorkers = 64

func (o Options) workers() int { return cmp.Or(o.Workers, fleetWorkers) }

// Watcher is told of the progress. Its methods are called one after the other.
type Watcher interface {
	// Say tells what is being done.
	Say(what string)
	// Begin tells that so many measurements of something follow.
	Begin(what string, measurements int)
	// Done tells that one of them is done.
	Done()
	// End tells that no more follow, whether or not all were done.
	End()
}

// Bench is what a scenario measures with: servers, and a place for results.
type Bench struct {
	Options

	// Rig is the servers, for this scenario alone.
	Rig *rig.Rig
	// Mode is how this rig's log syncs.
	Mode Sync

	scenario string
	again    bool // this scenario was measured before, with another Mode
	pools    pools
	results  []Result
	order    int // of the runs whose ids are in order
}

// Count is n, or the other number where everything is to be tiny.
func (b *Bench) Count(n, short int) int {
	if b.Short {
		return short
	}
	return n
}

// Say tells what is being done.
func (b *Bench) Say(what string) { b.Watch.Say(b.scenario + ": " + what) }

// silent is nobody.
type silent struct{}

func (silent) Say(string)        {}
func (silent) Begin(string, int) {}
func (silent) Done()             {}
func (silent) End()              {}
