package demo

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSyntheticRunsLookLikeAgents(t *testing.T) {
	t.Parallel()
	smallest, largest, shortest, longest := 1<<30, 0, 1<<30, 0
	for seed := range uint64(200) {
		run := Synthetic(rand.New(rand.NewPCG(seed, 1)))
		require.Equal(t, run, Synthetic(rand.New(rand.NewPCG(seed, 1))), "a seed makes it reproducible")
		shortest, longest = min(shortest, len(run)), max(longest, len(run))
		for i, s := range run {
			require.Equal(t, i+1, s.Step)
			require.Contains(t, nodes, s.NodeID)
			require.True(t, json.Valid(s.State))
			if i > 0 {
				require.Greater(t, len(s.State), len(run[i-1].State), "each holds the conversation so far")
			}
			smallest, largest = min(smallest, len(s.State)), max(largest, len(s.State))
		}
	}
	require.Equal(t, []int{6, 20}, []int{shortest, longest})
	require.InDelta(t, 1<<10, smallest, 300)
	require.Greater(t, largest, 32<<10)
	require.Less(t, largest, 48<<10)
}

func TestRecordedRunsAreReadFromAFile(t *testing.T) {
	t.Parallel()
	const lines = `{"run_id":"a","step":1,"node_id":"x","state":{"n": "<1>"}}
		{"run_id":"b","step":7,"node_id":"y","state":null}

		{"run_id":"a","step":2,"node_id":"z","state":[]}` // interleaved, a blank line, no line feed at the end
	for name, content := range map[string][]byte{"plain": []byte(lines), "gzip": zip(t, lines)} {
		runs, err := Recorded(write(t, content))
		require.NoError(t, err, name)
		seen := map[string][]Step{}
		rng := rand.New(rand.NewPCG(1, 1))
		for range 100 {
			run := runs(rng)
			seen[run[0].RunID] = run
		}
		require.Equal(t, map[string][]Step{
			"a": {{"a", 1, "x", json.RawMessage(`{"n":"\u003c1\u003e"}`)}, {"a", 2, "z", json.RawMessage(`[]`)}},
			"b": {{"b", 7, "y", json.RawMessage(`null`)}},
		}, seen, name)
	}
}

func TestFileThatIsNoRecordingIsRefused(t *testing.T) {
	t.Parallel()
	const good = `{"run_id":"a","step":1,"node_id":"x","state":{}}` + "\n"
	whole := zip(t, good)
	for name, row := range map[string]struct {
		content []byte
		want    string
	}{
		"it is empty":                   {nil, "it has none"},
		"it is an empty gzip":           {zip(t, ""), "it has none"},
		"its second line is no JSON":    {[]byte(good + "nonsense"), "read step 2 of"},
		"its second line ends too soon": {[]byte(good + `{"run_id":"a"`), "read step 2 of"},
		"a step is a string":            {[]byte(`{"run_id":"a","step":"1","state":{}}`), "read step 1 of"},
		"a line has no run":             {[]byte(good + `{"step":1,"state":{}}`), `read step 2 of`},
		"a line has no state":           {[]byte(`{"run_id":"a","step":1}`), `a line is {"run_id","step","node_id","state"}`},
		"it has one byte":               {[]byte{0x1f}, "read step 1 of"},
		"it is a gzip's first bytes":    {whole[:4], "read steps from"},
		"it is half a gzip":             {whole[:len(whole)-12], "read step"},
		"it is a damaged gzip":          {append(whole[:len(whole)-8:len(whole)-8], make([]byte, 8)...), "read step"},
	} {
		path := write(t, row.content)
		_, err := Recorded(path)
		require.ErrorContains(t, err, row.want, name)
		require.ErrorContains(t, err, path, name)
	}
	_, err := Recorded(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func zip(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(s))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "steps")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}
