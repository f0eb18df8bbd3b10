package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// cli runs a command line on the stack.
func (s *stack) cli(args ...string) (string, error) {
	s.t.Helper()
	return persistd(s.t.Context(), s.settings(), args...)
}

// Runs go to a file and back: into a new persistd, under other names, again, and over what is there.
func TestRunsAreExportedAndImported(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.everything(s.open(client.WithMaxDepth(100)), 4, 0)
	st := s.open()
	frontier := json.RawMessage(`[{"order":9007199254740993,"x":1.10}]`)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), client.CheckpointV2[json.RawMessage]{RunID: "run-3", StepID: 7, State: json.RawMessage(`{"a":"line\nbreak"}`), Frontier: frontier}))

	dir := t.TempDir()
	for _, name := range []string{"runs.ndjson", "runs.ndjson.zst"} {
		file := filepath.Join(dir, name)
		_, err := s.cli("export", "--all", "--checkpoint=mark-0", "-o", file)
		require.NoError(t, err)
		left, err := filepath.Glob(filepath.Join(dir, ".*"))
		require.NoError(t, err)
		require.Empty(t, left)

		other := sharedStack(t)
		other.serveHere(hooks{})
		out, err := other.cli("import", file)
		require.NoError(t, err)
		require.Regexp(t, `^imported 5 runs: \d\d records saved, 0 were there, 2 of older attempts left out\n$`, out)
		same := func(run string) {
			t.Helper()
			want, step, err := st.LoadLatest(t.Context(), run)
			require.NoError(t, err)
			got, gotStep, err := other.open().LoadLatest(t.Context(), run)
			require.NoError(t, err)
			require.Equal(t, step, gotStep, "also where another attempt had got further")
			require.JSONEq(t, string(want), string(got))
		}
		for i := range 4 {
			same(fmt.Sprintf("run-%d", i))
		}
		state, _, err := other.open().LoadCheckpoint(t.Context(), "mark-0")
		require.NoError(t, err)
		require.NotEmpty(t, state)
		var kept string
		require.NoError(t, other.db.QueryRowContext(t.Context(), "SELECT frontier FROM workflow_checkpoints_v2 WHERE run_id='run-3' AND step_id=7").Scan(&kept))
		require.Contains(t, kept, "9007199254740993")
		other.clean("--pause=0s")

		events := other.events()
		out, err = other.cli("import", file)
		require.NoError(t, err)
		require.Contains(t, out, ": 0 records saved, ")
		require.Equal(t, events, other.events(), "what is there is not written again")
	}

	s.importsWhateverTheNameIs(dir)

	file := filepath.Join(dir, "runs.ndjson")
	_, err := s.cli("import", file, "--into-prefix=copy-of-", "--rename=run-3=third")
	require.NoError(t, err)
	require.Equal(t, s.rows("run_id='run-2'"), s.rows("run_id='copy-of-run-2'"))
	require.Equal(t, s.rows("run_id='run-3'"), s.rows("run_id='third'"))

	require.NoError(t, st.SaveStep(t.Context(), "run-3", 1, "node", json.RawMessage(`"changed"`)))
	one := filepath.Join(dir, "one.ndjson")
	_, err = s.cli("export", "--run=run-3", "--run=run-3", "--prefix=run-3", "-o", one) // once
	require.NoError(t, err)
	require.NoError(t, st.SaveStep(t.Context(), "run-3", 1, "node", json.RawMessage(`"changed again"`)))
	_, err = s.cli("import", one)
	require.ErrorContains(t, err, `line 4: step 1 of run "run-3" is there with other content`)
	_, err = s.cli("import", one, "--replace", "--rename=run-3=run-1")
	require.ErrorContains(t, err, "the run has attempts here, and an archive none")
	_, err = s.cli("import", one, "--replace")
	require.NoError(t, err)
	again, err := s.cli("export", "--run=run-3")
	require.NoError(t, err)
	want, err := os.ReadFile(one)
	require.NoError(t, err)
	require.Equal(t, afterHeader(string(want)), afterHeader(again))
}

