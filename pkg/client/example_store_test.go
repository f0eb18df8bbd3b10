package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// WorkflowState is the state of a workflow.
type WorkflowState struct {
	Phase   string            `json:"phase"`
	Counter int               `json:"counter"`
	Data    map[string]string `json:"data,omitempty"`
}

// A workflow saves its state after each step. NewMySQLStore or Open in the place of NewMemStore is all that another store takes.
func ExampleNewMemStore() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	state := WorkflowState{Phase: "start"}
	for step, node := range []string{"start", "process", "finish"} {
		state.Phase, state.Counter = node, state.Counter+1
		if err := st.SaveStep(ctx, "run-001", step, node, state); err != nil {
			log.Fatal(err)
		}
	}
	for step, err := range st.Steps(ctx, "run-001", 0, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(step.Step, step.NodeID, step.State.Counter)
	}
	// Output:
	// 0 start 1
	// 1 process 2
	// 2 finish 3
}

// After a restart a workflow goes on from the last step that was saved.
func ExampleStore_loadLatest() {
	ctx := context.Background()
	data := client.NewMemStore[WorkflowState]()
	if err := data.SaveStep(ctx, "run-001", 4, "process", WorkflowState{Phase: "processed", Counter: 4}); err != nil {
		log.Fatal(err)
	}

	resume := func(st client.Store[WorkflowState], runID string) error {
		state, step, err := st.LoadLatest(ctx, runID)
		if errors.Is(err, client.ErrNotFound) {
			return fmt.Errorf("workflow %s not found", runID)
		}
		if err != nil {
			return err
		}
		fmt.Printf("Resuming workflow %s from step %d, %s\n", runID, step, state.Phase)
		return nil
	}
	st := data.Open() // the store of the process after the restart
	defer st.Close()
	for _, runID := range []string{"run-001", "run-002"} {
		if err := resume(st, runID); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// Resuming workflow run-001 from step 4, processed
	// workflow run-002 not found
}

// A named checkpoint is a state that any run can go on from.
func ExampleStore_saveCheckpoint() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	// Save checkpoint after validation phase
	validatedState := WorkflowState{Phase: "validated"}
	if err := st.SaveCheckpoint(ctx, "after-validation", validatedState, 5); err != nil {
		log.Fatal(err)
	}
	// Later: restore from checkpoint
	state, step, err := st.LoadCheckpoint(ctx, "after-validation")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Restored from checkpoint at step %d: %s\n", step, state.Phase)
	// Output: Restored from checkpoint at step 5: validated
}

// CustomState writes its time in a form of its own.
type CustomState struct {
	Time time.Time `json:"time"`
	Name string    `json:"name"`
}

// MarshalJSON implements json.Marshaler.
func (s CustomState) MarshalJSON() ([]byte, error) {
	type Alias CustomState
	return json.Marshal(&struct {
		Time string `json:"time"`
		*Alias
	}{
		Time:  s.Time.Format(time.RFC3339),
		Alias: (*Alias)(&s),
	})
}

// A state is whatever encoding/json takes, with the methods that a type has for it.
func ExampleStore_customJSON() {
	st := client.NewMemStore[CustomState]()
	defer st.Close()

	ctx := context.Background()
	at := time.Date(2025, 6, 1, 12, 30, 15, 999, time.UTC)
	if err := st.SaveStep(ctx, "run-001", 1, "node", CustomState{Time: at, Name: "custom"}); err != nil {
		log.Fatal(err)
	}
	state, _, err := st.LoadLatest(ctx, "run-001")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.Name, state.Time)
	// Output: custom 2025-06-01 12:30:15 +0000 UTC
}

// What belongs together is saved together: all of it, or none.
func ExampleStore_withTransaction() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	errOutOfStock := errors.New("out of stock")
	order := func(inStock bool) error {
		return st.WithTransaction(ctx, func(tx client.Tx[WorkflowState]) error {
			if err := tx.SaveStep("order-7", 1, "reserve", WorkflowState{Phase: "reserved"}); err != nil {
				return err
			}
			if !inStock {
				return errOutOfStock
			}
			return tx.SaveStep("order-7", 2, "charge", WorkflowState{Phase: "charged"})
		})
	}
	err := order(false)
	fmt.Println(errors.Is(err, errOutOfStock))
	_, _, err = st.LoadLatest(ctx, "order-7")
	fmt.Println(errors.Is(err, client.ErrNotFound))

	if err := order(true); err != nil {
		log.Fatal(err)
	}
	state, step, err := st.LoadLatest(ctx, "order-7")
	fmt.Println(step, state.Phase, err)
	// Output:
	// true
	// true
	// 2 charged <nil>
}

// With an idempotency key a save that may have happened is simply repeated, and two workers that do the same work save it once. Events are
// saved with the state, or neither is.
func ExampleStore_saveCheckpointV2() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	save := func(phase string) error {
		return st.SaveCheckpointV2(ctx, client.CheckpointV2[WorkflowState]{
			RunID: "order-7", StepID: 3, State: WorkflowState{Phase: phase}, Frontier: []string{"ship", "invoice"}, RNGSeed: 42,
			IdempotencyKey: "order-7/charge", Label: "after-charge",
		}, client.WithEvents(client.Event{NodeID: "charge", Msg: "order charged"}))
	}
	fmt.Println(save("charged"))
	fmt.Println(save("charged"))                                       // again: it is done, and stays done
	fmt.Println(errors.Is(save("charged twice"), client.ErrDuplicate)) // the key was used for something else

	checkpoint, err := st.LoadCheckpointV2ByLabel(ctx, "order-7", "after-charge")
	fmt.Println(checkpoint.State.Phase, checkpoint.Frontier, err)
	events, err := st.PendingEvents(ctx, 0)
	fmt.Println(len(events), err)
	// Output:
	// <nil>
	// <nil>
	// true
	// charged [ship invoice] <nil>
	// 1 <nil>
}

