package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is what a fault does.
type Kind string

// The kinds of faults: of processes, then of connections.
const (
	Kill Kind = "kill" // SIGKILL, and a start after a while
	Stop Kind = "stop" // SIGSTOP, and SIGCONT after a while

	Latency   Kind = "latency"    // all data comes late, by times that vary
	Bandwidth Kind = "bandwidth"  // few bytes a second
	Slices    Kind = "slices"     // data comes in small pieces
	Reset     Kind = "reset"      // connections are reset as soon as they carry data
	Cut       Kind = "cut"        // connections end in the middle of what they carry
	BlackHole Kind = "black hole" // data vanishes, both ways
	OneWay    Kind = "one way"    // data vanishes in one direction
	Hold      Kind = "hold"       // data is held up in one direction or both, and comes when the fault is over
	HalfOpen  Kind = "half open"  // the server's side of the connections ends, and the client is not told
)

// OfProcesses are the kinds that befall processes, OfConnections those that befall connections.
var (
	OfProcesses   = []Kind{Kill, Stop}
	OfConnections = []Kind{Latency, Bandwidth, Slices, Reset, Cut, BlackHole, OneWay, Hold, HalfOpen}
)

// Fault is one of a plan.
type Fault struct {
	// No is its number, from 1.
	No int
	// After is the pause since the fault before it began.
	After time.Duration
	// Kind befalls Target, for the time For: until it is started again, continued or mended.
	Kind   Kind
	Target string
	For    time.Duration
	// Amount, from 0 to 1, is how bad it is, where that can vary. Up and Down say in which directions, where it has one.
	Amount   float64
	Up, Down bool
}

func (f Fault) String() string {
	way := ""
	switch {
	case f.Up && f.Down, !f.Up && !f.Down:
	case f.Up:
		way = " upstream"
	default:
		way = " downstream"
	}
	return fmt.Sprintf("%s%s of %s for %s", f.Kind, way, f.Target, f.For.Round(time.Millisecond))
}

// Target is what faults befall.
type Target struct {
	Name string
	// Weight is how often, against the others' weights. At least 1.
	Weight int
}

// Pace is how often, and for how long, something fails.
type Pace struct {
	// Between is the mean pause between two faults, which vary from nothing to twice of it.
	Between time.Duration
	// Shortest and Longest are the bounds of a fault's time; short ones are more frequent than long ones.
	Shortest, Longest time.Duration
}

// Plan is an endless sequence of faults. The n-th is the same whenever the seed and everything else is. It is for one goroutine.
type Plan struct {
	draw    *rand.Rand
	kinds   []Kind
	targets []Target
	total   int
	pace    Pace
	last    int
}

// NewPlan draws from seed. Kinds may be named more than once, to be more frequent.
func NewPlan(seed uint64, kinds []Kind, targets []Target, pace Pace) *Plan {
	p := &Plan{draw: rand.New(rand.NewPCG(seed, 0xc4a05)), kinds: kinds, targets: targets, pace: pace}
	for _, t := range targets {
		p.total += t.Weight
	}
	return p
}

// Next is the next fault. Every number is drawn for every fault, so that what is drawn for one does not depend on what the others are.
func (p *Plan) Next() Fault {
	p.last++
	f := Fault{No: p.last, Kind: p.kinds[p.draw.IntN(len(p.kinds))], Target: p.target(p.draw.IntN(p.total))}
	f.After = time.Duration(p.draw.Float64() * 2 * float64(p.pace.Between))
	long := p.draw.Float64()
	f.For = p.pace.Shortest + time.Duration(long*long*float64(p.pace.Longest-p.pace.Shortest))
	f.Amount = p.draw.Float64()
	way := p.draw.IntN(3)
	f.Up, f.Down = way != 1, way != 0
	if f.Kind == OneWay && f.Up && f.Down {
		f.Up = p.last%2 == 0
		f.Down = !f.Up
	}
	return f
}

func (p *Plan) target(n int) string {
	for _, t := range p.targets {
		if n -= t.Weight; n < 0 {
			return t.Name
		}
	}
	panic("assertion: the weights add up to the total")
}
