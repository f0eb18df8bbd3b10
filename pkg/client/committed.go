package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

var errNotYet = errors.New("not yet")

// waitCommitted waits until w, whose event ack is of, is in MySQL, or until it is known why it never will be. Of an event with idempotency
// keys only their rows tell that.
func (e *engine) waitCommitted(ctx context.Context, w *write, ack pubAck) error {
	if len(w.keys()) > 0 {
		return e.askCommitted(ctx, w, ack)
	}
	log, partition := e.commits.enter(e.cfg.namespace, w.id)
	told := false
	defer func() { e.commits.leave(told) }()
	if log == nil {
		return e.askCommitted(ctx, w, ack)
	}
	out, inVain := log.wait(ctx, partition, ack)
	told = out.Known
	switch {
	case out.Rejected != nil:
		return rejectedFault(ack, wire.RejectionOf(out.Rejected))
	case out.Known:
		return nil
	}
	err := e.askCommitted(ctx, w, ack)
	if err == nil && inVain {
		e.commits.deaf(log, partition)
	}
	return err
}

// askCommitted is waitCommitted by asking persistd.
func (e *engine) askCommitted(ctx context.Context, w *write, ack pubAck) error {
	request := wire.CommittedRequest{Sequence: ack.Sequence, Stream: ack.Stream, Keys: w.keys()}
	if request.RunID = w.id; w.kind == wire.KindCheckpoint {
		request.RunID, request.CheckpointID = "", w.id
	}
	if len(request.Keys) > 0 {
		request.ContentHash = hex.EncodeToString(w.hash[:])
	}
	last := errNotYet
	for pauses := newPauses(); ; {
		started := time.Now()
		wait := wire.MaxCommittedWait
		if deadline, ok := ctx.Deadline(); ok {
			wait = max(0, min(wait, time.Until(deadline)))
		}
		request.WaitMS = wait.Milliseconds()
		reply, err := ask(ctx, e, wait+e.cfg.attemptTimeout, wire.VerbCommitted, request, parse[wire.CommittedReply])
		switch {
		case err == nil && reply.Rejected != nil:
			return rejectedFault(ack, reply.Rejected)
		case err == nil && reply.Committed:
			return nil
		case err == nil:
			err = errNotYet
		case ctx.Err() != nil:
			err = last // it was asked to wait and did not get to answer: that says nothing
		}
		last = err
		pause := pauses.NextBackOff()
		if waited := time.Since(started); waited >= wait {
			pause = 0
			pauses.Reset()
		}
		if err := e.retry(ctx, err, pause); err != nil {
			return notCommitted(ctx, w, err)
		}
	}
}

// notCommitted is that the wait for w's commit ended with err.
func notCommitted(ctx context.Context, w *write, err error) *fault {
	f := &fault{kind: ErrNotCommitted, err: err, hint: "it is safe in the log and will be committed: see what keeps persistd, or allow more time"}
	if errors.Is(err, errNotYet) {
		f.err = ctx.Err()
	}
	if len(w.keys()) > 0 {
		f.hint = "it is safe in the log and will be decided: repeat it with its idempotency key to be told, see what keeps persistd, or allow more time"
	}
	return f
}

// rejectedFault is why the event that ack is of was not applied.
func rejectedFault(ack pubAck, r *wire.Rejection) *fault {
	event := fmt.Sprintf("event %d of %s", ack.Sequence, ack.Stream)
	switch r.Code {
	case wire.RejectedDuplicate:
		return &fault{kind: ErrDuplicate, err: fmt.Errorf("%s: %s", event, r.Reason), final: true}
	case wire.RejectedUnknown:
		return &fault{
			kind: ErrOutcomeUnknown, err: fmt.Errorf("%s: %s", event, r.Reason), final: true,
			hint: "the record of its idempotency key was removed before it was asked for: look whether the checkpoint is there",
		}
	case wire.CodeAttempt:
		return &fault{
			kind: ErrStaleAttempt, err: fmt.Errorf("%s: %s", event, r.Reason), final: true,
			hint: "another worker has taken the run over: stop writing it",
		}
	default:
		return &fault{kind: ErrRejected, err: fmt.Errorf("%s is a dead letter: %s: %s", event, r.Code, r.Reason)}
	}
}
