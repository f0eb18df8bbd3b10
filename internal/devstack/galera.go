package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

// GaleraOptions says which cluster of MariaDB servers to start, and where.
type GaleraOptions struct {
	// Dir is the cluster's folder, made if absent; required. It holds one folder per node, and must not have served
	// before: a cluster is made anew.
	Dir string
	// Nodes is how many servers there are; zero is three, the fewest of which one may be lost.
	Nodes int
	// Relaxed and Templates are those of [DatabaseOptions].
	Relaxed   bool
	Templates string
}

// Galera is a cluster of MariaDB servers, each a process of its own, that keep the same data: a transaction is committed once all of
// them have received it. Its nodes are ordinary databases, to be killed and restarted one by one: a node that comes back finds out
// how far it got and gets the rest from another (IST). Restart a node only while others run: a cluster of which all nodes are down is
// not started again.
type Galera struct {
	nodes []*Database
}

// StartGalera starts a cluster and returns when all of its nodes are in it and answer. ctx bounds that wait.
func StartGalera(ctx context.Context, o GaleraOptions) (_ *Galera, err error) {
	if o.Dir == "" {
		return nil, errors.New("start Galera cluster: no folder given")
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	provider, err := findGalera()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start Galera cluster: %w", err)
	}
	if err := writeTransferScript(dir); err != nil {
		return nil, fmt.Errorf("start Galera cluster: %w", err)
	}
	g := &Galera{}
	defer func() {
		if err != nil {
			g.Kill()
		}
	}()
	c := &galeraCluster{name: "devstack-" + rand.Text()[:16], dir: dir, provider: provider}
	if c.ports, err = freePorts(ctx, 2*o.Nodes); err != nil {
		return nil, err
	}
	return g, g.start(ctx, c, o)
}

// start makes the first node, alone, then copies of what it has, and has all of them meet: so none has to be given the whole data by
// another, for which a server needs programs that are not here.
func (g *Galera) start(ctx context.Context, c *galeraCluster, o GaleraOptions) error {
	node := func(no int) DatabaseOptions {
		return DatabaseOptions{
			Engine: MariaDB, Dir: filepath.Join(c.dir, fmt.Sprintf("node-%d", no)), Relaxed: o.Relaxed, Templates: o.Templates,
			galera: &galeraNode{cluster: c, no: no, founds: no == 0},
		}
	}
	first, err := StartDatabase(ctx, node(0))
	if err != nil {
		return err
	}
	g.nodes = append(g.nodes, first)
	if err := first.Stop(ctx); err != nil {
		return err
	}
	for no := 1; no < o.Nodes; no++ {
		to := node(no).Dir
		if err := os.MkdirAll(to, 0o700); err != nil {
			return fmt.Errorf("start Galera cluster: %w", err)
		}
		if err := copyFolder(ctx, filepath.Join(first.Dir(), dataFolder), filepath.Join(to, dataFolder)); err != nil {
			return err
		}
		if err := copySparse(filepath.Join(first.Dir(), passwordFile), filepath.Join(to, passwordFile)); err != nil {
			return err
		}
	}
	if err := first.start(ctx); err != nil {
		return err
	}
	first.options.galera.founds = false // from now on it comes back to the others
	for no := 1; no < o.Nodes; no++ {
		n, err := StartDatabase(ctx, node(no))
		if err != nil {
			return err
		}
		g.nodes = append(g.nodes, n)
	}
	return nil
}

// Node is the i-th node, from 0.
func (g *Galera) Node(i int) *Database { return g.nodes[i] }

// Nodes is how many there are.
func (g *Galera) Nodes() int { return len(g.nodes) }

// DSN is a data source name of the database dbname, with the addresses of all nodes, as persistd takes it; go-sql-driver itself takes one
// address only: see [Database.DSN] of a node.
func (g *Galera) DSN(dbname string) string {
	addrs := make([]string, len(g.nodes))
	for i, n := range g.nodes {
		addrs[i] = n.Addr()
	}
	c, err := mysql.ParseDSN(g.nodes[0].DSN(dbname))
	if err != nil {
		panic("parse a DSN that was formatted: " + err.Error())
	}
	return strings.Replace(c.FormatDSN(), "("+addrs[0]+")", "("+strings.Join(addrs, ",")+")", 1)
}

// Kill ends all nodes with SIGKILL and returns when they are gone.
func (g *Galera) Kill() {
	var all sync.WaitGroup
	for _, n := range g.nodes {
		all.Go(n.Kill)
	}
	all.Wait()
}

// Stop shuts all nodes down cleanly and returns when they are gone; those that still run when ctx ends are killed.
func (g *Galera) Stop(ctx context.Context) error {
	var all errgroup.Group
	for _, n := range g.nodes {
		all.Go(func() error { return n.Stop(ctx) })
	}
	return all.Wait()
}
