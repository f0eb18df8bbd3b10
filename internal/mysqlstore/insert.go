package mysqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
)

const insertHead = "INSERT INTO workflow_steps (run_id, step, node_id, state, created_at, log_seq, log_gen) VALUES "

// insertTail keeps I4. Both engines assign from left to right and let later expressions see earlier assignments, so what is compared
// is assigned last: log_seq under the same condition as the values, and log_gen, which then can only stay or grow, without one.
// created_at is of the first save and stays. VALUES() is deprecated in MySQL, but its successor is unknown to MariaDB.
const insertTail = " ON DUPLICATE KEY UPDATE" +
	" node_id=IF(" + notOlder + ", VALUES(node_id), node_id)," +
	" state=IF(" + notOlder + ", VALUES(state), state)," +
	" log_seq=IF(" + notOlder + ", VALUES(log_seq), log_seq)," +
	" log_gen=GREATEST(log_gen, VALUES(log_gen))"

const notOlder = "(VALUES(log_gen), VALUES(log_seq)) >= (log_gen, log_seq)"

// statementBytes is where a statement is long enough: beyond it, longer ones are not faster and cost the server memory.
const statementBytes = 4 << 20

// packetSlack is what the protocol needs of a packet besides the statement, generously.
const packetSlack = 1 << 10

// buffers are reused between commits: a statement is as long as the states in it. Larger ones than common are let go.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// writeRows writes the rows of b in as few statements as fit.
func (s *Store) writeRows(ctx context.Context, conn *sql.Conn, r *registration, b *batcher.Batch) error {
	rows := rowsOf(b)
	if len(rows) == 0 {
		return nil // of poison only: the position moves past it
	}
	packet, err := s.maxPacket(ctx, conn)
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
	q, n := append((*buf)[:0], insertHead...), 0
	for _, x := range rows {
		start := len(q)
		if n > 0 {
			q = append(q, ',')
		}
		first := len(q)
		q = appendRow(q, x, r.generation)
		if size := len(insertHead) + len(q) - first + len(insertTail); size > packet {
			return &verdict{class: batcher.Never, number: packetTooLarge, err: fmt.Errorf(
				"row of step %d needs a statement of %d bytes, more than the server's max_allowed_packet takes", x.op.Step, size)}
		}
		if n > 0 && len(q)+len(insertTail) > limit {
			next := bytes.Clone(q[first:])
			q = append(q[:start], insertTail...)
			if err := s.insert(ctx, conn, q, n); err != nil {
				return err
			}
			q, n = append(q[:len(insertHead)], next...), 0
		}
		n++
	}
	q = append(q, insertTail...)
	*buf = q
	return s.insert(ctx, conn, q, n)
}

func appendRow(q []byte, x row, generation uint32) []byte {
	q = append(q, '(')
	q = appendString(q, x.event.RunID)
	q = append(q, ',')
	q = strconv.AppendInt(q, int64(x.op.Step), 10)
	q = append(q, ',')
	q = appendString(q, x.op.NodeID)
	q = append(q, ',')
	q = appendString(q, x.op.State)
	q = append(q, ',')
	q = appendTime(q, x.event.Message.Logged)
	q = append(q, ',')
	q = appendUint(q, x.event.Message.Sequence)
	q = append(q, ',')
	q = appendUint(q, uint64(generation))
	return append(q, ')')
}

// insert runs the statement q, which has n rows.
func (s *Store) insert(ctx context.Context, conn *sql.Conn, q []byte, n int) error {
	_, err := conn.ExecContext(ctx, string(q))
	if err == nil {
		return nil
	}
	if tooLarge(err) {
		// It was short enough for what the server said. So its limit was lowered: ask again next time.
		s.packet.Store(0)
		err = &verdict{class: batcher.Again, number: packetTooLarge, err: err}
	}
	return fmt.Errorf("insert %d steps: %w", n, err)
}

const packetTooLarge = 1153

func tooLarge(err error) bool {
	var answer *mysql.MySQLError
	return errors.Is(err, mysql.ErrPktTooLarge) || errors.As(err, &answer) && answer.Number == packetTooLarge
}

// maxPacket is how long a statement may be, in bytes.
func (s *Store) maxPacket(ctx context.Context, conn *sql.Conn) (int, error) {
	n := s.packet.Load()
	if n == 0 {
		if err := conn.QueryRowContext(ctx, "SELECT @@max_allowed_packet").Scan(&n); err != nil {
			return 0, fmt.Errorf("ask for max_allowed_packet: %w", err)
		}
		s.packet.Store(n)
	}
	return int(n) - packetSlack, nil
}
