package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"

	"github.com/persistd/persistd/internal/config"
)

func TestASecretMayComeFromAFileAndNotFromBoth(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "s3cret\r\n")
	env := environment{"PERSISTD_MYSQL_DSN_FILE": file, "PERSISTD_NATS_PASSWORD_FILE": file, "PERSISTD_NATS_TOKEN_FILE": file}
	c := mustLoad(t, env)
	require.Equal(t, "s3cret", c.MySQL.DSN.Reveal(), "the trailing newline is trimmed")
	require.Equal(t, "s3cret", c.NATS.Password.Reveal())
	require.Equal(t, "s3cret", c.NATS.Token.Reveal())

	_, err := load(env, "--mysql-dsn=x", "--nats-password=x", "--nats-token=x")
	require.ErrorContains(t, err, "mysql.dsn and mysql.dsn_file: both set, want one")
	require.ErrorContains(t, err, "nats.password and nats.password_file: both set, want one")
	require.ErrorContains(t, err, "nats.token and nats.token_file: both set, want one")

	_, err = load(nil, "--mysql-dsn-file=/nowhere/dsn")
	require.ErrorContains(t, err, "mysql.dsn_file: open /nowhere/dsn")
	_, err = load(nil, "--mysql-dsn-file="+writeFile(t, "\n"))
	require.ErrorContains(t, err, "is empty")
}

func TestMySQLDSNIsTheLastResort(t *testing.T) {
	t.Parallel()
	env := environment{"MYSQL_DSN": "fallback"}
	require.Equal(t, "fallback", mustLoad(t, env).MySQL.DSN.Reveal())
	file := writeFile(t, "mysql: {dsn: from-file}")
	require.Equal(t, "from-file", mustLoad(t, env, "-c", file).MySQL.DSN.Reveal())
	env["PERSISTD_MYSQL_DSN"] = "own"
	require.Equal(t, "own", mustLoad(t, env).MySQL.DSN.Reveal())
	delete(env, "PERSISTD_MYSQL_DSN")
	env["PERSISTD_MYSQL_DSN_FILE"] = writeFile(t, "in-a-file")
	require.Equal(t, "in-a-file", mustLoad(t, env).MySQL.DSN.Reveal())
}

// Every way a program prints things, and nothing of a secret in any of them.
func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.MySQL.DSN = "app:hunter2@tcp(db:3306)/langgraph"
	c.NATS.URL = "nats://me:hunter2@a:4222,tls://hunter2@b:4222,nats://c:4222"
	c.NATS.Password, c.NATS.Token = "hunter2", "hunter2"

	shown := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, any(c.MySQL)) + fmt.Sprintf(verb, any(c.NATS.Password))
	}
	asJSON, err := json.Marshal(c.MySQL)
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(c.MySQL)
	require.NoError(t, err)
	entry, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(zapcore.Entry{},
		[]zapcore.Field{zap.Any("config", c.MySQL), zap.Stringer("dsn", c.MySQL.DSN), zap.Any("dsn", c.MySQL.DSN)})
	require.NoError(t, err)
	c.Batch.Rows = 0 // so that there is something to say
	for _, text := range []string{shown, string(asJSON), string(asYAML), entry.String(), c.Redacted(), c.Validate().Error()} {
		require.NotContains(t, text, "hunter2")
		require.NotContains(t, text, fmt.Sprintf("%x", "hunter2"))
	}
	require.Contains(t, c.Redacted(), "dsn: app:******@tcp(db:3306)/langgraph")
	require.Contains(t, c.Redacted(), "url: nats://me:******@a:4222,tls://******@b:4222,nats://c:4222")
	require.Contains(t, c.Redacted(), "token: '******'")
}

func TestAnErrorAboutADSNNeverRepeatsIt(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]config.Secret{
		"no slash":                     "app:hunter2@tcp(db:3306)",
		"no @":                         "app:hunter2(db:3306)/langgraph",
		"no database":                  "app:hunter2@tcp(db:3306)/",
		"bracket left open":            "app:hunter2@tcp(db:3306/langgraph",
		"network that does not exist":  "app:x@hunter2/langgraph",
		"password with a slash, alone": "app:x/hunter2",
		"parameter that is no boolean": "app:x@tcp(db)/langgraph?parseTime=hunter2",
		"TLS configuration unknown":    "app:x@tcp(db)/langgraph?tls=hunter2",
		"name badly escaped":           "app:x@tcp(db)/hunter2%zz",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config.Default()
			c.MySQL.DSN = dsn
			err := c.Validate()
			require.ErrorContains(t, err, "mysql.dsn: must")
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, c.Redacted(), "hunter2")
		})
	}
}

func TestWhatIsPrintedCanBeReadBack(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Instance, c.Batch.Bytes, c.Stream.ReplayWindow, c.Log.Level = "pod: 'ä' #1", 3<<20, 0, "warn"
	got := mustLoad(t, nil, "-c", writeFile(t, c.Redacted()))
	require.Equal(t, c, got)
	require.Contains(t, c.Redacted(), "# Rows in one batch at most")
	require.Contains(t, c.Redacted(), "rows: 1000\n")
	require.Contains(t, c.Redacted(), "drain_timeout: 20s\n")
	for i, line := range strings.Split(c.Redacted(), "\n") {
		require.LessOrEqual(t, len(line), 110, "line %d", i)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Bytes{
		"0": 0, "1": 1, "1KiB": 1024, "1 kB": 1000, "16MiB": 16 << 20, "1.5GiB": 3 << 29, "8191PiB": 8191 << 50,
	} {
		var b config.Bytes
		require.NoError(t, b.UnmarshalText([]byte(text)))
		require.Equal(t, want, b, text)
		var again config.Bytes
		require.NoError(t, again.UnmarshalText([]byte(b.String())))
		require.Equal(t, b, again, b.String())
	}
	for _, text := range []string{"", "-1", "1 apple", "9EiB", "MiB"} {
		require.Error(t, errors.Join(new(config.Bytes).UnmarshalText([]byte(text))), text)
	}
}

func TestADataSourceNameWithSeveralAddressesIsValidAndShownAsItWasWritten(t *testing.T) {
	t.Parallel()
	const list = "app:hunter2@tcp(a:3306,b:3306,[::1]:3307)/langgraph"
	c := mustLoad(t, environment{"PERSISTD_MYSQL_DSN": list})
	require.NoError(t, c.Validate())
	require.Contains(t, c.Redacted(), "@tcp(a:3306,b:3306,[::1]:3307)/langgraph")
	require.NotContains(t, c.Redacted(), "hunter2")
}