// An emitter takes events that are committed, emits them, and marks them. One that dies in between leaves them to the next: each is emitted
// at least once, a run's in order.
func ExampleStore_pendingEvents() {
	st := client.NewMemStore[WorkflowState](client.WithEventLease(time.Minute))
	defer st.Close()

	ctx := context.Background()
	for step, msg := range []string{"started", "charged", "shipped"} {
		err := st.WithTransaction(ctx, func(tx client.Tx[WorkflowState]) error {
			if err := tx.SaveStep("order-7", step, msg, WorkflowState{Phase: msg}); err != nil {
				return err
			}
			return tx.SaveEvents(client.Event{Step: step, Msg: "order " + msg})
		})
		if err != nil {
			log.Fatal(err)
		}
	}

	for {
		events, err := st.PendingEvents(ctx, 100)
		if err != nil {
			log.Fatal(err)
		}
		if len(events) == 0 {
			break // here: wait, and ask again
		}
		var emitted []string
		for _, event := range events {
			fmt.Println(event.RunID, event.Step, event.Msg)
			emitted = append(emitted, event.ID())
		}
		if err := st.MarkEventsEmitted(ctx, emitted); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// order-7 0 order started
	// order-7 1 order charged
	// order-7 2 order shipped
}

// A watch shows the steps that are there, and then each as it is saved, by whichever worker.
func ExampleStore_watchRun() {
	ctx := context.Background()
	worker := client.NewMemStore[WorkflowState]()
	defer worker.Close()
	viewer := worker.Open()
	defer viewer.Close()

	save := func(step int, phase string) {
		if err := worker.SaveStep(ctx, "run-001", step, "node", WorkflowState{Phase: phase}); err != nil {
			log.Fatal(err)
		}
	}
	save(0, "started")
	for step, err := range viewer.WatchRun(ctx, "run-001", 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(step.Step, step.State.Phase)
		switch step.Step {
		case 0:
			save(1, "processed")
		case 1:
			save(2, "finished")
		case 2:
			return
		}
	}
	// Output:
	// 0 started
	// 1 processed
	// 2 finished
}

// A run that starts again under its old id is another attempt: its steps count, and a worker of the one before that still runs is refused.
func ExampleStore_beginAttempt() {
	ctx := context.Background()
	first := client.NewMemStore[WorkflowState]()
	defer first.Close()
	second := first.Open()
	defer second.Close()

	attempt, err := first.BeginAttempt(ctx, "run-001")
	fmt.Println("attempt", attempt, err)
	for step := range 5 {
		if err := first.SaveStep(ctx, "run-001", step, "node", WorkflowState{Phase: "first"}); err != nil {
			log.Fatal(err)
		}
	}

	attempt, err = second.BeginAttempt(ctx, "run-001")
	fmt.Println("attempt", attempt, err)
	if err := second.SaveStep(ctx, "run-001", 0, "node", WorkflowState{Phase: "second"}); err != nil {
		log.Fatal(err)
	}
	err = first.SaveStep(ctx, "run-001", 5, "node", WorkflowState{Phase: "first"})
	fmt.Println("stale:", errors.Is(err, client.ErrStaleAttempt))
	state, step, err := first.LoadLatest(ctx, "run-001")
	fmt.Println(state.Phase, step, err)
	// Output:
	// attempt 1 <nil>
	// attempt 2 <nil>
	// stale: true
	// second 0 <nil>
}

// A run is forked at a step, to try something else from there.
func ExampleStore_copyRun() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	for step := range 6 {
		if err := st.SaveStep(ctx, "run-001", step, "node", WorkflowState{Counter: step}); err != nil {
			log.Fatal(err)
		}
	}
	if err := st.CopyRun(ctx, "run-001", 3, "run-001-fork"); err != nil {
		log.Fatal(err)
	}
	if err := st.SaveStep(ctx, "run-001-fork", 4, "other", WorkflowState{Counter: 40}); err != nil {
		log.Fatal(err)
	}
	for _, runID := range []string{"run-001", "run-001-fork"} {
		state, step, err := st.LoadLatest(ctx, runID)
		fmt.Println(runID, step, state.Counter, err)
	}
	// Output:
	// run-001 5 5 <nil>
	// run-001-fork 4 40 <nil>
}

// Runs that nobody has written for a while are deleted.
func ExampleStore_deleteRun() {
	st := client.NewMemStore[WorkflowState]()
	defer st.Close()

	ctx := context.Background()
	for _, runID := range []string{"chat-1", "chat-2", "report-1"} {
		if err := st.SaveStep(ctx, runID, 0, "node", WorkflowState{}); err != nil {
			log.Fatal(err)
		}
	}
	monthAgo := time.Now().AddDate(0, -1, 0)
	for run, err := range st.ListRuns(ctx, client.RunFilter{Prefix: "chat-"}) {
		if err != nil {
			log.Fatal(err)
		}
		if run.UpdatedAt.After(monthAgo) {
			fmt.Println("keep", run.RunID)
			continue
		}
		if err := st.DeleteRun(ctx, run.RunID); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// keep chat-1
	// keep chat-2
}
