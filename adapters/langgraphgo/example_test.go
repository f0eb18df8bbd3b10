package langgraphgo_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

// WorkflowState is a workflow's state, as the engine's documentation has it.
type WorkflowState struct {
	Phase string
	Seen  []string
}

func reducer(prev, delta WorkflowState) WorkflowState {
	if delta.Phase != "" {
		prev.Phase = delta.Phase
	}
	prev.Seen = append(prev.Seen, delta.Seen...)
	return prev
}

// step is a node that says where it was.
func step(name string, route graph.Next) graph.Node[WorkflowState] {
	return graph.NodeFunc[WorkflowState](func(context.Context, WorkflowState) graph.NodeResult[WorkflowState] {
		return graph.NodeResult[WorkflowState]{Delta: WorkflowState{Phase: name, Seen: []string{name}}, Route: route}
	})
}

// newEngine is a workflow: start, process, finish.
func newEngine(st store.Store[WorkflowState]) (*graph.Engine[WorkflowState], error) {
	engine := graph.New(reducer, st, emit.NewNullEmitter(), graph.Options{MaxSteps: 100})
	return engine, errors.Join(
		engine.Add("start", step("started", graph.Goto("process"))),
		engine.Add("process", step("processed", graph.Goto("finish"))),
		engine.Add("finish", step("finished", graph.Stop())),
		engine.StartAt("start"),
	)
}

// next is which node follows: what Resume wants to know.
func next(nodeID string, _ WorkflowState) string {
	return map[string]string{"start": "process", "process": "finish"}[nodeID]
}

// The line with Open is all that changes.
func Example() {
	ctx := context.Background()
	st, err := langgraphgo.Open[WorkflowState](ctx, os.Getenv("NATS_URL"))
	if err != nil {
		log.Fatalf("open store: %v", err)
	}
	defer st.Close()

	engine := graph.New(reducer, st, emit.NewNullEmitter(), graph.Options{MaxSteps: 100})
	if err := errors.Join(engine.Add("start", step("started", graph.Stop())), engine.StartAt("start")); err != nil {
		log.Fatal(err)
	}
	final, err := engine.Run(ctx, "run-001", WorkflowState{})
	fmt.Println(final.Phase, err)
}

// In tests the store is one in memory.
func ExampleNew() {
	ctx := context.Background()
	st := langgraphgo.New(client.NewMemStore[WorkflowState]()) // was: store.NewMemStore[WorkflowState]()
	defer st.Close()

	engine, err := newEngine(st)
	if err != nil {
		log.Fatal(err)
	}
	final, err := engine.Run(ctx, "run-001", WorkflowState{})
	fmt.Println(final.Seen, err)
	_, saved, err := st.LoadLatest(ctx, "run-001")
	fmt.Println("step", saved, err)
	// Output:
	// [started processed finished] <nil>
	// step 3 <nil>
}

// Without a log, and without persistd: the store writes to MySQL itself, into the tables that LangGraph-Go's own has.
func ExampleNew_mySQL() {
	mysql, err := client.NewMySQLStore[WorkflowState](os.Getenv("MYSQL_DSN"))
	if err != nil {
		log.Fatalf("open store: %v", err)
	}
	st := langgraphgo.New(mysql)
	defer st.Close()

	engine, err := newEngine(st)
	if err != nil {
		log.Fatal(err)
	}
	final, err := engine.Run(context.Background(), "run-001", WorkflowState{})
	fmt.Println(final.Seen, err, mysql.Stats().OpenConnections)
}

// A worker takes over a run that another one may have left in the middle, and goes on after its last step.
func ExampleStore_Resume() {
	ctx := context.Background()
	st := langgraphgo.New(client.NewMemStore[WorkflowState]())
	defer st.Close()
	if err := st.SaveStep(ctx, "run-001", 1, "start", WorkflowState{Phase: "started", Seen: []string{"started"}}); err != nil {
		log.Fatal(err) // and here the other worker died
	}

	engine, err := newEngine(st)
	if err != nil {
		log.Fatal(err)
	}
	ctx = langgraphgo.ContextWithStoreError(ctx)
	var final WorkflowState
	checkpoint, err := st.Resume(ctx, "run-001", next)
	switch {
	case errors.Is(err, store.ErrNotFound): // no step was ever saved
		final, err = engine.Run(ctx, "run-001", WorkflowState{})
	case err == nil:
		fmt.Println("resuming from step", checkpoint.StepID)
		final, err = engine.RunWithCheckpoint(ctx, checkpoint)
	}
	if errors.Is(langgraphgo.StoreError(ctx), client.ErrStaleAttempt) {
		log.Print("another worker has taken the run over from this one")
		return
	}
	fmt.Println(final.Seen, err)
	// Output:
	// resuming from step 1
	// [started processed finished] <nil>
}

