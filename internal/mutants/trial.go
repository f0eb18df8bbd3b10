package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// testTimeout bounds the tests of one package: a mutant may well make one wait for ever, and that is noticed, too.
const testTimeout = 6 * time.Minute

// trial runs tests, on the code as it is and on mutants of it.
type trial struct {
	root, dir string // both absolute; dir is for what is written
}

func newTrial(root string) (*trial, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("find repository: %w", err)
	}
	dir, err := os.MkdirTemp("", "persistd-mutants-")
	if err != nil {
		return nil, fmt.Errorf("make folder for mutants: %w", err)
	}
	return &trial{root, dir}, nil
}

func (t *trial) close() { _ = os.RemoveAll(t.dir) }

// green runs all tests that the list names, on the code as it is.
func (t *trial) green(ctx context.Context, list []Mutant) error {
	names := map[string][]string{}
	for _, m := range list {
		for _, c := range m.Caught {
			names[c.Package] = append(names[c.Package], c.Names...)
		}
	}
	for _, pkg := range slices.Sorted(mapKeys(names)) {
		slices.Sort(names[pkg])
		tests := Tests{pkg, slices.Compact(names[pkg])}
		out, err := t.test(ctx, tests, "")
		if err != nil {
			return fmt.Errorf("test %s as it is: %w\n%s", pkg, err, end(out))
		}
		for _, name := range tests.Names {
			if !bytes.Contains(out, []byte("--- PASS: "+name+" ")) {
				return fmt.Errorf("test %s as it is: %s did not run: is that its name?", pkg, name)
			}
		}
	}
	return nil
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// red runs tests on m and returns why not all of them noticed.
func (t *trial) red(ctx context.Context, m Mutant, tests Tests) error {
	overlay, err := t.overlay(m)
	if err != nil {
		return err
	}
	out, err := t.test(ctx, tests, overlay)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return fmt.Errorf("the mutant does not compile:\n%s", end(out))
	case err == nil:
		return errors.New("no test noticed")
	case m.Says != "" && !regexp.MustCompile(m.Says).Match(out):
		return fmt.Errorf("it was noticed, but not that %q:\n%s", m.Says, end(out))
	case bytes.Contains(out, []byte("panic: ")): // and so ended all of them: one that waits too long does that
		return nil
	}
	for _, name := range tests.Names {
		if !bytes.Contains(out, []byte("--- FAIL: "+name+" ")) {
			return fmt.Errorf("%s did not notice:\n%s", name, end(out))
		}
	}
	return nil
}

// test runs tests with what overlay says, if anything, and returns what they print. The overlay is in the environment, so that what a test
// itself builds is the mutant as well.
func (t *trial) test(ctx context.Context, tests Tests, overlay string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-v", "-timeout", testTimeout.String(),
		"-run", "^("+strings.Join(tests.Names, "|")+")$", "./"+tests.Package)
	cmd.Dir = t.root
	// Random tests draw the same every time, are done once they have noticed, and leave nothing behind in the repository.
	cmd.Env = append(os.Environ(), "RAPID_SEED=1", "RAPID_SHRINKTIME=0s", "RAPID_NOFAILFILE=true")
	if overlay != "" {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	}
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput() //nolint:wrapcheck // the caller says what was run.
}

// overlay writes m, and the file that tells go about it.
func (t *trial) overlay(m Mutant) (string, error) {
	text, err := mutate(t.root, m)
	if err != nil {
		return "", err
	}
	mutant := filepath.Join(t.dir, "mutant.go")
	if err := os.WriteFile(mutant, text, 0o600); err != nil {
		return "", fmt.Errorf("write mutant: %w", err)
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(t.root, m.File): mutant}})
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	overlay := filepath.Join(t.dir, "overlay.json")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return overlay, nil
}

// mutate is the text of m's file with the mistake in it.
func mutate(root string, m Mutant) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, fmt.Errorf("read what is to be broken: %w", err)
	}
	if n := bytes.Count(text, []byte(m.Old)); n != 1 {
		return nil, fmt.Errorf("%s has the text %q %d times, not once: the code was changed; change the mutant with it", m.File, m.Old, n)
	}
	return bytes.Replace(text, []byte(m.Old), []byte(m.New), 1), nil
}

// end is the end of what tests printed.
func end(out []byte) []byte { return out[max(0, len(out)-4096):] }
