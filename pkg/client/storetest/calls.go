package storetest

import (
	"context"

	"github.com/persistd/persistd/pkg/client"
)

// callsWithRun are the methods that take a run.
func callsWithRun(st client.Store[State]) map[string]func(ctx context.Context, run string) error {
	return map[string]func(ctx context.Context, run string) error{
		"SaveStep":      func(ctx context.Context, run string) error { return st.SaveStep(ctx, run, 1, "", State{}) },
		"SaveStepBatch": func(ctx context.Context, run string) error { return st.SaveStepBatch(ctx, run, numbered(1, 2)) },
		"LoadLatest": func(ctx context.Context, run string) error {
			_, _, err := st.LoadLatest(ctx, run)
			return err
		},
		"SaveCheckpointV2": func(ctx context.Context, run string) error {
			return st.SaveCheckpointV2(ctx, client.CheckpointV2[State]{RunID: run})
		},
		"LoadCheckpointV2": func(ctx context.Context, run string) error {
			_, err := st.LoadCheckpointV2(ctx, run, 1)
			return err
		},
		"LoadCheckpointV2ByLabel": func(ctx context.Context, run string) error {
			_, err := st.LoadCheckpointV2ByLabel(ctx, run, "label")
			return err
		},
		"LoadLatestCheckpointV2": func(ctx context.Context, run string) error {
			_, err := st.LoadLatestCheckpointV2(ctx, run)
			return err
		},
		"ListCheckpointsV2": func(ctx context.Context, run string) error { return failure(st.ListCheckpointsV2(ctx, run)) },
		"WithTransaction": func(ctx context.Context, run string) error {
			return st.WithTransaction(ctx, func(tx client.Tx[State]) error { return tx.SaveStep(run, 1, "", State{}) })
		},
		"BeginAttempt": func(ctx context.Context, run string) error {
			_, err := st.BeginAttempt(ctx, run)
			return err
		},
		"Steps": func(ctx context.Context, run string) error { return failure(st.Steps(ctx, run, 0, 0)) },
		"GetStep": func(ctx context.Context, run string) error {
			_, err := st.GetStep(ctx, run, 1)
			return err
		},
		"DeleteRun": func(ctx context.Context, run string) error { return st.DeleteRun(ctx, run) },
		"CopyRun":   func(ctx context.Context, run string) error { return st.CopyRun(ctx, run, 1, unique("copy")) },
		"WatchRun":  func(ctx context.Context, run string) error { return failure(st.WatchRun(ctx, run, 0)) },
	}
}

// calls are all methods but Close.
func calls(st client.Store[State]) map[string]func(ctx context.Context) error {
	all := map[string]func(ctx context.Context) error{
		"SaveCheckpoint": func(ctx context.Context) error { return st.SaveCheckpoint(ctx, unique("checkpoint"), State{}, 1) },
		"LoadCheckpoint": func(ctx context.Context) error {
			_, _, err := st.LoadCheckpoint(ctx, unique("checkpoint"))
			return err
		},
		"CheckIdempotency": func(ctx context.Context) error {
			_, err := st.CheckIdempotency(ctx, unique("key"))
			return err
		},
		"PendingEvents": func(ctx context.Context) error {
			_, err := st.PendingEvents(ctx, 1)
			return err
		},
		"MarkEventsEmitted": func(ctx context.Context) error { return st.MarkEventsEmitted(ctx, []string{unique("event")}) },
		"ListRuns": func(ctx context.Context) error {
			return failure(st.ListRuns(ctx, client.RunFilter{Prefix: unique("run")}))
		},
		"Flush": st.Flush,
		"Ping":  st.Ping,
	}
	for name, call := range callsWithRun(st) {
		all[name] = func(ctx context.Context) error { return call(ctx, unique("run")) }
	}
	return all
}

// event is an event with that id.
func event(id string) client.Event {
	return client.Event{Msg: "done", Meta: map[string]any{client.MetaEventID: id}}
}
