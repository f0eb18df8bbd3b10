package chaos

import (
	"sync"
	"sync/atomic"

	"github.com/Shopify/toxiproxy/v2/toxics"
)

// What toxiproxy does not have. A toxic sees what goes in one direction of a connection: chunks come in at its Input, nil (or a closed
// channel) when that side has ended, and closing its Output ends the other side. It is interrupted when toxics are added or removed.

func init() { //nolint:gochecknoinits // as toxiproxy's own are: its registry is a global.
	toxics.Register("hold", new(holdToxic))
	toxics.Register("sever", new(severToxic))
	toxics.Register("mute", new(muteToxic))
	toxics.Register("meter", new(meterToxic))
}

// holdToxic keeps back whatever comes, and the end of the connection, until it is removed: then all of it goes on, in order. So a network
// does that loses packets for a while.
type holdToxic struct{}

func (*holdToxic) Pipe(stub *toxics.ToxicStub) { <-stub.Interrupt }

// aged tells connections that are there from those that are made once it is late.
type aged struct{ late atomic.Bool }

// NewState is called for each connection that meets the toxic.
func (a *aged) NewState() any { return a.late.Load() }

// spares passes everything on where the connection was made late.
func (a *aged) spares(stub *toxics.ToxicStub) bool {
	if stub.State != true {
		return false
	}
	new(toxics.NoopToxic).Pipe(stub)
	return true
}

// severToxic ends the other side's connection at once; what comes from this side vanishes, and it is not told. With a muteToxic in the
// other direction the connection is half open.
type severToxic struct{ aged }

func (t *severToxic) Pipe(stub *toxics.ToxicStub) {
	if t.spares(stub) {
		return
	}
	stub.Close()
	for range stub.Input { // dropped, until this side ends
	}
}

// muteToxic lets nothing through, not even the end of the connection; when it is removed the connection ends.
type muteToxic struct{ aged }

func (t *muteToxic) Pipe(stub *toxics.ToxicStub) {
	if t.spares(stub) {
		return
	}
	in := stub.Input
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-in:
			if c == nil {
				in = nil
			}
		}
	}
}

func (*muteToxic) Cleanup(stub *toxics.ToxicStub) {
	if stub.State != true {
		stub.Close()
	}
}

// meterToxic changes nothing and counts.
type meterToxic struct {
	Meter string `json:"meter"`
}

// meter is what one counts.
type meter struct{ connections, chunks atomic.Int64 }

// meters are all of them, by name: a toxic is made by toxiproxy, from JSON.
var meters sync.Map

func meterOf(name string) *meter {
	m, _ := meters.LoadOrStore(name, new(meter))
	return m.(*meter)
}

func (t *meterToxic) Pipe(stub *toxics.ToxicStub) {
	m := meterOf(t.Meter)
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			m.chunks.Add(1)
			stub.Output <- c
		}
	}
}

// NewState is called for each new connection.
func (t *meterToxic) NewState() any {
	meterOf(t.Meter).connections.Add(1)
	return nil
}
