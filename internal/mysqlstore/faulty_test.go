package mysqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// How a statement fails on the wire.
const (
	before = iota // the connection breaks and the server never sees it
	after         // the server has done it, and the connection breaks before its answer arrives
	hang          // the server has done it, and its answer never arrives, until the connection is closed
)

var errInjected = errors.New("injected fault")

// faults are the connections of one store, of which the next statement that begins with a text can be made to fail.
type faults struct {
	mu     sync.Mutex // guards prefix and how
	prefix string
	how    int
	fired  atomic.Int64
	hung   chan struct{} // told when a connection hangs

	counters sync.Map // how many statements began with a text, by the text
}

// count counts the statements that begin with prefix from now on.
func (f *faults) count(prefix string) *atomic.Int64 {
	n := new(atomic.Int64)
	f.counters.Store(prefix, n)
	return n
}

// counted is called with each packet.
func (f *faults) counted(p []byte) {
	if len(p) < 5 || p[4] != 3 {
		return
	}
	f.counters.Range(func(prefix, n any) bool {
		if bytes.HasPrefix(p[5:], []byte(prefix.(string))) {
			n.(*atomic.Int64).Add(1)
		}
		return true
	})
}

var networks atomic.Int64

// faulty is dsn through connections that can be made to fail.
func faulty(t testing.TB, dsn string) (string, *faults) {
	t.Helper()
	f := &faults{hung: make(chan struct{}, 1)}
	name := fmt.Sprintf("faulty%d", networks.Add(1))
	mysql.RegisterDialContext(name, func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		return &faultyConn{Conn: c, faults: f, closed: make(chan struct{})}, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(name) })
	c, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	c.Net = name
	return c.FormatDSN(), f
}

// next makes the next statement that begins with prefix fail.
func (f *faults) next(prefix string, how int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prefix, f.how = prefix, how
}

// match is whether the packet p is to fail, and how; it then is the last one.
func (f *faults) match(p []byte) (how int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prefix == "" || len(p) < 5 || p[4] != 3 || !bytes.HasPrefix(p[5:], []byte(f.prefix)) {
		return 0, false
	}
	f.prefix = ""
	f.fired.Add(1)
	return f.how, true
}

type faultyConn struct {
	net.Conn
	faults *faults
	hangs  atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (c *faultyConn) Write(p []byte) (int, error) {
	c.faults.counted(p)
	how, ok := c.faults.match(p)
	if !ok {
		return c.Conn.Write(p)
	}
	switch how {
	case before:
		return 0, errors.Join(errInjected, c.Close())
	case after:
		n, err := c.Conn.Write(p)
		if err == nil {
			_, err = c.Conn.Read(make([]byte, 1024)) // the answer: it is done
		}
		return n, errors.Join(err, c.Close())
	default:
		c.hangs.Store(true)
		return c.Conn.Write(p)
	}
}

func (c *faultyConn) Read(p []byte) (int, error) {
	if c.hangs.Load() {
		select {
		case c.faults.hung <- struct{}{}:
		default:
		}
		<-c.closed
		return 0, errInjected
	}
	return c.Conn.Read(p)
}

func (c *faultyConn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.closed)
		err = c.Conn.Close()
	})
	return err
}
