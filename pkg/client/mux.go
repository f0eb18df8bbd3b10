package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// mux receives all answers, to publishes and to reads, on one subscription. Every attempt of a call has a reply subject
//
//	<inbox>.<call>.<attempt>
//
// so that a late refusal of an earlier attempt is not taken for the answer to the present one. (The request functions of nats.go
// are not used because they leave an entry behind for every request that finds the connection down.)
type mux struct {
	nc      *nats.Conn
	publish func(*nats.Msg) error // nc's, or a test's
	sub     *nats.Subscription
	prefix  string

	mu     sync.Mutex // guards the rest
	closed bool
	last   uint64
	calls  map[uint64]receiver
}

// receiver is a call that waits for an answer. Its methods must not block.
type receiver interface {
	// subject is what was published to.
	subject() string
	// receive takes the answer to an attempt.
	receive(attempt int, m *nats.Msg)
	// fail ends the call with err.
	fail(err error)
}

func newMux(nc *nats.Conn) (*mux, error) {
	m := &mux{nc: nc, publish: nc.PublishMsg, prefix: nc.NewInbox() + ".", calls: map[uint64]receiver{}}
	sub, err := nc.Subscribe(m.prefix+"*.*", m.dispatch)
	if err != nil {
		return nil, fmt.Errorf("subscribe to inbox: %w", err)
	}
	// What can be pending is bounded by the attempts that wait for an answer; dropping answers would turn them into timeouts.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("set limits of inbox: %w", err)
	}
	m.sub = sub
	return m, nil
}

// check asks the server whether the inbox may be subscribed to.
func (m *mux) check(ctx context.Context) error {
	if err := m.nc.FlushWithContext(ctx); err != nil {
		return &fault{kind: ErrUnavailable, err: fmt.Errorf("ask NATS for a pong: %w", err), hint: hintConn}
	}
	if denied := deniedSubject(m.nc.LastError()); denied != "" && denied == m.sub.Subject {
		return permissionFault("subscribe to the inbox " + denied)
	}
	return nil
}

// close ends the subscription and fails the calls that still wait.
func (m *mux) close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.fail("", ErrClosed)
	if err := m.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("unsubscribe from inbox: %w", err)
	}
	return nil
}

// add registers r and returns its id; answers come until remove.
func (m *mux) add(r receiver) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.calls[m.last] = r
	return m.last
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *mux) remove(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, id)
}

// reply is where the answer to an attempt of call id is to go.
func (m *mux) reply(id uint64, attempt int) string {
	return m.prefix + strconv.FormatUint(id, 36) + "." + strconv.Itoa(attempt)
}

func (m *mux) dispatch(msg *nats.Msg) {
	call, try, _ := strings.Cut(strings.TrimPrefix(msg.Subject, m.prefix), ".")
	id, err1 := strconv.ParseUint(call, 36, 64)
	attempt, err2 := strconv.Atoi(try)
	if err1 != nil || err2 != nil {
		return // nobody's answer
	}
	m.mu.Lock()
	r := m.calls[id]
	m.mu.Unlock()
	if r != nil {
		r.receive(attempt, msg)
	}
}

// fail ends the calls that published to subject, or all of them when it is "".
func (m *mux) fail(subject string, err error) {
	m.mu.Lock()
	var failed []receiver
	for _, r := range m.calls {
		if subject == "" || r.subject() == subject {
			failed = append(failed, r)
		}
	}
	m.mu.Unlock()
	for _, r := range failed {
		r.fail(err)
	}
}

// request publishes msg and returns the answer. It blocks until there is one, the connection is lost (see [mux.fail]), or ctx
// ends.
func (m *mux) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	r := &requester{to: msg.Subject, answer: make(chan answer, 1)}
	id := m.add(r)
	defer m.remove(id)
	if m.isClosed() { // after add: close fails what was added before it
		return nil, ErrClosed
	}
	msg.Reply = m.reply(id, 0)
	if err := m.publish(msg); err != nil {
		if m.isClosed() { // since the look above, and the connection after it
			return nil, ErrClosed
		}
		return nil, publishFault(err)
	}
	select {
	case a := <-r.answer:
		return a.msg, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// requester is a call of mux.request.
type requester struct {
	to     string
	answer chan answer
}

type answer struct {
	msg *nats.Msg
	err error
}

func (r *requester) subject() string              { return r.to }
func (r *requester) receive(_ int, msg *nats.Msg) { r.deliver(answer{msg: msg}) }
func (r *requester) fail(err error)               { r.deliver(answer{err: err}) }

// deliver keeps the first answer: the request is over with it.
func (r *requester) deliver(a answer) {
	select {
	case r.answer <- a:
	default:
	}
}