// The recipe of the engine's documentation starts at the first node again, with the state of the last step and with step number 1. It works
// for a workflow whose nodes look at the state for what is left to do, if the run's next attempt begins first.
func ExampleStore_BeginAttempt() {
	ctx := context.Background()
	st := langgraphgo.New(client.NewMemStore[WorkflowState]())
	defer st.Close()
	if err := st.SaveStep(ctx, "run-001", 2, "process", WorkflowState{Phase: "processed", Seen: []string{"started", "processed"}}); err != nil {
		log.Fatal(err)
	}

	if _, err := st.BeginAttempt(ctx, "run-001"); err != nil {
		log.Fatal(err)
	}
	state, saved, err := st.LoadLatest(ctx, "run-001")
	if errors.Is(err, store.ErrNotFound) {
		log.Fatal("workflow run-001 not found")
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("resuming workflow run-001 from step", saved)

	engine := graph.New(reducer, st, emit.NewNullEmitter(), graph.Options{MaxSteps: 100})
	dispatch := graph.NodeFunc[WorkflowState](func(_ context.Context, s WorkflowState) graph.NodeResult[WorkflowState] {
		return graph.NodeResult[WorkflowState]{Route: graph.Goto(map[string]string{"": "start", "started": "process", "processed": "finish"}[s.Phase])}
	})
	if err := errors.Join(engine.Add("dispatch", dispatch), engine.Add("finish", step("finished", graph.Stop())), engine.StartAt("dispatch")); err != nil {
		log.Fatal(err)
	}
	final, err := engine.Run(ctx, "run-001", state)
	fmt.Println(final.Seen, err)
	_, saved, err = st.LoadLatest(ctx, "run-001")
	fmt.Println("step", saved, err)
	// Output:
	// resuming workflow run-001 from step 2
	// [started processed finished] <nil>
	// step 2 <nil>
}

// Named checkpoints are as they were.
func ExampleStore_SaveCheckpoint() {
	ctx := context.Background()
	st := langgraphgo.New(client.NewMemStore[WorkflowState]())
	defer st.Close()

	if err := st.SaveCheckpoint(ctx, "after-validation", WorkflowState{Phase: "validated"}, 5); err != nil {
		log.Fatal(err)
	}
	state, saved, err := st.LoadCheckpoint(ctx, "after-validation")
	fmt.Println(state.Phase, saved, err)
	_, _, err = st.LoadCheckpoint(ctx, "after-lunch")
	fmt.Println(errors.Is(err, store.ErrNotFound))
	// Output:
	// validated 5 <nil>
	// true
}

// A health check.
func ExampleStore_Ping() {
	st := langgraphgo.New(client.NewMemStore[WorkflowState]())
	defer st.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := st.Ping(ctx); err != nil {
		log.Fatalf("store unhealthy: %v", err)
	}
	fmt.Println("healthy")
	// Output: healthy
}

// A step and an event that tells of it are saved together, all or none; the event is emitted from the outbox.
func ExampleStore_PendingEvents() {
	ctx := context.Background()
	st := langgraphgo.New(client.NewMemStore[WorkflowState]())
	defer st.Close()
	err := st.Client().WithTransaction(ctx, func(tx client.Tx[WorkflowState]) error {
		return errors.Join(
			tx.SaveStep("run-001", 7, "pay", WorkflowState{Phase: "paid"}),
			tx.SaveEvents(client.Event{Step: 7, NodeID: "pay", Msg: "payment sent", Meta: map[string]any{"event_id": "run-001/payment"}}),
		)
	})
	if err != nil {
		log.Fatal(err)
	}

	emitter := emit.NewLogEmitter(os.Stdout, false)
	events, err := st.PendingEvents(ctx, 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range events {
		emitter.Emit(event)
		if err := st.MarkEventsEmitted(ctx, []string{event.Meta["event_id"].(string)}); err != nil {
			log.Fatal(err)
		}
	}
	// Output: [payment sent] runID=run-001 step=7 nodeID=pay meta={"event_id":"run-001/payment"}
}
