package mysqlstore

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// unwilling is a connection whose server refuses statements: questions or, if that is nil, what is to be prepared.
type unwilling struct {
	driverConn
	question, prepared *mysql.MySQLError
}

func (r unwilling) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if r.question != nil {
		return nil, r.question
	}
	return r.driverConn.QueryContext(ctx, q, args) //nolint:wrapcheck // it is the connection.
}

func (r unwilling) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, r.prepared
}

// A refusal that took the transaction with it, as that of a node of a Galera cluster which gives way, is not passed over: what followed would be
// committed without the fence.
func TestI3ARefusalThatEndedTheTransactionIsToldHoweverLittleWasAsked(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	for _, row := range []struct {
		number uint16
		state  string
		told   bool
	}{{1213, "40001", true}, {1047, "08S01", true}, {1205, "HY000", true}, {1142, "42000", false}, {1461, "42000", false}, {1109, "42S02", false}} {
		refusal := &mysql.MySQLError{Number: row.number, Message: "refused"}
		copy(refusal.SQLState[:], row.state)
		c := &conn{driverConn: unwilling{question: refusal}, servers: &servers{drivers: []*mysql.Config{{}}}}
		for name, ask := range map[string]func(context.Context) (bool, error){"character set": c.ofOtherCharset, "checks": c.mayUncheck} {
			found, err := ask(t.Context())
			require.Equal(t, row.told, err != nil, "%s, %d: %v", name, row.number, err)
			require.False(t, row.told && found, "%s, %d: nothing was found out", name, row.number)
		}
		raw, err := s.writers.Conn(t.Context())
		require.NoError(t, err)
		require.NoError(t, raw.Raw(func(it any) error {
			c := &conn{driverConn: unwilling{driverConn: it.(*conn).driverConn, prepared: refusal}, servers: &servers{drivers: []*mysql.Config{{}}}}
			_, err := c.prepare(t.Context(), group{into: &saveSteps, rows: 2})
			if row.told {
				require.ErrorIs(t, err, refusal)
			} else {
				require.ErrorIs(t, err, errNoBulk)
			}
			require.Equal(t, !row.told, c.textOnly)
			return nil
		}))
		require.NoError(t, raw.Close())
	}
}

// On the table that persistd makes MariaDB has nothing to check, and nothing to convert.
func TestTheStoresOwnTableNeedsNoChecks(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	raw, err := s.writers.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, raw.Raw(func(it any) error {
		c := it.(*conn)
		require.NoError(t, c.look(t.Context()))
		require.Equal(t, stacktest.Engine(t) == devstack.MariaDB, c.unchecked)
		require.Equal(t, stacktest.Engine(t) == devstack.MariaDB, c.bytes)
		require.False(t, c.textOnly)
		return nil
	}))
	require.NoError(t, raw.Close())
}

// What was looked up for statements goes with them: they may have been another server's.
func TestStatementsAreForgottenWithWhatWasLookedUpForThem(t *testing.T) {
	t.Parallel()
	c := &conn{asked: true, unchecked: true, statements: map[group]driver.StmtExecContext{}}
	c.forget()
	require.Equal(t, conn{}, *c)
}
