package config_test

import (
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// environment is a test's own, so that tests can run side by side and nothing of the machine's gets in.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

// load does what a command does, short of validating.
func load(env environment, args ...string) (config.Config, error) {
	var flags config.Flags
	parser, err := kong.New(&flags, config.Options(env.lookup)...)
	if err != nil {
		return config.Config{}, err
	}
	if _, err := parser.Parse(args); err != nil {
		return config.Config{}, err
	}
	return flags.Complete(env.lookup)
}

func mustLoad(t *testing.T, env environment, args ...string) config.Config {
	t.Helper()
	c, err := load(env, args...)
	require.NoError(t, err)
	return c
}

const dsn = "app:hunter2@tcp(db:3306)/langgraph?parseTime=true"

// valid is the least that validates.
func valid() config.Config {
	c := config.Default()
	c.MySQL.DSN = dsn
	return c
}
