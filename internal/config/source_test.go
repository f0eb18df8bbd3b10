package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/config"
)

// get reads a setting's field by its path, as the tests' own walk of the struct: groups by prefix, fields by name.
func get(t *testing.T, c config.Config, path string) any {
	t.Helper()
	var found any
	walk(reflect.ValueOf(c), "", func(p string, v reflect.Value) {
		if p == path {
			found = v.Interface()
		}
	})
	require.NotNil(t, found, "no field for %s", path)
	return found
}

func walk(v reflect.Value, prefix string, visit func(path string, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if p, nested := f.Tag.Lookup("prefix"); nested {
			walk(v.Field(i), strings.TrimSuffix(p, "-")+".", visit)
			continue
		}
		visit(prefix+strings.ReplaceAll(f.Tag.Get("name"), "-", "_"), v.Field(i))
	}
}

// samples are three texts of one type that differ from each other and from every default, and what they mean.
func samples(t *testing.T, typ reflect.Type) (texts [3]string, values [3]any) {
	t.Helper()
	switch typ {
	case reflect.TypeFor[string]():
		return [3]string{"one", "two", "three"}, [3]any{"one", "two", "three"}
	case reflect.TypeFor[config.Secret]():
		return [3]string{"one", "two", "three"}, [3]any{config.Secret("one"), config.Secret("two"), config.Secret("three")}
	case reflect.TypeFor[int]():
		return [3]string{"71", "72", "73"}, [3]any{71, 72, 73}
	case reflect.TypeFor[config.Bytes]():
		return [3]string{"9MiB", "5 MB", "7"}, [3]any{config.Bytes(9 << 20), config.Bytes(5_000_000), config.Bytes(7)}
	case reflect.TypeFor[time.Duration]():
		return [3]string{"71s", "72ms", "73h"}, [3]any{71 * time.Second, 72 * time.Millisecond, 73 * time.Hour}
	}
	t.Fatalf("no sample for a setting of type %s: add one", typ)
	return texts, values
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "persistd.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func yamlOf(path, value string) string {
	if group, name, nested := strings.Cut(path, "."); nested {
		return fmt.Sprintf("%s:\n  %s: %s\n", group, name, value)
	}
	return fmt.Sprintf("%s: %s\n", path, value)
}

func TestEveryFieldIsASetting(t *testing.T) {
	t.Parallel()
	var fields []string
	walk(reflect.ValueOf(config.Config{}), "", func(path string, _ reflect.Value) { fields = append(fields, path) })
	var settings []string
	for _, s := range config.Settings() {
		settings = append(settings, s.Path)
	}
	require.Equal(t, fields, settings)
	require.Greater(t, len(settings), 30)
}

func TestEverySettingHasADocumentedMeaningAndThreeWays(t *testing.T) {
	t.Parallel()
	for _, s := range config.Settings() {
		t.Run(s.Path, func(t *testing.T) {
			t.Parallel()
			texts, values := samples(t, s.Type)
			if s.Secret != "" { // names a file, which must exist
				for i := range texts {
					texts[i] = writeFile(t, "secret\n")
					values[i] = texts[i]
				}
			}
			require.NotEmpty(t, s.Help, "the field has no comment")
			require.True(t, strings.HasSuffix(s.Help, "."), "the comment is no sentence: %q", s.Help)

			file := writeFile(t, yamlOf(s.Path, texts[0]))
			env := environment{s.Env: texts[1], "PERSISTD_CONFIG": file}
			flag := "--" + s.Flag + "=" + texts[2]

			if s.Default != "" {
				require.NotContains(t, values, get(t, mustLoad(t, nil), s.Path), "the sample is the default")
			}
			require.Equal(t, values[0], get(t, mustLoad(t, nil, "--config", file), s.Path), "from the file")
			require.Equal(t, values[0], get(t, mustLoad(t, environment{"PERSISTD_CONFIG": file}), s.Path), "from the environment's file")
			require.Equal(t, values[1], get(t, mustLoad(t, env), s.Path), "the environment wins over the file")
			require.Equal(t, values[2], get(t, mustLoad(t, env, flag), s.Path), "the flag wins over both")

			env[s.Env] = ""
			require.Equal(t, values[0], get(t, mustLoad(t, env), s.Path), "an empty variable counts as not set")
		})
	}
}

