package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/adapters/langgraphgo"
)

// research is the state of a workflow: what was found out, a note each step.
type research struct {
	Question string   `json:"question"`
	Notes    []string `json:"notes"`
}

// length is how many steps a workflow has.
const length = 30

func merge(prev, delta research) research {
	prev.Notes = append(prev.Notes, delta.Notes...)
	return prev
}

// next names the node that follows: the nodes route by it, and a resumed run goes on by it.
func next(node string, s research) string {
	switch {
	case len(s.Notes) == length:
		return ""
	case len(s.Notes) == length-1:
		return "answer"
	case node == "search":
		return "read"
	default:
		return "search"
	}
}

// node pretends to work for a while and notes what it did.
func node(name string) graph.NodeFunc[research] {
	return func(_ context.Context, s research) graph.NodeResult[research] {
		<-time.After(time.Duration(rand.IntN(60)) * time.Millisecond)
		delta := research{Notes: []string{fmt.Sprintf("%s %d", name, len(s.Notes)+1)}}
		to := next(name, merge(s, delta))
		if to == "" {
			return graph.NodeResult[research]{Delta: delta, Route: graph.Stop()}
		}
		return graph.NodeResult[research]{Delta: delta, Route: graph.Goto(to)}
	}
}

// work is a worker process: it starts a run, or goes on with it after its last step, and tells out, a line each, after which step it does (0
// when it starts) and which steps were acknowledged.
func work(ctx context.Context, natsURL, runID string, out io.Writer) error {
	st, err := langgraphgo.Open[research](ctx, natsURL)
	if err != nil {
		return err //nolint:wrapcheck // it says what was opened.
	}
	defer st.Close()

	engine := graph.New(merge, st, ledger{emit.NewNullEmitter(), out}, graph.Options{MaxSteps: length})
	for _, name := range []string{"plan", "search", "read", "answer"} {
		err = errors.Join(err, engine.Add(name, node(name)))
	}
	if err := errors.Join(err, engine.StartAt("plan")); err != nil {
		return fmt.Errorf("make workflow: %w", err)
	}

	checkpoint, err := st.Resume(ctx, runID, next)
	switch {
	case errors.Is(err, store.ErrNotFound):
		fmt.Fprintln(out, "after", 0)
		_, err = engine.Run(ctx, runID, research{Question: "why?"})
	case err == nil:
		fmt.Fprintln(out, "after", checkpoint.StepID)
		_, err = engine.RunWithCheckpoint(ctx, checkpoint)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", runID, err)
	}
	return nil
}

// ledger tells which steps were acknowledged: the engine emits a node's end when its step is saved.
type ledger struct {
	*emit.NullEmitter
	out io.Writer
}

func (l ledger) Emit(event emit.Event) {
	if event.Msg == "node_end" {
		fmt.Fprintln(l.out, "acked", event.Step+1) // events count from 0
	}
}
