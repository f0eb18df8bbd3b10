package client_test

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between a client and a server and breaks the connection in the ways that networks do.
type proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex // guards the rest
	changed  *sync.Cond // when a mode changed
	conns    map[net.Conn]struct{}
	deaf     bool   // what the server sends is thrown away
	deafTo   string // what the server sends with this in it is
	held     bool   // what the client sends is held back
	holding  int    // in how many connections there is something of it
	refusing bool   // new connections are closed at once
	counting bool   // left counts down to the cut
	left     int    // how many bytes of what the client sends still go through before the next cut
	closed   bool
}

func newProxy(t *testing.T, serverURL string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: strings.TrimPrefix(serverURL, "nats://"), listener: ln, conns: map[net.Conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.set(func() { p.closed = true })
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *proxy) dropAnswers(on bool)         { p.set(func() { p.deaf = on }) }
func (p *proxy) holdRequests(on bool)        { p.set(func() { p.held = on }) }
func (p *proxy) dropAnswersWith(text string) { p.set(func() { p.deafTo = text }) }
func (p *proxy) refuse(on bool)              { p.set(func() { p.refusing = on }) }

// holds reports whether something that the client sent is held back.
func (p *proxy) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holding > 0
}

// cutAfter breaks all connections, once, when the client has sent n more bytes. The rest is lost.
func (p *proxy) cutAfter(n int) { p.set(func() { p.counting, p.left = true, n }) }

// counted is how many of n bytes that the client sent still go through; p.mu is held.
func (p *proxy) counted(n int) int {
	if !p.counting {
		return n
	}
	through := min(n, p.left)
	if p.left -= through; p.left == 0 {
		p.counting = false
	}
	return through
}

// cut breaks all connections; what is held back is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

func (p *proxy) cutLocked() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
	p.changed.Broadcast()
}

func (p *proxy) accept() {
	for {
		down, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.DialTimeout("tcp", p.target, time.Second)
		if err != nil || !p.add(down, up) {
			_ = down.Close()
			if up != nil {
				_ = up.Close()
			}
			continue
		}
		p.wg.Go(func() { p.pipe(up, down, func() bool { return p.held }, nil) })
		p.wg.Go(func() { p.pipe(down, up, nil, p.drops) })
	}
}

func (p *proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusing || p.closed {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *proxy) pipe(to, from net.Conn, hold func() bool, drop func(sent []byte) bool) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		p.holding++
		for hold != nil && hold() && p.alive(from) {
			p.changed.Wait()
		}
		p.holding--
		dropped := drop != nil && drop(buf[:n])
		lost, through := !p.alive(from), n
		if hold != nil { // it is what the client sends
			through = p.counted(n)
		}
		p.mu.Unlock()
		if lost {
			return
		}
		if !dropped && through > 0 {
			if _, err := to.Write(buf[:through]); err != nil {
				return
			}
		}
		if through < n {
			p.cut()
			return
		}
		if err != nil {
			return
		}
	}
}

// drops reports whether what the server sent is thrown away; p.mu is held.
func (p *proxy) drops(sent []byte) bool {
	return p.deaf || p.deafTo != "" && bytes.Contains(sent, []byte(p.deafTo))
}

// alive reports whether c was not cut; p.mu is held.
func (p *proxy) alive(c net.Conn) bool {
	_, ok := p.conns[c]
	return ok && !p.closed
}
