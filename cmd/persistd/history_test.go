package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// call is an operation on a key: a save, or a load. A key is a run, a named checkpoint, or a V2 checkpoint of a run.
type call struct {
	key  string
	save bool
	// register is a key that holds what was saved last, whatever its step: a checkpoint.
	register bool
	held
}

// held is what a key holds. Of a run it is seen through LoadLatest: its highest step, and the value written to that last. The zero value
// is nothing.
type held struct {
	step  int
	value int64
}

// keyModel is one key. A save of a lower step of a run changes nothing that LoadLatest could see.
var keyModel = porcupine.Model{
	Init: func() any { return held{} },
	Step: func(state, input, output any) (bool, any) {
		switch now, c := state.(held), input.(call); {
		case !c.save:
			return output.(held) == now, now
		case c.register || c.step >= now.step:
			return true, c.held
		default:
			return true, now
		}
	},
	DescribeOperation: func(input, output any) string {
		if c := input.(call); c.save {
			return fmt.Sprintf("save %d = %d", c.step, c.value)
		}
		return "load: " + describe(output.(held))
	},
	DescribeState: func(state any) string { return describe(state.(held)) },
}

func describe(h held) string {
	if h.step == 0 {
		return "none"
	}
	return fmt.Sprintf("%d = %d", h.step, h.value)
}

// history is what clients did and saw.
type history struct {
	began time.Time

	mu   sync.Mutex
	keys map[string][]porcupine.Operation // guarded by mu
}

func newHistory() *history {
	return &history{began: time.Now(), keys: map[string][]porcupine.Operation{}}
}

func (h *history) now() int64 { return time.Since(h.began).Nanoseconds() }

// add records an operation that began at the time began. One whose outcome is unknown may take effect at any time from then on, or, what
// is the same, after everything else.
func (h *history) add(client int, c call, began int64, out held, known bool) {
	end := h.now()
	if !known {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[c.key] = append(h.keys[c.key], porcupine.Operation{ClientId: client, Input: c, Output: out, Call: began, Return: end})
}

func (h *history) len() int {
	n := 0
	for _, ops := range h.keys {
		n += len(ops)
	}
	return n
}

// requireLinearizable fails t when there is a key whose operations have no order that explains them all, and leaves its picture.
func (h *history) requireLinearizable(t *testing.T) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(h.keys)) {
		ops := h.keys[key]
		result := porcupine.CheckOperationsTimeout(keyModel, ops, time.Minute)
		if result == porcupine.Ok {
			continue
		}
		_, info := porcupine.CheckOperationsVerbose(keyModel, ops, 10*time.Second)
		dir, err := os.MkdirTemp("", "persistd-history-") //nolint:usetesting // it must outlive the test, or nobody sees it.
		require.NoError(t, err)
		picture := filepath.Join(dir, key+".html")
		require.NoError(t, porcupine.VisualizePath(keyModel, info, picture))
		require.Failf(t, "history is not linearizable", "%d operations on %s: %s; see %s", len(ops), key, result, picture)
	}
}
