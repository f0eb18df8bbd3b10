package devstack_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
)

// Not parallel: it changes the environment.
func TestMissingProgramNamesTheCommandThatInstallsIt(t *testing.T) {
	start := func(engine devstack.Engine) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := devstack.StartDatabase(ctx, devstack.DatabaseOptions{Engine: engine, Dir: t.TempDir()})
			return err
		}
	}
	for name, row := range map[string]struct {
		variable, want string
		start          func(context.Context) error
	}{
		"MariaDB": {"PERSISTD_MARIADBD", "find mariadbd: not installed; run `make deps`", start(devstack.MariaDB)},
		"MySQL":   {"PERSISTD_MYSQL_HOME", "find mysqld: not installed; run `make deps-mysql`", start(devstack.MySQL)},
		"nats-server": {
			"PERSISTD_NATS_SERVER", "find nats-server: not installed; run `make bin/nats-server`",
			func(ctx context.Context) error {
				_, err := devstack.StartNATSProcess(ctx, devstack.NATSOptions{Dir: t.TempDir()})
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(row.variable, filepath.Join(t.TempDir(), "nothing"))
			err := row.start(t.Context())
			var missing *devstack.MissingError
			require.ErrorAs(t, err, &missing)
			require.EqualError(t, err, row.want)
		})
	}
}

func TestEngineNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]devstack.Engine{
		"": devstack.MariaDB, "mariadb": devstack.MariaDB, "MySQL": devstack.MySQL,
	} {
		got, err := devstack.ParseEngine(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := devstack.ParseEngine("postgres")
	require.EqualError(t, err, `parse engine "postgres": want mariadb or mysql`)
}
