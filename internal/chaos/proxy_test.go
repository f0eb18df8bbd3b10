package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// link is a proxy between somebody and a server.
type link struct {
	name   string
	proxy  *toxiproxy.Proxy
	meters map[string]*meter // by direction
}

// network is the links of a scenario.
type network struct {
	t      *testing.T
	server *toxiproxy.ApiServer
	links  map[string]*link
}

func newNetwork(t *testing.T) *network {
	return &network{
		t: t, links: map[string]*link{},
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
	}
}

// link makes one to the server at target, and returns where it listens.
func (n *network) link(name, target string) string {
	n.t.Helper()
	p := toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", target)
	require.NoError(n.t, p.Start())
	n.t.Cleanup(p.Stop)
	l := &link{name: name, proxy: p, meters: map[string]*meter{}}
	for _, stream := range []string{"upstream", "downstream"} {
		id := fmt.Sprintf("%s %s %s", n.t.Name(), name, stream)
		require.NoError(n.t, l.add("meter", stream, map[string]any{"meter": id}))
		l.meters[stream] = meterOf(id)
	}
	n.links[name] = l
	return p.Listen
}

// halfOpen makes the connections that are there half open; those that are made from then on work.
func (l *link) halfOpen() error {
	for _, t := range []struct{ kind, stream string }{{"mute", "downstream"}, {"sever", "upstream"}} {
		if err := l.add(t.kind, t.stream, nil); err != nil {
			return err
		}
		switch t := l.proxy.Toxics.GetToxic(t.kind + "_" + t.stream).Toxic.(type) {
		case *severToxic:
			t.late.Store(true)
		case *muteToxic:
			t.late.Store(true)
		}
	}
	return nil
}

func (l *link) add(kind, stream string, attributes map[string]any) error {
	spec, err := json.Marshal(map[string]any{
		"name": kind + "_" + stream, "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes,
	})
	if err != nil {
		return fmt.Errorf("describe toxic: %w", err)
	}
	if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(spec)); err != nil {
		return fmt.Errorf("add %s %s to %s: %w", stream, kind, l.name, err)
	}
	return nil
}

// remove removes a toxic. It does not wait for ever: toxiproxy hangs when a connection's writing side ends at just this moment.
func (l *link) remove(name string) error {
	done := make(chan error, 1)
	go func() { done <- l.proxy.Toxics.RemoveToxic(context.Background(), name) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("remove %s from %s: %w", name, l.name, err)
		}
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("remove %s from %s: toxiproxy hangs", name, l.name)
	}
}

// connections is how many were made through the link.
func (l *link) connections() int64 { return l.meters["upstream"].connections.Load() }

// chunks is how many went in the directions named.
func (l *link) chunks(streams ...string) (n int64) {
	for _, stream := range streams {
		n += l.meters[stream].chunks.Load()
	}
	return n
}

// toxic is one of toxiproxy's, or ours.
type toxic struct {
	kind       string
	attributes map[string]any
}

// toxicOf is what a fault does to a direction of a connection.
func toxicOf(f Fault, up bool) toxic {
	at := func(least, most float64) int { return int(least + f.Amount*(most-least)) }
	switch f.Kind {
	case Latency:
		return toxic{"latency", map[string]any{"latency": at(20, 300), "jitter": at(10, 150)}}
	case Bandwidth:
		return toxic{"bandwidth", map[string]any{"rate": at(400, 20)}} // KB/s
	case Slices:
		return toxic{"slicer", map[string]any{"average_size": at(2000, 200), "size_variation": 100, "delay": at(1, 100)}} // bytes, µs
	case Reset:
		return toxic{"reset_peer", map[string]any{"timeout": at(0, 100)}}
	case Cut:
		return toxic{"limit_data", map[string]any{"bytes": at(0, 64<<10)}}
	case BlackHole, OneWay:
		return toxic{"timeout", map[string]any{"timeout": 0}}
	case Hold:
		return toxic{"hold", nil}
	case HalfOpen:
		if up {
			return toxic{"sever", nil}
		}
		return toxic{"mute", nil}
	case Kill, Stop:
	}
	panic("assertion: " + f.Kind + " is no fault of a connection")
}

// breaks are the faults after which connections must be made anew. The others leave them as they are.
var breaks = []Kind{Reset, Cut, BlackHole, OneWay, HalfOpen}

// befall brings f upon the link for its time. It reports whether something was seen of it: that data met it, while it was there and in a
// direction that has it, or, of one that breaks connections, that others were made.
func (l *link) befall(ctx context.Context, f Fault) (surfaced bool, err error) {
	connections := l.connections()
	both := f.Kind == HalfOpen || f.Kind == BlackHole
	var streams, added []string
	if f.Down || both {
		streams = append(streams, "downstream")
	}
	if f.Up || both {
		streams = append(streams, "upstream")
	}
	for _, stream := range streams {
		t := toxicOf(f, stream == "upstream")
		if err := l.add(t.kind, stream, t.attributes); err != nil {
			return false, err
		}
		added = append(added, t.kind+"_"+stream)
	}
	chunks := l.chunks(streams...)
	pause(ctx, f.For)
	met := l.chunks(streams...) > chunks
	for _, name := range added {
		if err := l.remove(name); err != nil {
			return false, err
		}
	}
	if !slices.Contains(breaks, f.Kind) {
		return met, nil
	}
	for range 60 { // who notices does so soon
		if l.connections() > connections {
			return true, nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			break
		}
	}
	return false, nil
}
