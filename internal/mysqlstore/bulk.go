package mysqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// A text that the server parses costs it about as much as the rows that are in it. So where there are many, they are sent as the values of
// statements that it has parsed before, which is once for a connection: whole groups of them, as a statement has a fixed number of rows. What is left over
// goes as text, and so does everything once a group was refused for one of its values: the text's way finds out whose.
var (
	bulkSizes = []int{1000, 500, 200, 100, 40, 8, 2}
	// bulkLeast is the least number of rows of which whole groups are made; those that are many bytes are, however few.
	bulkLeast = 40
	// bulkBytes bounds a group's values: the driver keeps a buffer of up to 256 KiB between statements, and makes a larger one each time.
	bulkBytes = 240 << 10
	// bulkRow is what a row takes beside its JSON, at most, but for ids: those are counted.
	bulkRow = 128
)

// bulk is how rows are written by statements that the server has parsed.
type bulk struct {
	columns int
	// first is the first row of a statement whose values are taken as they are: where a column is not of utf8mb4, the statement is refused.
	first string
	// values sets the values of a row; before are those of the row before it, nil at the first.
	values func(to, before []driver.NamedValue, x row, at place)
	// fits is whether a row can be among them, and what it takes.
	fits func(x row) (bytes int, ok bool)
	// unchecked is whether the server need not check again that the row's JSON is JSON.
	unchecked func(x row) bool
}

var bulkSteps = bulk{columns: 9, first: firstStep, values: stepValues, fits: stepFits, unchecked: func(x row) bool { return x.op.Shallow }}

// The server prepares a statement again when the table has changed, and so finds out again what the columns are; log_seq takes no NULL.
const firstStep = "(?,?,?,?,IF(CHARSET(run_id)='utf8mb4' AND CHARSET(node_id)='utf8mb4' AND CHARSET(state)='utf8mb4',?,NULL),?,?,?,?)"

func stepFits(x row) (bytes int, ok bool) {
	return len(x.op.State) + len(x.event.RunID) + len(x.op.NodeID) + bulkRow, !x.event.Message.Logged.IsZero()
}

// stepValues are the values of appendStep. A string is an allocation more as a value: rows are sorted by their run, so most have the one before's.
func stepValues(to, before []driver.NamedValue, x row, at place) {
	var logged driver.Value = string(timeText(make([]byte, 0, 32), x.event.Message.Logged))
	to[0].Value, to[1].Value, to[2].Value, to[3].Value = sameText(before, 0, x.event.RunID), int64(x.op.Step), sameText(before, 2, x.op.NodeID), x.op.State
	to[4].Value, to[5].Value, to[6].Value = at.seq, int64(at.gen), int64(x.event.Attempt)
	to[7].Value, to[8].Value = logged, logged
}

// sameText is s as a value: the i-th of before, if that is s.
func sameText(before []driver.NamedValue, i int, s string) driver.Value {
	if before != nil {
		if v := before[i].Value; v == s {
			return v
		}
	}
	return s
}

// writeBulk writes of rows, to be saved with u, as many from the first on as can be in whole groups, and returns how many that are.
func (a *applier) writeBulk(ctx context.Context, u *upsert, rows []row) (written int, err error) {
	if u.bulk == nil || !a.guarded() || len(rows) == 0 {
		return 0, nil
	}
	packet, err := a.packet.limit(ctx, a.conn)
	if err != nil {
		return 0, err
	}
	for {
		n := u.bulk.group(rows[written:], min(bulkBytes, packet/2))
		if n == 0 {
			return written, nil
		}
		next := rows[written : written+n]
		err := a.conn.Raw(func(c any) error {
			on, ok := c.(*conn)
			if !ok {
				return errNoBulk
			}
			return on.save(ctx, u, next, a)
		})
		switch {
		case errors.Is(err, errNoBulk), ofValue(err):
			return written, nil
		case err != nil:
			return written, fmt.Errorf("%s %d %s: %w", u.guarded.verb, n, u.guarded.what, err)
		}
		written += n
	}
}

// errNoBulk says that the connection has no statement to write by.
var errNoBulk = errors.New("rows are written as text")

// group is how many of rows, in so many bytes, make the next group; 0 when they are too few.
func (b *bulk) group(rows []row, most int) int {
	bytes, n := 0, 0
	for n < min(len(rows), bulkSizes[0]) {
		size, ok := b.fits(rows[n])
		if !ok || bytes+size > most {
			break
		}
		bytes += size
		n++
	}
	if n < bulkLeast && n == len(rows) {
		return 0
	}
	for _, size := range bulkSizes {
		if size <= n {
			return size
		}
	}
	return 0
}

var bulkArgs = sync.Pool{New: func() any { return new([]driver.NamedValue) }}

// group names a statement of a connection.
type group struct {
	into      *upsert
	rows      int
	unchecked bool
}

// save saves rows with u.
func (c *conn) save(ctx context.Context, u *upsert, rows []row, a *applier) error {
	as := group{u, len(rows), !slices.ContainsFunc(rows, func(x row) bool { return !u.bulk.unchecked(x) })}
	st, err := c.prepare(ctx, as)
	if err != nil {
		return err
	}
	args := bulkArgs.Get().(*[]driver.NamedValue) //nolint:forcetypeassert // the pool's New makes nothing else.
	defer func() {
		clear(*args) // what they refer to may go
		bulkArgs.Put(args)
	}()
	n := u.bulk.columns
	*args = slices.Grow((*args)[:0], n*len(rows))[:n*len(rows)]
	for i := range *args {
		(*args)[i].Ordinal = i + 1
	}
	var before []driver.NamedValue
	for i, x := range rows {
		to := (*args)[i*n : (i+1)*n]
		u.bulk.values(to, before, x, a.place(x.event))
		before = to
	}
	_, err = st.ExecContext(ctx, *args)
	if unprepared(c.looked(err)) || isNull(err) { // the server was restarted behind a proxy, or a table changed
		c.forget()
		return errNoBulk
	}
	return err //nolint:wrapcheck // writeBulk does.
}

