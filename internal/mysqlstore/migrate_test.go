package mysqlstore

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/partition"
)

// migrations is how many this version has, and the newest one's version.
func migrations(t testing.TB, s *Store) (all int, newest int64) {
	t.Helper()
	p, err := s.schema().provider(s.leases)
	require.NoError(t, err)
	sources := p.ListSources()
	return len(sources), sources[len(sources)-1].Version
}

func TestMigrateTwiceDoesNothingTheSecondTime(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	was := shape(t, look, "workflow_steps")
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.CheckSchema(t.Context()))
	require.Equal(t, was, shape(t, look, "workflow_steps"))
	var n int
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+versionTable+" WHERE version_id>0").Scan(&n))
	all, _ := migrations(t, s)
	require.Equal(t, all, n)
}

func TestReplicasThatMigrateAtOnceApplyEachMigrationOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		old  bool
	}{{"an empty database", false}, {"a database of LangGraph-Go", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dsn := stacktest.Database(t)
			look := plain(t, dsn)
			if tt.old {
				langGraph{look}.createTables(t)
				langGraph{look}.saveStep(t, "run", 1, "n", `1`)
			}
			var g errgroup.Group
			for i := range 3 {
				s := open(t, dsn, owner(fmt.Sprint("replica", i)))
				g.Go(func() error { return s.Migrate(t.Context()) })
			}
			require.NoError(t, g.Wait())
			rows, err := look.QueryContext(t.Context(), "SELECT version_id, COUNT(*) FROM "+versionTable+" GROUP BY version_id")
			require.NoError(t, err)
			defer func() { require.NoError(t, rows.Close()) }()
			versions := 0
			for rows.Next() {
				var version, times int
				require.NoError(t, rows.Scan(&version, &times))
				require.Equal(t, 1, times, "version %d", version)
				versions++
			}
			require.NoError(t, rows.Err())
			all, _ := migrations(t, open(t, dsn))
			require.Equal(t, all+1, versions, "0, which is goose's, and ours")
		})
	}
}

func TestCheckSchemaSaysWhatIsPending(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	s := open(t, dsn)
	err := s.CheckSchema(t.Context())
	require.ErrorIs(t, err, ErrSchemaPending)
	all, newest := migrations(t, s)
	require.ErrorContains(t, err, fmt.Sprintf("%d of %d", all, all))
	requireClass(t, batcher.Operator, err)
	var n int
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema=DATABASE()").Scan(&n))
	require.Zero(t, n, "asking writes nothing")

	require.NoError(t, s.Migrate(t.Context()))
	exec(t, look, fmt.Sprintf("DELETE FROM "+versionTable+" WHERE version_id=%d", newest))
	require.ErrorContains(t, s.CheckSchema(t.Context()), fmt.Sprintf("1 of %d", all))
}

func TestASchemaOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	_, newest := migrations(t, s)
	exec(t, look, fmt.Sprintf("INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (%d, TRUE)", newest+1))
	for _, err := range []error{s.CheckSchema(t.Context()), s.Migrate(t.Context())} {
		require.ErrorIs(t, err, ErrSchemaNewer)
		require.ErrorContains(t, err, fmt.Sprintf("it is at %d, this version knows %d (run a version of persistd that is at least as new", newest+1, newest))
		requireClass(t, batcher.Operator, err)
	}
}

// user makes a user with rights to the database of dsn, and returns its DSN.
func user(t testing.TB, dsn string, grants ...string) string {
	t.Helper()
	c, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	look := plain(t, dsn)
	name := "u_" + c.DBName
	exec(t, look, "CREATE USER "+name+"@'127.0.0.1' IDENTIFIED BY 'secret'")
	t.Cleanup(func() { exec(t, look, "DROP USER "+name+"@'127.0.0.1'") })
	for _, g := range grants {
		exec(t, look, fmt.Sprintf("GRANT "+g+" TO "+name+"@'127.0.0.1'", c.DBName))
	}
	c.User, c.Passwd = name, "secret"
	return c.FormatDSN()
}

// documentedGrants are the rights that docs/schema.md lists for a user, with %s in the place of the database.
func documentedGrants(t testing.TB, user string) (grants []string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/schema.md")
	require.NoError(t, err)
	grant := regexp.MustCompile(`(?m)^GRANT (.*) ON workflows\.(\S+) +TO '` + user + `'@'%';$`)
	for _, m := range grant.FindAllStringSubmatch(string(doc), -1) {
		grants = append(grants, strings.TrimSpace(m[1])+" ON %s."+m[2])
	}
	require.NotEmpty(t, grants)
	return grants
}

func TestAUserWithoutCreateWorksOnceTheSchemaIsThere(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	langGraph{plain(t, dsn)}.createTables(t)
	reader := user(t, dsn, "SELECT, INSERT, UPDATE ON %s.*")
	s := open(t, reader)
	err := s.Migrate(t.Context())
	require.ErrorIs(t, err, ErrSchemaPending)
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "run persistd migrate")
	require.ErrorContains(t, err, "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON")

	require.NoError(t, open(t, dsn).Migrate(t.Context()))
	require.NoError(t, s.Migrate(t.Context()))
}

func TestTheRightsOfTheDocumentationAreEnough(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	langGraph{plain(t, dsn)}.createTables(t)
	langGraph{plain(t, dsn)}.saveStep(t, "run", 1, "n", `1`)
	migrator := open(t, user(t, dsn, documentedGrants(t, "persistd_migrate")...))
	require.NoError(t, migrator.Migrate(t.Context()))

	// The same name on another database would be another test's: this user's rights are replaced.
	look := plain(t, dsn)
	c, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	name := "u_" + c.DBName + "@'127.0.0.1'"
	exec(t, look, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM "+name)
	for _, g := range documentedGrants(t, "persistd") {
		exec(t, look, fmt.Sprintf("GRANT "+g+" TO "+name, c.DBName))
	}
	c.User, c.Passwd = "u_"+c.DBName, "secret"
	s := open(t, c.FormatDSN())
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 1, `2`),
		attemptOf(1, eventOf(2, "run", stepOp(1, "1"), checkpointOp("cp", 1, "1"), v2Op(1, "k", "1"), outboxOp("e", "1"))), eventOf(3, "run", deleteOp))
	_, _, _, err = s.Latest(t.Context(), 0, "run")
	require.NoError(t, err)
	for _, present := range []bool{true, false} {
		lost, err := s.Renew(t.Context(), []partition.Term{term}, present)
		require.NoError(t, err)
		require.Empty(t, lost)
	}
	_, err = s.Look(t.Context())
	require.NoError(t, err)
	_, err = s.Limits(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context(), term))

	_, err = s.Identity(t.Context())
	require.NoError(t, err)
	_, err = s.RecordGap(t.Context(), &Gap{Stream: testLog.Stream, Created: created})
	require.NoError(t, err)
	require.NoError(t, s.AcceptGaps(t.Context(), "somebody", []uint64{1}))
	_, err = s.AcceptLostEnd(t.Context(), testLog, LostEnd{})
	require.NoError(t, err)
}
