package mysqlstore

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestZeroSettingsAreTheDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, Config{DSN: "d", Owner: "o", Lease: 15 * time.Second, Writers: 4, Readers: 8, ConnectTimeout: 5 * time.Second}, Config{DSN: "d", Owner: "o"}.WithDefaults())
	c := Config{DSN: "d", Owner: "o", Lease: time.Minute, Writers: 1, Readers: 2, ConnectTimeout: time.Second}
	require.Equal(t, c, c.WithDefaults())
}

func TestValidateReportsEverythingAndNoSecret(t *testing.T) {
	t.Parallel()
	err := Config{DSN: "root:hunter2@tcp(host)", Lease: time.Millisecond, Writers: -1, Readers: 5000}.Validate()
	for _, want := range []string{"dsn: ", "owner: 0 characters", "lease: 1ms", "writers: -1", "readers: 5000"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hunter2")
	require.ErrorContains(t, Config{DSN: "root:hunter2@tcp(host)/"}.Validate(), "names no database")
	_, err = Open(Config{DSN: "root:hunter2@tcp(host)/db?tls=nowhere", Owner: "o"}, zap.NewNop(), prometheus.NewRegistry())
	require.ErrorContains(t, err, "dsn: ")
	require.NotContains(t, err.Error(), "hunter2")
	for _, dsn := range []string{"root:hunter2(host)/db", "root:hunter2/db", "root:hunter2/tcp(host)/db"} { // no @
		err := Config{DSN: dsn, Owner: "o"}.WithDefaults().Validate()
		require.ErrorContains(t, err, "dsn: is not of the form")
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestTheSessionIsWhatTheStoreNeedsWhateverTheDSNSays(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t) + "&loc=Asia%2FTokyo&charset=latin1&collation=latin1_swedish_ci&clientFoundRows=true&multiStatements=true" +
		"&sql_mode=%27NO_BACKSLASH_ESCAPES%27&time_zone=%27%2B09%3A00%27"
	s := open(t, dsn)
	client := "utf8mb4"
	if stacktest.Engine(t) == devstack.MariaDB {
		client = "binary" // it is said so that nothing is counted: see writerSession
	}
	for name, want := range map[string]string{
		"sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "time_zone": "+00:00", "character_set_client": client,
		"character_set_connection": "utf8mb4", "collation_connection": "utf8mb4_bin", "character_set_results": "utf8mb4",
	} {
		var got string
		require.NoError(t, s.writers.QueryRowContext(t.Context(), "SELECT @@session."+name).Scan(&got))
		require.Equal(t, want, got, name)
	}
	var name, isolation string
	require.NoError(t, s.writers.QueryRowContext(t.Context(), "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')").
		Scan(&name, &isolation))
	require.Equal(t, "READ-COMMITTED", isolation)
	_, err := s.writers.ExecContext(t.Context(), "SELECT 1; SELECT 2")
	require.Error(t, err, "one statement at a time")

	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, `é'\`, 1, `"é"`))
	step, _, _, err := s.Latest(t.Context(), 0, `é'\`)
	require.NoError(t, err)
	require.Equal(t, `"é"`, string(step.State))
}
