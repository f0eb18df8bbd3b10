package demo

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// Step is one step of a run: what a worker saves.
type Step struct {
	RunID  string          `json:"run_id"`
	Step   int             `json:"step"`
	NodeID string          `json:"node_id"`
	State  json.RawMessage `json:"state"`
}

// Runs gives the workers runs to save: the steps of one run, in order. It is called by many goroutines.
type Runs func(rng *rand.Rand) []Step

// turn is what one step of an agent adds to its state.
type turn struct {
	Thought     string `json:"thought"`
	Action      string `json:"action"`
	Observation string `json:"observation"`
}

var (
	nodes = []string{"plan", "search", "read_file", "edit", "run_tests", "reflect", "summarise"}
	words = strings.Fields(`the agent reads a stack trace and finds that the handler returns before the lock is released so it opens the file
		edits the function adds a test for the empty input runs the suite again 17 passed 1 failed in 3.42s AssertionError: expected "näher" got null
		then it looks at the caller where the context is already cancelled and decides to retry with a deadline of its own {"ok":false} \n`)
)

// Synthetic makes agent-like runs: 6 to 20 steps, each with the whole conversation so far, from about 1 to 40 KB.
func Synthetic(rng *rand.Rand) []Step {
	steps := 6 + rng.IntN(15)
	perTurn := 900 + rng.IntN(1200)
	state := struct {
		Goal     string         `json:"goal"`
		Messages []turn         `json:"messages"`
		Env      map[string]any `json:"env"`
	}{Goal: prose(rng, 80), Env: map[string]any{"cwd": "/repo", "branch": "fix/🐛-" + prose(rng, 8), "open_file": nil}}
	run := make([]Step, 0, steps)
	for i := range steps {
		node := nodes[rng.IntN(len(nodes))]
		state.Messages = append(state.Messages, turn{prose(rng, perTurn/6), node, prose(rng, perTurn/2+rng.IntN(perTurn))})
		state.Env["turns"], state.Env["cost_usd"] = i+1, float64(rng.IntN(1e6))/1e6
		raw, err := json.Marshal(state)
		if err != nil {
			panic(fmt.Sprintf("assertion: marshal synthetic state: %v", err))
		}
		run = append(run, Step{Step: i + 1, NodeID: node, State: raw})
	}
	return run
}

// prose is about n bytes of text.
func prose(rng *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// Recorded gives the workers the runs of a recording; see [Recording].
func Recorded(path string) (Runs, error) {
	runs, err := Recording(path)
	if err != nil {
		return nil, err
	}
	return func(rng *rand.Rand) []Step { return runs[rng.IntN(len(runs))] }, nil
}

// Recording reads runs from a file of steps, one JSON object {"run_id","step","node_id","state"} a line, gzip-compressed or not. It returns the
// steps of each run, in the file's order; there is one run at least.
func Recording(path string) ([][]Step, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open steps: %w", err)
	}
	defer f.Close()
	var in io.Reader = bufio.NewReader(f)
	if magic, _ := in.(*bufio.Reader).Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if in, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("read steps from %s: %w", path, err)
		}
	}
	var runs [][]Step
	byID := map[string]int{}
	dec := json.NewDecoder(in)
	for line := 1; ; line++ {
		var r Step
		if err := dec.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read step %d of %s: %w", line, path, err)
		}
		if r.RunID == "" || len(r.State) == 0 {
			return nil, fmt.Errorf(`read step %d of %s: it has no run_id or no state; a line is {"run_id","step","node_id","state"}`, line, path)
		}
		// As a worker's client writes it, so that what comes back can be compared byte for byte: no blanks, and < > & as escapes.
		if r.State, err = json.Marshal(r.State); err != nil {
			return nil, fmt.Errorf("read step %d of %s: %w", line, path, err)
		}
		i, ok := byID[r.RunID]
		if !ok {
			i = len(runs)
			byID[r.RunID] = i
			runs = append(runs, nil)
		}
		runs[i] = append(runs[i], r)
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("read steps from %s: it has none", path)
	}
	return runs, nil
}
