package langgraphgo

import (
	"context"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"
)

// BeginAttempt begins the next attempt of a run and returns its number, from 1 on: from now on this store's writes of the run are of it, those of
// an older attempt are refused with client.ErrStaleAttempt, and LoadLatest answers from the newest attempt that has saved a step. Begin one
// before a run starts again under its old id.
func (s *Store[S]) BeginAttempt(ctx context.Context, runID string) (int, error) {
	n, err := s.client.BeginAttempt(ctx, runID)
	return n, told(ctx, err)
}

// Resume takes a run over and returns it as a checkpoint after its latest step, for RunWithCheckpoint of a sequential engine, which goes on from
// there: in the same run, with the next step's number.
//
//	begin the run's next attempt         whoever else still thinks that it runs it can save nothing more
//	load its latest step                 every step that was acknowledged to anybody is seen
//	next(node of the step, its state)    names the node that follows; the engine does not save where it was going
//
// When next returns "" the run is complete, and RunWithCheckpoint returns its state at once. A run that has no step is store.ErrNotFound; its
// attempt has begun all the same, and Run starts it.
func (s *Store[S]) Resume(ctx context.Context, runID string, next func(nodeID string, state S) string) (store.CheckpointV2[S], error) {
	if _, err := s.BeginAttempt(ctx, runID); err != nil {
		return store.CheckpointV2[S]{}, err
	}
	_, number, err := s.LoadLatest(ctx, runID)
	if err != nil {
		return store.CheckpointV2[S]{}, err
	}
	step, err := s.client.GetStep(ctx, runID, number)
	if err != nil {
		return store.CheckpointV2[S]{}, told(ctx, err)
	}
	cp := store.CheckpointV2[S]{RunID: runID, StepID: number, State: step.State, Timestamp: step.SavedAt}
	frontier := []graph.WorkItem[S]{}
	if node := next(step.NodeID, step.State); node != "" {
		frontier = append(frontier, graph.WorkItem[S]{
			StepID: number, OrderKey: graph.ComputeOrderKey(step.NodeID, 0), NodeID: node, State: step.State, ParentNodeID: step.NodeID,
		})
	}
	cp.Frontier = frontier
	return cp, nil
}
