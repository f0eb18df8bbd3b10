package client

import (
	"errors"
	"fmt"
	"strings"
)

// The sentinels that errors of this package match with errors.Is. An error may match several: [ErrOutcomeUnknown] and
// context.DeadlineExceeded, for instance.
var (
	// ErrNotFound says that there is no such run, step or checkpoint.
	ErrNotFound = errors.New("not found")
	// ErrInvalidID says that an id, a label or a key cannot be stored, or that ids do not go together; the message says why. Nothing was
	// published.
	ErrInvalidID = errors.New("invalid id")
	// ErrInvalidStep says that a step number does not fit 32 bits. Nothing was published.
	ErrInvalidStep = errors.New("invalid step")
	// ErrInvalidState says that a state is not JSON, or is nested too deep (nothing was published), or that a loaded state does
	// not fit the store's type. It is the same of a frontier, recorded I/O, a timestamp and an event.
	ErrInvalidState = errors.New("invalid state")
	// ErrTooLarge says that a step, checkpoint or event does not fit a message of the log, or that a transaction has too many of them; the
	// message names what, its size, the limit and what to do. As the error of a load, it is the state that does not fit the reply.
	ErrTooLarge = errors.New("too large")
	// ErrInvalidOption says that options of the store, or of the ctx, are wrong; the message names all of them.
	ErrInvalidOption = errors.New("invalid option")
	// ErrLogFull says that the log took no more until the deadline. The step is not logged; persistd is behind, or the stream's
	// max_bytes is too small.
	ErrLogFull = errors.New("log is full")
	// ErrUnavailable says that NATS, the log, persistd, or of a [MySQLStore] the database, did not answer; the message says which.
	ErrUnavailable = errors.New("unavailable")
	// ErrPermission says that the NATS server, or the database, does not let this user connect or do what is to be done.
	ErrPermission = errors.New("permission denied")
	// ErrBackpressure says that the client was full until ctx ended. Nothing was queued.
	ErrBackpressure = errors.New("client is full")
	// ErrOutcomeUnknown says that a publish was not answered: the write may be logged, or not. Saving it again is safe; see "What an answer
	// means" of the package.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotCommitted says that a write that waits for its commit is logged, but was not committed yet when ctx ended. It will be; one with
	// an idempotency key will be decided: saving it again with its key tells how, and does nothing twice.
	ErrNotCommitted = errors.New("logged but not yet committed")
	// ErrRejected says that a write was refused for good: by the log, or, if it waited for its commit, by becoming a dead letter; the
	// message has the reason.
	ErrRejected = errors.New("rejected")
	// ErrBadRequest says that persistd does not understand what this client asks, or does not serve its namespace.
	ErrBadRequest = errors.New("bad request")
	// ErrDuplicate says that an idempotency key was used before, with other content. Nothing changed.
	ErrDuplicate = errors.New("idempotency key was used with other content")
	// ErrStaleAttempt says that a newer attempt of the run has begun: whoever gets it is no longer the one that writes the run, and should
	// stop. Nothing was saved.
	ErrStaleAttempt = errors.New("a newer attempt of the run has begun")
	// ErrExists says that the run that was to be made is there already.
	ErrExists = errors.New("run exists already")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// The operations of errors.
const (
	opOpen       = "open store"
	opSaveStep   = "save step"
	opSaveBatch  = "save steps"
	opLoadLatest = "load latest step"
	opFlush      = "flush store"
	opPing       = "ping"
	opClose      = "close store"

	opSaveCheckpoint = "save checkpoint"
	opLoadCheckpoint = "load checkpoint"
	opSaveV2         = "save V2 checkpoint"
	opLoadV2         = "load V2 checkpoint"
	opLoadLabel      = "load V2 checkpoint by label"
	opLoadLatestV2   = "load latest V2 checkpoint"
	opListV2         = "list V2 checkpoints"
	opCheckKey       = "check idempotency key"
	opTransaction    = "run transaction"
	opBegin          = "begin attempt"
	opPending        = "load pending events"
	opMark           = "mark events emitted"
	opSteps          = "load steps"
	opGetStep        = "load step"
	opListRuns       = "list runs"
	opDelete         = "delete run"
	opCopy           = "copy run"
	opWatch          = "watch run"
)

// Error is the error of every operation of this package.
type Error struct {
	// Op is what was to be done, e.g. "save step".
	Op string
	// RunID is the run that it was about, or "".
	RunID string
	// Step is the step that it was about, of an operation on one step or V2 checkpoint.
	Step int
	// CheckpointID is the named checkpoint that it was about, or "".
	CheckpointID string
	// Err is the cause; it matches the sentinels of this package with errors.Is.
	Err error
	// Hint says what to do about it, or is "".
	Hint string
}

// Error reads as: operation, cause, hint. It never holds a state or a credential.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	switch e.Op {
	case opSaveStep, opGetStep, opSaveV2, opLoadV2:
		fmt.Fprintf(&b, " %d", e.Step)
	}
	if e.CheckpointID != "" {
		fmt.Fprintf(&b, " %.300q", e.CheckpointID)
	}
	if e.RunID != "" {
		fmt.Fprintf(&b, " of run %.300q", e.RunID)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func newError(op, runID string, step int, err error) *Error {
	e := &Error{Op: op, RunID: runID, Step: step, Err: err}
	if f, ok := errors.AsType[*fault](err); ok {
		e.Hint = f.hint
	}
	return e
}

// wrapError is newError of an error; nil for nil.
func wrapError(op, runID string, step int, err error) error {
	if err == nil {
		return nil
	}
	return newError(op, runID, step, err)
}

func newCheckpointError(op, id string, err error) *Error {
	e := newError(op, "", 0, err)
	e.CheckpointID = id
	return e
}

// fault is a cause: a sentinel, what it is about, and what to do.
type fault struct {
	kind error
	err  error
	hint string
	// final is set when trying again is of no use.
	final bool
	// unsent is set when the log surely did not store what was published.
	unsent bool
	// code is the error code that the log refused a publish with, 0 for none.
	code int
}

func (f *fault) Error() string {
	if f.err == nil {
		return f.kind.Error()
	}
	return f.kind.Error() + ": " + f.err.Error()
}

func (f *fault) Unwrap() []error {
	if f.err == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.err}
}
