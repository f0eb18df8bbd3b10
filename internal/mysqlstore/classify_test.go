package mysqlstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	number := func(n uint16, state string) error {
		e := &mysql.MySQLError{Number: n, Message: "x"}
		copy(e.SQLState[:], state)
		return e
	}
	for _, tt := range []struct {
		name string
		err  error
		want batcher.Class
	}{
		{"a deadlock", number(1213, "40001"), batcher.Again},
		{"a lock wait timeout", number(1205, "HY000"), batcher.Again},
		{"a server that shuts down", number(1053, "08S01"), batcher.Again},
		{"a demoted primary", number(1290, "HY000"), batcher.Again},
		{"a Galera node that is not ready", number(1047, "08S01"), batcher.Again},
		{"a value too long", number(1406, "22001"), batcher.Never},
		{"JSON that MySQL refuses", number(3140, "22032"), batcher.Never},
		{"JSON that MariaDB refuses", number(4025, "23000"), batcher.Never},
		{"one row over the packet", number(1153, "08S01"), batcher.Never},
		{"a missing right", number(1142, "42000"), batcher.Operator},
		{"a missing table", number(1146, "42S02"), batcher.Operator},
		{"a full disk", number(1021, "HY000"), batcher.Operator},
		{"a column of the user's without a default", number(1364, "HY000"), batcher.Operator},
		{"an unknown number about data", number(9999, "22999"), batcher.Never},
		{"an unknown number about a constraint", number(9999, "23999"), batcher.Never},
		{"an unknown number about anything else", number(9999, "HY000"), batcher.Again},
		{"an unknown number without a state", number(9999, ""), batcher.Again},
		{"a broken connection", mysql.ErrInvalidConn, batcher.Again},
		{"a bad connection", driver.ErrBadConn, batcher.Again},
		{"a connection that ended", io.EOF, batcher.Again},
		{"a refused connection", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, batcher.Again},
		{"a name that does not resolve, yet", &net.DNSError{Err: "no such host", IsNotFound: true}, batcher.Again},
		{"a ctx that ended", context.Canceled, batcher.Again},
		{"a deadline", context.DeadlineExceeded, batcher.Again},
		{"a certificate that is not trusted", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, batcher.Operator},
		{"an authentication that the DSN does not allow", mysql.ErrNativePassword, batcher.Operator},
		{"whatever else", errors.New("?"), batcher.Again},
		{"what knows its class", &verdict{class: batcher.Moved, err: errors.New("?")}, batcher.Moved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := Classify(fmt.Errorf("do it: %w", tt.err))
			require.Equal(t, tt.want, e.Class)
			require.ErrorIs(t, e, tt.err)
			if tt.want == batcher.Operator || errors.As(tt.err, new(*net.OpError)) {
				require.NotEmpty(t, e.Hint, "an operator must know what to do")
			}
			require.Equal(t, e, Classify(e), "twice is once")
		})
	}
}

func TestEveryRuleForAnOperatorHasAHint(t *testing.T) {
	t.Parallel()
	for number, r := range rules {
		require.Contains(t, []batcher.Class{batcher.Again, batcher.Operator, batcher.Never}, r.class)
		require.False(t, r.class == batcher.Operator && r.hint == "", "%d", number)
	}
}

func TestErrorsOfTheRealServer(t *testing.T) {
	t.Parallel()
	node := strings.Repeat("n", 256)
	for _, tt := range []struct {
		name    string
		prepare string
		node    string
		state   string
		want    batcher.Class
	}{
		{name: "a node id that is too long", node: node, state: `1`, want: batcher.Refused},
		{name: "a state that is no JSON", state: `{`, want: batcher.Refused},
		{name: "a state that is empty", state: ``, want: batcher.Refused},
		{name: "a state nested deeper than any server takes", state: strings.Repeat("[", 200) + strings.Repeat("]", 200), want: batcher.Refused},
		{name: "a state with half a surrogate pair", state: `"\ud800"`, want: batcher.Refused},
		{name: "a node id that is not UTF-8", node: "\xff", state: `1`, want: batcher.Refused},
		{name: "a table that is missing", prepare: "DROP TABLE workflow_steps", state: `1`, want: batcher.Operator},
		{name: "a column that is missing", prepare: "ALTER TABLE workflow_steps DROP COLUMN log_gen", state: `1`, want: batcher.Operator},
		{
			name: "a column of the user's without a default", prepare: "ALTER TABLE workflow_steps ADD COLUMN tenant INT NOT NULL",
			state: `1`, want: batcher.Operator,
		},
		{
			name:    "a trigger that refuses",
			prepare: "CREATE TRIGGER r BEFORE INSERT ON workflow_steps FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT='no'",
			state:   `1`, want: batcher.Operator,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			term := acquire(t, s, 0)
			if tt.prepare != "" {
				exec(t, look, tt.prepare)
			}
			e := save(2, "run", 1, tt.state)
			e.Ops[0].NodeID = tt.node
			err := s.Commit(t.Context(), batch(term, save(1, "before", 1, `1`), e))
			requireClass(t, tt.want, err)
			var told *batcher.Error
			require.ErrorAs(t, err, &told)
			require.NotZero(t, told.Number)
			require.Zero(t, position(t, s, 0))
			if tt.prepare == "" {
				require.Zero(t, count(t, look, "before"), "the batch is one transaction")
				require.NoError(t, s.Commit(t.Context(), batch(term, save(1, "before", 1, `1`))), "nothing is left open: half of it goes")
				require.Equal(t, 1, count(t, look, "before"))
			}
		})
	}
	for _, tt := range []struct {
		name   string
		change func(*mysql.Config)
		number uint16
		want   batcher.Class
	}{
		{"a wrong password", func(c *mysql.Config) { c.Passwd = "wrong" }, 1045, batcher.Operator},
		{"a database that is not there", func(c *mysql.Config) { c.DBName = "nowhere" }, 1049, batcher.Operator},
		{"a server that is not there", func(c *mysql.Config) { c.Addr = "127.0.0.1:1" }, 0, batcher.Again},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := mysql.ParseDSN(stacktest.Database(t))
			require.NoError(t, err)
			tt.change(c)
			err = open(t, c.FormatDSN()).Ping(t.Context())
			requireClass(t, tt.want, err)
			var e *batcher.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.number, e.Number)
			require.NotContains(t, err.Error(), c.Passwd)
		})
	}
}

func TestErrorsAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s, err := Open(Config{DSN: "root@tcp(127.0.0.1:1)/none", Owner: "one"}, zap.NewNop(), reg)
	require.NoError(t, err)
	require.Error(t, s.Ping(t.Context()))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP persistd_database_errors_total Errors of the database by what they mean for a batch and by the database's error number, 0 for a broken connection.
# TYPE persistd_database_errors_total counter
persistd_database_errors_total{class="again",number="0"} 1
`), "persistd_database_errors_total"))
	n, err := testutil.GatherAndCount(reg, "go_sql_open_connections")
	require.NoError(t, err)
	require.Equal(t, 4, n, "one per pool")
	require.NoError(t, s.Close())
	n, err = testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Zero(t, n, "Close takes the metrics along")
	require.NoError(t, s.Close(), "and is idempotent")
}
