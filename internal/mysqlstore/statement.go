package mysqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
)

// statement is the text of a statement about many items: head, the items with sep between them, tail.
type statement struct {
	// verb and what say what it does to what: "insert", "steps".
	verb, what      string
	head, sep, tail string
	// most is how many items it may have; 0 is as many as its bytes allow.
	most int
}

// statementBytes is where a statement is long enough: beyond it, longer ones are not faster and cost the server memory.
const statementBytes = 4 << 20

// packetSlack is what the protocol needs of a packet besides the statement, generously.
const packetSlack = 1 << 10

// buffers are reused between commits: a statement is as long as the states in it. Larger ones than common are let go.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// run runs st for n items, in as few statements as fit into packets: item appends the i-th one, exec runs a text. The error of a statement
// that failed says which items it was about: it is a *partError.
func (a *applier) run(ctx context.Context, st *statement, n int, item func(q []byte, i int) []byte, exec execFunc) error {
	if n == 0 {
		return nil
	}
	packet, err := a.packet.limit(ctx, a.conn)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool's New makes nothing else.
	defer func() {
		if cap(*buf) <= 2*statementBytes {
			buffers.Put(buf)
		}
	}()
	limit := min(statementBytes, packet)
	q, held := append((*buf)[:0], st.head...), 0
	send := func(q []byte, to int) error {
		if err := a.send(ctx, st, q, held, exec); err != nil {
			return &partError{to - held, to, err}
		}
		return nil
	}
	for i := range n {
		start := len(q)
		if held > 0 {
			q = append(q, st.sep...)
		}
		first := len(q)
		q = item(q, i)
		if size := len(st.head) + len(q) - first + len(st.tail); size > packet {
			return &partError{i, i + 1, &verdict{class: batcher.Never, number: packetTooLarge, err: fmt.Errorf(
				"%s %s: one needs a statement of %d bytes, more than the server's max_allowed_packet takes", st.verb, st.what, size)}}
		}
		if held > 0 && (len(q)+len(st.tail) > limit || held == st.most) {
			next := bytes.Clone(q[first:])
			q = append(q[:start], st.tail...)
			if err := send(q, i); err != nil {
				return err
			}
			q, held = append(q[:len(st.head)], next...), 0
		}
		held++
	}
	q = append(q, st.tail...)
	*buf = q
	return send(q, n)
}

// execFunc runs the text q.
type execFunc func(ctx context.Context, q string) error

// exec is the [execFunc] of what has no rows to read.
func (a *applier) exec(ctx context.Context, q string) error {
	_, err := a.conn.ExecContext(ctx, q)
	return err //nolint:wrapcheck // send does.
}

// send runs q, which has n items.
func (a *applier) send(ctx context.Context, st *statement, q []byte, n int, exec execFunc) error {
	err := exec(ctx, string(q))
	if err == nil {
		return nil
	}
	if tooLarge(err) {
		// It was short enough for what the server said. So its limit was lowered: ask again next time.
		a.packet.forget()
		err = &verdict{class: batcher.Again, number: packetTooLarge, err: err}
	}
	return fmt.Errorf("%s %d %s: %w", st.verb, n, st.what, err)
}

const packetTooLarge = 1153

func tooLarge(err error) bool {
	var answer *mysql.MySQLError
	return errors.Is(err, mysql.ErrPktTooLarge) || errors.As(err, &answer) && answer.Number == packetTooLarge
}

// packetLimit is the server's max_allowed_packet, asked for when it is not known.
type packetLimit struct{ n atomic.Int64 }

// limit is how long a statement may be, in bytes.
func (p *packetLimit) limit(ctx context.Context, conn *sql.Conn) (int, error) {
	n := p.n.Load()
	if n == 0 {
		if err := conn.QueryRowContext(ctx, "SELECT @@max_allowed_packet").Scan(&n); err != nil {
			return 0, fmt.Errorf("ask for max_allowed_packet: %w", err)
		}
		p.n.Store(n)
	}
	return int(n) - packetSlack, nil
}

func (p *packetLimit) forget() { p.n.Store(0) }