// prepare is the statement as, which the server parses when the connection needs it for the first time.
func (c *conn) prepare(ctx context.Context, as group) (driver.StmtExecContext, error) {
	if c.textOnly {
		return nil, errNoBulk
	}
	if !c.asked {
		if err := c.look(ctx); err != nil {
			return nil, err
		}
		if c.textOnly {
			return nil, errNoBulk
		}
	}
	as.unchecked = as.unchecked && c.unchecked
	if st := c.statements[as]; st != nil {
		return st, nil
	}
	q := as.into.guarded.head
	if as.unchecked {
		q = "SET STATEMENT check_constraint_checks=0 FOR " + q
	}
	one := "(" + strings.Repeat("?,", as.into.bulk.columns-1) + "?)"
	first := one
	if c.bytes {
		first = as.into.bulk.first
	}
	q += first + strings.Repeat(","+one, as.rows-1) + as.into.guarded.tail
	st, err := c.PrepareContext(ctx, q)
	if withTransaction(c.looked(err)) {
		// The server has no room for more of them, or what stands before it takes none. If it is something else the text will tell.
		c.forget()
		c.textOnly = true
		return nil, errNoBulk
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // writeBulk does.
	}
	if c.statements == nil {
		c.statements = map[group]driver.StmtExecContext{}
	}
	c.statements[as] = st.(driver.StmtExecContext) //nolint:forcetypeassert // go-sql-driver's is one.
	return c.statements[as], nil
}

// look finds out what the connection's statements may leave to it. What it goes by is looked for once a connection, of which none is older than
// ten minutes.
func (c *conn) look(ctx context.Context) error {
	told, err := c.ask(ctx, "SELECT CONCAT(@@character_set_client,' ',VERSION())")
	if err != nil {
		return err
	}
	client, version, _ := strings.Cut(told, " ")
	if c.bytes = client == "binary"; c.bytes {
		if c.textOnly, err = c.ofOtherCharset(ctx); err != nil {
			return err
		}
	}
	if strings.Contains(strings.ToLower(version), "mariadb") {
		if c.unchecked, err = c.mayUncheck(ctx); err != nil {
			return err
		}
	}
	c.asked = true
	return nil
}

// ofOtherCharset is whether a column has another character set than what it is sent. MariaDB takes the values of a statement for what
// [writerSession] says the client has, which is nothing that it could convert: it would keep their bytes, and they would be other characters.
// Literals it converts.
func (c *conn) ofOtherCharset(ctx context.Context) (bool, error) {
	others, err := c.ask(ctx, "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE()"+
		" AND TABLE_NAME='workflow_steps' AND COLUMN_NAME IN ('run_id','node_id','state') AND CHARACTER_SET_NAME<>'utf8mb4'")
	if withTransaction(err) {
		return true, nil // it does not say
	}
	return err == nil && others != "0", err
}

// mayUncheck is whether MariaDB can be told to take the rows without checks, and there are none on them but that JSON is JSON, which
// ingest has checked: the operator has made no constraints, and no triggers, whose own statements would go unchecked as well.
func (c *conn) mayUncheck(ctx context.Context) (bool, error) {
	others, err := c.ask(ctx, "SELECT (SELECT COUNT(*) FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=DATABASE()"+
		" AND TABLE_NAME='workflow_steps' AND CHECK_CLAUSE<>'json_valid(`state`)')"+
		"+(SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA=DATABASE() AND EVENT_OBJECT_TABLE='workflow_steps')")
	if withTransaction(err) {
		return false, nil // an older one, or one whose user may not look
	}
	return others == "0", err
}

// withTransaction is whether the server refused a statement, and kept the transaction that it is of. After a deadlock, or when a node of a Galera cluster
// had to give way to another, that is gone, with the fence (I3): what came next would begin another, without one.
func withTransaction(err error) bool {
	answer, answered := errors.AsType[*mysql.MySQLError](err)
	if !answered {
		return false
	}
	class := string(answer.SQLState[:2])
	const waited = 1205                                              // with innodb_rollback_on_timeout, all of it is rolled back
	return class != "40" && class != "08" && answer.Number != waited // rolled back; no connection, or no member
}

// ask is the one value that q asks for.
func (c *conn) ask(ctx context.Context, q string) (_ string, err error) {
	rows, err := c.QueryContext(ctx, q, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	one := make([]driver.Value, 1)
	if err := rows.Next(one); err != nil {
		return "", err //nolint:wrapcheck // writeBulk does.
	}
	switch v := one[0].(type) {
	case []byte:
		return string(v), nil
	default:
		return fmt.Sprint(v), nil
	}
}

// forget lets go of the connection's statements, and of what was looked up for them: they may be another server's, or of another table.
func (c *conn) forget() {
	for _, st := range c.statements {
		_ = st.(driver.Stmt).Close() //nolint:forcetypeassert // each was made as one.
	}
	c.statements, c.asked, c.unchecked, c.bytes = nil, false, false, false
}

// isNull is whether the server refused a NULL, which is sent by nobody: a column is not of utf8mb4 any more.
func isNull(err error) bool {
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && answer.Number == 1048
}

// timeText appends t as appendTime does, without the quotes.
func timeText(dst []byte, t time.Time) []byte {
	dst = appendTime(dst, t)
	return dst[1 : len(dst)-1]
}
