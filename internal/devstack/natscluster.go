package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATSCluster is three nats-server processes that keep streams together. Each is killed, paused and restarted by itself.
type NATSCluster struct {
	nodes []*NATSProcess
}

// natsCluster is what the servers of a cluster have in common.
type natsCluster struct {
	name  string
	ports []int // of the routes between them
}

// config is the part of a server's configuration that makes it one of the cluster.
func (c *natsCluster) config(node int) []byte {
	if c == nil {
		return nil
	}
	var routes []string
	for _, port := range c.ports {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+localAddr(port)))
	}
	return fmt.Appendf(nil, "cluster {\n  name: %s\n  listen: %q\n  routes: [%s]\n}\n", c.name, localAddr(c.ports[node]), strings.Join(routes, ", "))
}

// clusterNodes is the fewest servers of which one may be lost.
const clusterNodes = 3

// StartNATSCluster starts a cluster, each server as o says, in a folder of its own in o's, and returns when a stream of three replicas can be
// made. ctx bounds that wait. o's Port must be zero.
func StartNATSCluster(ctx context.Context, o NATSOptions) (_ *NATSCluster, err error) {
	if o.Dir == "" {
		return nil, errors.New("start NATS cluster: no folder given")
	}
	dir := o.Dir
	o.cluster = &natsCluster{name: "devstack-" + rand.Text()}
	if o.cluster.ports, err = freePorts(ctx, clusterNodes); err != nil {
		return nil, err
	}
	c := &NATSCluster{}
	defer func() {
		if err != nil {
			c.Kill()
		}
	}()
	for o.clusterNode = range clusterNodes {
		o.Dir = filepath.Join(dir, fmt.Sprintf("node-%d", o.clusterNode))
		n, err := StartNATSProcess(ctx, o)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	return c, c.await(ctx)
}

// await waits until the servers have a leader that knows all of them.
func (c *NATSCluster) await(ctx context.Context) error {
	nc, err := nats.Connect(c.URL())
	if err != nil {
		return fmt.Errorf("connect to NATS cluster: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	const probe = "devstack-probe"
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.CreateStream(once, jetstream.StreamConfig{Name: probe, Subjects: []string{probe}, Replicas: clusterNodes, Storage: jetstream.MemoryStorage})
		cancel()
		if err == nil {
			if err := js.DeleteStream(ctx, probe); err != nil {
				return fmt.Errorf("delete the stream made as a probe: %w", err)
			}
			return nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("start NATS cluster: it makes no stream (%w): %w", err, context.Cause(ctx))
		}
	}
}

// URL are the addresses of all servers, as clients take them.
func (c *NATSCluster) URL() string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.URL())
	}
	return strings.Join(all, ",")
}

// Node is the i-th server, from 0.
func (c *NATSCluster) Node(i int) *NATSProcess { return c.nodes[i] }

// Nodes is how many servers there are.
func (c *NATSCluster) Nodes() int { return len(c.nodes) }

// Named is the server with a name, as streams tell their leaders; nil when there is none.
func (c *NATSCluster) Named(name string) *NATSProcess {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// Kill ends all servers with SIGKILL and returns when they are gone.
func (c *NATSCluster) Kill() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.Kill)
	}
	all.Wait()
}
