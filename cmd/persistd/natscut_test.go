package main

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter stands between a worker and NATS, and breaks all connections each time that the worker has sent a number of bytes.
type cutter struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex // guards the rest
	conns map[net.Conn]struct{}
	left  []int // bytes up to each cut
	cuts  int
}

func newCutter(t testing.TB, natsURL string) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{listener: ln, target: strings.TrimPrefix(natsURL, "nats://"), conns: map[net.Conn]struct{}{}}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		c.cut()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) url() string { return "nats://" + c.listener.Addr().String() }

// cutAfter plans cuts: each after so many more bytes.
func (c *cutter) cutAfter(bytes ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, bytes...)
}

// planned is how many cuts are still to come.
func (c *cutter) planned() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.left)
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
	c.cuts++
}

func (c *cutter) accept() {
	for {
		down, err := c.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = down.Close()
			continue
		}
		c.mu.Lock()
		c.conns[down], c.conns[up] = struct{}{}, struct{}{}
		c.mu.Unlock()
		c.wg.Go(func() {
			_, _ = io.Copy(down, up)
			_ = down.Close()
		})
		c.wg.Go(func() {
			defer func() { _ = up.Close() }()
			c.requests(up, down)
		})
	}
}

func (c *cutter) requests(up, down net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := down.Read(buf)
		if err != nil {
			return
		}
		cut := c.counted(&n)
		if _, err := up.Write(buf[:n]); err != nil {
			return
		}
		if cut {
			c.cut()
			return
		}
	}
}

// counted reports whether a cut is due within the next n bytes, and makes n what goes before it.
func (c *cutter) counted(n *int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.left) == 0 {
		return false
	}
	if c.left[0] > *n {
		c.left[0] -= *n
		return false
	}
	*n, c.left = c.left[0], c.left[1:]
	return true
}
