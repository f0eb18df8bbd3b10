package client

import (
	"context"
	"iter"
)

// Store saves and loads the states of workflow runs. S is the state, anything that the store's [Codec] takes: by default what
// encoding/json can marshal and unmarshal. All methods may be called concurrently. Every error is an [*Error] and matches one of the
// sentinels, or the ctx's error, with errors.Is. An iterator yields an error at most once, as its last.
//
// [Open], [NewMySQLStore] and [NewMemStore] make one; package storetest holds what every implementation must do. Who implements it, for a
// test say, embeds the interface: it may grow.
type Store[S any] interface {
	StepStore[S]
	CheckpointStore[S]
	OutboxStore
	HistoryStore[S]

	// WithTransaction has fn collect writes and makes them all or none, in the log and in MySQL. fn runs once; when it returns an error,
	// nothing is written and the error is returned, wrapped. fn writes one run, and named checkpoints. It returns when the writes are as
	// durable as asked for; one that has a V2 checkpoint, or a named one beside a run's writes, when it is committed.
	//
	// A transaction may be larger than a message of the log: up to 10,000 writes and 64 MiB of them, of which each fits a message.
	WithTransaction(ctx context.Context, fn func(tx Tx[S]) error) error

	// BeginAttempt begins the next attempt of a run, and returns its number: 1 the first time. From then on this store's writes of the run
	// are of that attempt, unless [ContextWithAttempt] says otherwise; writes of an older attempt, or of none, are refused with
	// [ErrStaleAttempt]; and LoadLatest answers from the newest attempt that has saved a step. Begin one when a run starts again under its
	// old id, or takes over from a worker that is thought dead.
	//
	// A store remembers the attempts that it began, about a hundred bytes a run, for as long as it is open: forgotten, its next write
	// would be of none. A process that begins very many says the attempt with [ContextWithAttempt], and opens a store anew at times.
	BeginAttempt(ctx context.Context, runID string) (attempt int, err error)

	// Flush waits until everything that was queued before the call is logged or given up, and returns, joined, the errors of
	// [Async] writes since the last Flush. When ctx ends first, the error says how many are still queued; they stay queued. A store
	// that queues nothing returns at once.
	Flush(ctx context.Context) error

	// Ping checks, without retrying, that the store would work: that MySQL answers; or that NATS does, that a stream listens where
	// this client publishes (nothing is stored), and that a persistd replica answers reads. The error says which did not.
	Ping(ctx context.Context) error

	// Close stops taking calls, flushes for at most [WithCloseTimeout], and closes the connections that the store made. The error
	// joins what Flush would return with the number of writes that were not acknowledged. It is idempotent: a later call
	// returns the same. All other methods return [ErrClosed] from then on.
	Close() error
}

// StepStore is the steps of runs.
type StepStore[S any] interface {
	// SaveStep saves the state of run after its step-th step, which the node executed. It returns when the step is as durable as
	// asked for (see [Durability]), and blocks while the client is full. The state is marshalled before it returns and may be
	// changed afterwards.
	//
	// The run id has 1 to 255 characters of valid UTF-8 and no trailing space; the node id at most 255; the step fits 32 bits;
	// the state is valid JSON, nested at most 31 deep ([WithMaxDepth]), and fits one message ([ErrTooLarge] names the limit).
	// Saving a step of a run again replaces it.
	SaveStep(ctx context.Context, runID string, step int, nodeID string, state S) error

	// SaveStepBatch saves steps of a run, all or none, like a transaction of them. None at all is no error.
	SaveStepBatch(ctx context.Context, runID string, steps []Step[S]) error

	// LoadLatest returns the state and number of the run's highest step, or [ErrNotFound]; of a run with attempts, the highest of its
	// newest attempt that has saved a step. It sees every step that was acknowledged to any worker before the call, committed to MySQL
	// or not. Steps that this client still has queued for the run are waited for first, so a worker reads what it wrote in every
	// durability; one that could not be logged is not in the answer, and its error is reported by Flush.
	LoadLatest(ctx context.Context, runID string) (state S, step int, err error)
}

