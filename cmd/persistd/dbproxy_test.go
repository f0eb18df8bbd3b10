package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// trap is what happens to a COMMIT that ends a transaction with rows in it.
type trap int32

const (
	pass          trap = iota
	swallowCommit      // it does not reach the server: rows are written, and not committed
	swallowAnswer      // the server commits, and the daemon does not learn of it
	cutAnswer          // the server commits, and the daemon's connection breaks instead of bringing the answer
)

// dbProxy stands between daemons and their database, and understands as much of the protocol as it takes to see a COMMIT go by. So the
// daemon under it is the real one, and dies or loses its connection exactly there.
type dbProxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	kind   trap
	left   int
	sprung chan struct{}
	conns  map[net.Conn]struct{}
	closed bool
}

// behindProxy puts a proxy in front of the database of s, for all daemons started from then on.
func (s *stack) behindProxy() *dbProxy {
	s.t.Helper()
	cfg, err := mysql.ParseDSN(s.dsn)
	require.NoError(s.t, err)
	p := newDBProxy(s.t, cfg.Addr)
	cfg.Addr = p.listener.Addr().String()
	s.dsn = cfg.FormatDSN()
	return p
}

func newDBProxy(t testing.TB, target string) *dbProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &dbProxy{listener: ln, target: target, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// arm sets the trap for the next COMMITs. The channel gets a value for each that sprang it.
func (p *dbProxy) arm(kind trap, times int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kind, p.left, p.sprung = kind, times, make(chan struct{}, times)
	return p.sprung
}

// spring takes one use of the trap; tell is called once it has done its work.
func (p *dbProxy) spring() (kind trap, tell func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return pass, nil
	}
	p.left--
	sprung := p.sprung
	return p.kind, func() { sprung <- struct{}{} }
}

func (p *dbProxy) accept() {
	for {
		daemon, err := p.listener.Accept()
		if err != nil {
			return
		}
		db, err := net.DialTimeout("tcp", p.target, 5*time.Second)
		if err != nil || !p.keep(daemon, db) {
			_ = daemon.Close()
			if db != nil {
				_ = db.Close()
			}
			continue
		}
		c := &proxied{p: p, daemon: daemon, db: db}
		p.wg.Go(c.requests)
		p.wg.Go(c.answers)
	}
}

func (p *dbProxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

// proxied is one connection.
type proxied struct {
	p          *dbProxy
	daemon, db net.Conn
	kind       atomic.Int32 // the trap that waits for the next answer
	tell       func()       // set before kind
}

func (c *proxied) close() {
	_, _ = c.daemon.Close(), c.db.Close()
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	delete(c.p.conns, c.daemon)
	delete(c.p.conns, c.db)
}

// requests passes on what the daemon sends, packet by packet: three bytes of length, one of sequence, and for a statement 0x03 and its text.
func (c *proxied) requests() {
	defer c.close()
	in := bufio.NewReaderSize(c.daemon, 64<<10)
	rows := false
	for {
		head, err := in.Peek(4)
		if err != nil {
			return
		}
		packet := make([]byte, 4+int(head[0])+int(head[1])<<8+int(head[2])<<16)
		if _, err := io.ReadFull(in, packet); err != nil {
			return
		}
		switch q := statement(packet); {
		case strings.HasPrefix(q, "INSERT INTO workflow_"):
			rows = true
		case q == "ROLLBACK":
			rows = false
		case q == "COMMIT" && rows:
			rows = false
			switch kind, tell := c.p.spring(); kind {
			case pass:
			case swallowCommit:
				tell()
				continue
			case swallowAnswer, cutAnswer:
				c.tell = tell
				c.kind.Store(int32(kind))
			}
		}
		if _, err := c.db.Write(packet); err != nil {
			return
		}
	}
}

func statement(packet []byte) string {
	if len(packet) < 5 || packet[3] != 0 || packet[4] != 3 {
		return ""
	}
	return string(packet[5:min(len(packet), 64)])
}

// answers passes on what the database sends. What comes after a COMMIT was passed on is its answer: there is one at a time.
func (c *proxied) answers() {
	defer c.close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.db.Read(buf)
		if err != nil {
			return
		}
		switch kind := trap(c.kind.Load()); kind {
		case swallowAnswer:
			c.tell()
			_, _ = io.Copy(io.Discard, c.db)
			return
		case cutAnswer:
			_, _ = c.daemon.Close(), c.db.Close()
			c.tell()
			return
		case pass, swallowCommit:
			if _, err := c.daemon.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}
