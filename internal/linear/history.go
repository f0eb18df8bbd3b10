package linear

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// History is what clients did and saw. Its methods may be called concurrently.
type History struct {
	began time.Time

	mu   sync.Mutex // guards keys
	keys map[string][]porcupine.Operation
}

// New is an empty history, whose clock begins to run.
func New() *History {
	return &History{began: time.Now(), keys: map[string][]porcupine.Operation{}}
}

// Now is the time by the history's clock: read it before an operation begins.
func (h *History) Now() int64 { return time.Since(h.began).Nanoseconds() }

// Add records an operation that began at the time began and has just returned; out is what a load saw. One whose outcome is not known may
// take effect at any time from its beginning on, or, what is the same, after everything else.
func (h *History) Add(client int, c Call, began int64, out Held, known bool) {
	end := h.Now()
	if !known {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keys[c.Key] = append(h.keys[c.Key], porcupine.Operation{ClientId: client, Input: c, Output: out, Call: began, Return: end})
}

// Len is how many operations were recorded.
func (h *History) Len() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ops := range h.keys {
		n += len(ops)
	}
	return n
}

// Keys is on how many keys.
func (h *History) Keys() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.keys)
}

// NotLinearizable says that the operations on a key have no order that explains them all, or that none was found in the time there was.
type NotLinearizable struct {
	Key        string
	Operations int
	// Undecided is that time ran out.
	Undecided bool
	// Picture is a web page that shows the history of the key.
	Picture string
}

func (e *NotLinearizable) Error() string {
	result := "no order explains them"
	if e.Undecided {
		result = "whether an order explains them was not found out in time"
	}
	return fmt.Sprintf("check %d operations on %s: %s; see %s", e.Operations, e.Key, result, e.Picture)
}

// Check looks for the order of each key's operations, for at most limit a key, and returns a [*NotLinearizable] for the first, by
// name, that has none; its picture lies in a new folder of the system's for temporary files.
func (h *History) Check(limit time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(h.keys)) {
		ops := h.keys[key]
		result := porcupine.CheckOperationsTimeout(model, ops, limit)
		if result == porcupine.Ok {
			continue
		}
		picture, err := draw(key, ops)
		return errors.Join(&NotLinearizable{Key: key, Operations: len(ops), Undecided: result == porcupine.Unknown, Picture: picture}, err)
	}
	return nil
}

// draw makes the picture of a key's history.
func draw(key string, ops []porcupine.Operation) (path string, err error) {
	_, info := porcupine.CheckOperationsVerbose(model, ops, 10*time.Second)
	dir, err := os.MkdirTemp("", "persistd-history-")
	if err != nil {
		return "", fmt.Errorf("make folder for picture: %w", err)
	}
	path = filepath.Join(dir, strings.ReplaceAll(key, string(filepath.Separator), "-")+".html")
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		return "", fmt.Errorf("draw history of %s: %w", key, err)
	}
	return path, nil
}