func TestOneSourceLeavesTheOthersSettingsAlone(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "nats: {url: 'nats://file:4222', user: file}\nbatch:\n  rows: 7\nmysql:\nlog: {level: }\n")
	c := mustLoad(t, environment{"PERSISTD_NATS_USER": "env"}, "-c", file, "--batch-bytes=1MiB")
	require.Equal(t, "nats://file:4222", c.NATS.URL)
	require.Equal(t, "env", c.NATS.User)
	require.Equal(t, 7, c.Batch.Rows)
	require.Equal(t, config.Bytes(1<<20), c.Batch.Bytes)
	require.Equal(t, "info", c.Log.Level, "a key without a value leaves the default")
	require.Equal(t, 4, c.MySQL.Writers, "a group without settings leaves the defaults")
}

func TestEverythingWrongWithTheFileAndTheEnvironmentIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	file := writeFile(t, `
nats:
  ulr: nats://x:4222
  connect-timeout: 1s
natss: {}
batch: 12
stream:
  replicas: [3]
  partitions: many
  max_bytes: 3 apples
  name: A
  name: B
mysql_dsn: user:hunter2@tcp(db)/x
completely-else: 1
`)
	_, err := load(environment{"PERSISTD_LEASE_DURATION": "ten"}, "--config", file)
	require.Error(t, err)
	for _, want := range []string{
		"persistd.yaml:3: unknown setting nats.ulr (did you mean nats.url?)",
		"persistd.yaml:4: unknown setting nats.connect-timeout (did you mean nats.connect_timeout?)",
		"persistd.yaml:5: unknown setting natss (did you mean nats?)",
		"persistd.yaml:6: batch: want settings under it as key: value",
		"persistd.yaml:8: stream.replicas: want one value",
		`persistd.yaml:9: stream.partitions: parse number "many"`,
		`persistd.yaml:10: stream.max_bytes: parse size "3 apples"`,
		"persistd.yaml:12: stream.name: set twice",
		"persistd.yaml:13: unknown setting mysql_dsn (did you mean mysql.dsn?)",
		"persistd.yaml:14: unknown setting completely-else\n",
		`PERSISTD_LEASE_DURATION: parse duration "ten"`,
	} {
		require.Contains(t, err.Error()+"\n", want)
	}
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	_, err := load(nil, "--config", filepath.Join(t.TempDir(), "missing.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = load(nil, "--config", writeFile(t, "nats: {url"))
	require.ErrorContains(t, err, "persistd.yaml")
	_, err = load(nil, "--config", writeFile(t, "- nats"))
	require.ErrorContains(t, err, "want settings as key: value")
	_, err = load(nil, "--config", writeFile(t, "# nothing set\n"))
	require.NoError(t, err)
}

func TestAliasesInTheFileAreFollowed(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, nil, "-c", writeFile(t, "retry: {min: &pause 70ms, max: *pause}"))
	require.Equal(t, 70*time.Millisecond, c.Retry.Max)
}

func TestMisspelledVariablesAreListed(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"PERSISTD_BATCHROWS (did you mean PERSISTD_BATCH_ROWS?)",
		"PERSISTD_NATS_ULR (did you mean PERSISTD_NATS_URL?)",
	}, config.UnknownEnv([]string{
		"PERSISTD_NATS_ULR=x", "PERSISTD_BATCHROWS=1", "PERSISTD_CONFIG=y", "PERSISTD_NATS_URL=z", "HOME=/",
		"PERSISTD_SERVICE_HOST=10.0.0.1", "PERSISTD_SERVICE_PORT_HTTP=80", "PERSISTD_PORT=tcp://10.0.0.1:80",
		"PERSISTD_PORT_80_TCP_ADDR=10.0.0.1",
	}))
}

func TestHelpShowsMeaningDefaultAndVariable(t *testing.T) {
	t.Parallel()
	var flags config.Flags
	var out bytes.Buffer
	options := append(config.Options(environment{}.lookup), kong.Writers(&out, &out), kong.Exit(func(int) {}))
	parser, err := kong.New(&flags, options...)
	require.NoError(t, err)
	_, err = parser.Parse([]string{"--help"})
	require.NoError(t, err)
	help := strings.Join(strings.Fields(out.String()), " ")
	for _, s := range config.Settings() {
		require.Contains(t, help, s.Help+" ($"+s.Env+")")
	}
	require.Contains(t, help, "--batch-rows=1000")
	require.Contains(t, help, "($PERSISTD_CONFIG)")
}