// importsWhateverTheNameIs imports the archive in dir in each form, under a name that says nothing of it.
func (s *stack) importsWhateverTheNameIs(dir string) {
	s.t.Helper()
	plain, err := os.ReadFile(filepath.Join(dir, "runs.ndjson"))
	require.NoError(s.t, err)
	zstandard, err := os.ReadFile(filepath.Join(dir, "runs.ndjson.zst"))
	require.NoError(s.t, err)
	var gzipped bytes.Buffer
	z := gzip.NewWriter(&gzipped)
	_, err = z.Write(plain)
	require.NoError(s.t, errors.Join(err, z.Close()))
	file := filepath.Join(dir, "backup")
	for name, body := range map[string][]byte{"zstd": zstandard, "gzip": gzipped.Bytes(), "plain": plain} {
		require.NoError(s.t, os.WriteFile(file, body, 0o600))
		out, err := s.cli("import", file)
		require.NoError(s.t, err, name)
		require.Contains(s.t, out, "imported 5 runs: 0 records saved, ", name)
	}
	require.NoError(s.t, os.WriteFile(file, zstandard[:len(zstandard)/2], 0o600))
	_, err = s.cli("import", file)
	require.Error(s.t, err, "it is cut off")
}

// afterHeader is an archive without its first line, which has a time.
func afterHeader(archive string) string {
	_, rest, _ := strings.Cut(archive, "\n")
	return rest
}

// What is wrong with an archive is said with its line.
func TestImportSaysWhichLineIsWrong(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	const head = `{"record":"archive","format":"persistd-runs","version":1,"exported_at":"2026-01-01T00:00:00Z"}`
	const run = `{"record":"run","run_id":"run"}`
	const step = `{"record":"step","step":1,"node_id":"n","saved_at":"2026-01-01T00:00:00Z","state":{"a":1}}`
	file := filepath.Join(t.TempDir(), "archive")
	for _, row := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"nothing", nil, "archive is empty"},
		{"no archive", []string{step}, `line 1: is a record "step"; an archive begins with a record "archive"`},
		{"not JSON", []string{head, `{"record":`}, "line 2: is no JSON object"},
		{"another format", []string{`{"record":"archive","format":"x","version":1}`}, `line 1: format is "x"`},
		{"a later version", []string{`{"record":"archive","format":"persistd-runs","version":2,"more":1}`}, "line 1: version is 2, this persistd reads 1"},
		{"an unknown record", []string{head, `{"record":"wish"}`}, `line 2: record "wish" is unknown`},
		{"an unknown member", []string{head, `{"record":"run","run_id":"r","wish":1}`}, `line 2: read run: json: unknown field "wish"`},
		{"a step of nobody", []string{head, step}, "line 2: is a step without a run before it"},
		{"a bad id", []string{head, `{"record":"run","run_id":"r "}`}, "line 2: run id ends in a space"},
		{"no order", []string{head, run, step, step}, "line 4: step 1: numbers do not rise"},
		{"a state that is none", []string{head, run, `{"record":"step","step":1,"node_id":"n","state":}`}, "line 3: "},
		{"its end is missing", []string{head, run, step}, "archive is cut off after line 3"},
		{"a line is missing", []string{head, run, `{"record":"end","runs":1,"records":1}`}, "line 3: archive has 1 runs and 0 records, and says that it had 1 and 1"},
		{"there is more", []string{head, `{"record":"end","runs":0,"records":0}`, run}, "line 3: there is something after the end record"},
	} {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(row.lines, "\n")), 0o600))
		_, err := s.cli("import", file)
		require.ErrorContains(t, err, row.want, row.name)
		require.NotContains(t, err.Error(), "0 records were saved", row.name)
	}
	require.NoError(t, os.WriteFile(file, bytes.Join([][]byte{[]byte(head), []byte(run), []byte(step), []byte(`{"record":"end","runs":1,"records":1}`)}, []byte("\r\n")), 0o600))
	_, err := s.cli("import", file)
	require.NoError(t, err)
	for args, want := range map[string]string{
		"export": "export: say what", "export --all --since=1h": "give --all, or --prefix and --since", "export --run=nobody": `export run "nobody": not found`,
		"import /nowhere/at/all": "no such file",
	} {
		_, err := s.cli(strings.Fields(args)...)
		require.ErrorContains(t, err, want)
	}
}
