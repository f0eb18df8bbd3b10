package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/adapters/langgraphgo"
)

// fleet keeps workers running, each a process with a run, and some of them killed.
type fleet struct {
	natsURL, prefix string

	mu    sync.Mutex     // guards what follows
	acked map[string]int // run → its highest step that a worker was told is saved
	tally
}

// tally is what happened.
type tally struct{ killed, resumed, lost int }

// keep lets a worker do one run after the other until ctx ends. One that was killed is followed by another with the same run; so the last
// run is complete, too.
func (f *fleet) keep(ctx context.Context, worker int) error {
	for n := 0; ctx.Err() == nil; n++ {
		run := fmt.Sprintf("%s/%d/%d", f.prefix, worker, n)
		for done := false; !done; {
			var err error
			if done, err = f.process(context.WithoutCancel(ctx), run); err != nil {
				return fmt.Errorf("worker %d: %w", worker, err)
			}
		}
	}
	return nil
}

// process runs a worker process; every other one is killed somewhere on its way. It returns whether the run is done.
func (f *fleet) process(ctx context.Context, run string) (done bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("find own binary: %w", err)
	}
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(ctx, self, "--nats-url", f.natsURL, "--run", run) //nolint:gosec // G204: our own binary.
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return false, fmt.Errorf("start process: %w", err)
	}
	if rand.IntN(2) == 0 {
		time.AfterFunc(time.Duration(rand.IntN(1500))*time.Millisecond, kill)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		f.hears(run, lines.Text())
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.killed++
		return false, nil
	}
	return err == nil, err //nolint:wrapcheck // the process has said what it was.
}

// hears notes what the worker of a run said.
func (f *fleet) hears(run, line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var step int
	if _, err := fmt.Sscanf(line, "after %d", &step); err == nil {
		f.lost += max(0, f.acked[run]-step)
		f.resumed += min(1, step)
	}
	if _, err := fmt.Sscanf(line, "acked %d", &step); err == nil {
		f.acked[run] = max(f.acked[run], step)
	}
}

// verify loads every run and counts steps that were acknowledged and are not in it.
func (f *fleet) verify(ctx context.Context) error {
	st, err := langgraphgo.Open[research](ctx, f.natsURL)
	if err != nil {
		return err //nolint:wrapcheck // it says what was opened.
	}
	defer st.Close()
	for run, acked := range f.acked {
		state, step, err := st.LoadLatest(ctx, run)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err //nolint:wrapcheck // it says what was loaded.
		}
		f.lost += max(0, acked-min(step, len(state.Notes)))
	}
	return nil
}
