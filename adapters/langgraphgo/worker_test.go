package langgraphgo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

// taskVariable makes this test binary a worker process: its value is a task, as JSON.
const taskVariable = "PERSISTD_TEST_WORKER"

// task is a run that a worker process starts, or goes on with: three nodes in a circle, one number each, until there are all.
type task struct {
	URL, Run string
	Steps    int
	// HoldAt is the step whose node does not end; 0 is none.
	HoldAt int
	// Pace is how long a node takes.
	Pace time.Duration
}

// workerMain does a task and says what happens, a line each: resumed <step>, holds <step>, acked <step>, stale, done <steps>.
func workerMain(text string) error {
	var do task
	if err := json.Unmarshal([]byte(text), &do); err != nil {
		return err
	}
	ctx := langgraphgo.ContextWithStoreError(context.Background())
	st, err := langgraphgo.Open[state](ctx, do.URL)
	if err != nil {
		return err
	}
	defer st.Close()
	engine := graph.New(append1, st, ledger{emit.NewNullEmitter()}, graph.Options{MaxSteps: do.Steps})
	for node, next := range circle {
		err = errors.Join(err, engine.Add(node, do.node(next)))
	}
	if err := errors.Join(err, engine.StartAt("a")); err != nil {
		return err
	}
	var final state
	cp, err := st.Resume(ctx, do.Run, do.after)
	switch {
	case errors.Is(err, store.ErrNotFound):
		final, err = engine.Run(ctx, do.Run, state{})
	case err == nil:
		say("resumed", cp.StepID)
		final, err = engine.RunWithCheckpoint(ctx, cp)
	}
	if errors.Is(langgraphgo.StoreError(ctx), client.ErrStaleAttempt) {
		say("stale")
		return nil
	}
	if err != nil {
		return err
	}
	say("done", len(final.Done))
	return nil
}

var circle = map[string]string{"a": "b", "b": "c", "c": "a"}

// after is which node follows.
func (do task) after(node string, s state) string {
	if len(s.Done) == do.Steps {
		return ""
	}
	return circle[node]
}

func (do task) node(next string) graph.NodeFunc[state] {
	return func(ctx context.Context, s state) graph.NodeResult[state] {
		n := len(s.Done) + 1
		if n == do.HoldAt {
			say("holds", n)
			<-ctx.Done()
		}
		select {
		case <-time.After(do.Pace):
		case <-ctx.Done():
		}
		if n == do.Steps {
			return does(n, "")(ctx, s)
		}
		return does(n, next)(ctx, s)
	}
}

// ledger says which steps were acknowledged: a node has ended for the engine when its step is saved.
type ledger struct{ *emit.NullEmitter }

func (ledger) Emit(event emit.Event) {
	if event.Msg == "node_end" {
		say("acked", event.Step+1) // events count from 0
	}
}

// say writes a line at once: what was said before a SIGKILL is heard.
func say(what string, n ...int) {
	if len(n) > 0 {
		what += " " + strconv.Itoa(n[0])
	}
	fmt.Fprintln(os.Stdout, what)
}