// CheckpointStore is the checkpoints: named ones, and those of runs.
type CheckpointStore[S any] interface {
	// SaveCheckpoint saves a state under a name. Names are global: the same id again, by whomever, replaces the checkpoint. It is as
	// durable, and ids are as, of a step.
	SaveCheckpoint(ctx context.Context, id string, state S, step int) error

	// LoadCheckpoint returns what was saved under a name, or [ErrNotFound]. It sees every checkpoint that was acknowledged before.
	LoadCheckpoint(ctx context.Context, id string) (state S, step int, err error)

	// SaveCheckpointV2 saves a checkpoint of a run and, with [WithEvents], outbox events: all or none. It returns when they are in
	// MySQL, whatever the durability, for only there it is known whether the idempotency key was used. A key that was used with the same
	// content (timestamps and the ids of events aside) is success, and nothing changes: so a save that may have happened can be
	// repeated. A key that was used with other content is [ErrDuplicate], and nothing changes. Of several who race for a key one wins.
	SaveCheckpointV2(ctx context.Context, checkpoint CheckpointV2[S], opts ...SaveOption) error

	// LoadCheckpointV2 returns the run's checkpoint of a step, LoadCheckpointV2ByLabel the one with the highest step among those with a
	// label, LoadLatestCheckpointV2 the one with the highest step of all; or [ErrNotFound].
	LoadCheckpointV2(ctx context.Context, runID string, stepID int) (CheckpointV2[S], error)
	LoadCheckpointV2ByLabel(ctx context.Context, runID, label string) (CheckpointV2[S], error)
	LoadLatestCheckpointV2(ctx context.Context, runID string) (CheckpointV2[S], error)

	// ListCheckpointsV2 yields the run's checkpoints by rising step.
	ListCheckpointsV2(ctx context.Context, runID string) iter.Seq2[CheckpointV2[S], error]

	// CheckIdempotency reports whether an idempotency key was used. The empty key never was.
	CheckIdempotency(ctx context.Context, key string) (used bool, err error)
}

// OutboxStore is the outbox: events that were saved with a state and are to be emitted.
type OutboxStore interface {
	// PendingEvents returns committed events that were not marked as emitted, in the order in which they were committed, each with its id
	// in Meta["event_id"]. They are this store's for a while ([WithEventLease]): nobody else is given them, nor later events of the same
	// runs. limit is how many at most, 1 to 1000; 0 or less is 1000, and a call may return fewer than there are. What another client
	// saved that is no [Event] is in Meta["data"].
	PendingEvents(ctx context.Context, limit int) ([]Event, error)

	// MarkEventsEmitted marks events as emitted: they are not pending any more. It may be called with any number of ids, again, and with
	// ids that do not exist.
	MarkEventsEmitted(ctx context.Context, ids []string) error
}

// HistoryStore is what runs left behind.
type HistoryStore[S any] interface {
	// Steps yields the steps of a run, of all attempts, by rising number from from on, at most limit of them; limit 0 or less is no limit. It
	// sees every step that was acknowledged before it began; for those that are not yet in MySQL it waits.
	Steps(ctx context.Context, runID string, from, limit int) iter.Seq2[Step[S], error]

	// GetStep returns one step of a run, or [ErrNotFound]. It sees what Steps does.
	GetStep(ctx context.Context, runID string, step int) (Step[S], error)

	// ListRuns yields the runs that have a step in MySQL, in the order of the bytes of their ids; MySQL has one that goes on with a
	// control character before what it goes on from.
	ListRuns(ctx context.Context, filter RunFilter) iter.Seq2[Run, error]

	// DeleteRun deletes a run: its steps, its V2 checkpoints with the idempotency keys that guard them, and its outbox events that were
	// emitted. Events that were not stay, and named checkpoints do. It returns when that is committed. A run that is not there is no error.
	DeleteRun(ctx context.Context, runID string) error

	// CopyRun copies the steps and V2 checkpoints of a run up to and with a step to a run that is not there yet ([ErrExists]), all or
	// none, without idempotency keys, attempts and outbox events; [ErrNotFound] when there is nothing to copy. Of a run with attempts, steps
	// beyond the one that LoadLatest returns are an older attempt's, and left out. It is a transaction with a transaction's bounds.
	CopyRun(ctx context.Context, runID string, uptoStep int, newRunID string) error

	// WatchRun yields the steps of a run from number from on: first those that are there, then each as it is saved, without gaps, until
	// ctx ends (which is not an error) or the caller breaks. A step that is saved again is yielded again, as it is then; versions that were
	// replaced before they could be shown are left out. While persistd is away it waits, each time for as long as a call may take
	// ([WithTimeout]), and then yields the error; who goes on from there gets what is there once more.
	WatchRun(ctx context.Context, runID string, from int) iter.Seq2[Step[S], error]
}

// Open connects to the NATS servers at natsURL (comma-separated for several) and returns a store. It fails with [ErrUnavailable] when
// no server can be reached within ctx (5 s a server at most), with [ErrPermission] when the server refuses the user, and with
// [ErrInvalidOption], naming everything that is wrong, when the options do. Neither a stream nor a persistd is needed to open.
func Open[S any](ctx context.Context, natsURL string, opts ...Option) (Store[S], error) {
	cfg, err := newConfig(opts, natsConfig(natsURL))
	if err != nil {
		return nil, newError(opOpen, "", 0, err)
	}
	e, err := openEngine(ctx, natsURL, cfg)
	if err != nil {
		return nil, newError(opOpen, "", 0, err)
	}
	return newStore[S](e, cfg), nil
}
