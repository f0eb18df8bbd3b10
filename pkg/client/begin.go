package client

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// begin begins the run's next attempt:
//
//	the run's writes that this client has queued → the newest attempt n, and the sequence of its beginning
//	publish the beginning of n+1, if that sequence is still the last → refused: look again
//	wait until it is committed
func (e *engine) begin(ctx context.Context, runID string) (uint32, error) {
	if err := e.ownWrites(ctx, wire.KindRun, runID); err != nil {
		return 0, err
	}
	for pauses := newPauses(); ; {
		n, ack, err := e.beginNext(ctx, runID)
		if err == nil {
			return n, e.waitCommitted(ctx, &write{kind: wire.KindRun, id: runID}, ack)
		}
		if err := e.retry(ctx, err, pauses.NextBackOff()); err != nil {
			return 0, err
		}
	}
}

func (e *engine) beginNext(ctx context.Context, runID string) (uint32, pubAck, error) {
	found, err := e.askAttempt(ctx, runID)
	if err != nil {
		return 0, pubAck{}, err
	}
	if found.Attempt >= math.MaxInt32 {
		return 0, pubAck{}, &fault{kind: ErrRejected, err: fmt.Errorf("run has had %d attempts", found.Attempt), final: true}
	}
	n := found.Attempt + 1
	ack, err := e.publishBeginning(ctx, runID, n, fence{found.Subject, found.Sequence})
	return n, ack, err
}

func (e *engine) askAttempt(ctx context.Context, runID string) (wire.AttemptReply, error) {
	found, err := ask(ctx, e, e.cfg.attemptTimeout, wire.VerbAttempt, wire.AttemptRequest{RunID: runID}, parse[wire.AttemptReply])
	if err == nil && found.Subject == "" { // without it nothing would be fenced
		err = &fault{kind: ErrBadRequest, err: errors.New("persistd did not say where attempts begin"), final: true}
	}
	return found, err
}

// publishBeginning publishes the beginning of attempt n, if the run's last one is still at. It returns errRaced when it is not.
func (e *engine) publishBeginning(ctx context.Context, runID string, n uint32, at fence) (pubAck, error) {
	msg, err := e.message(wire.KindAttempt, runID, wire.AppendEvent(nil, wire.KindAttempt, runID, n, nil, nil), nil)
	if err != nil {
		return pubAck{}, err
	}
	msg.Header[wire.HeaderUrgent] = urgent // who begins waits for it
	pub := &publication{msgs: []*nats.Msg{msg}, runID: runID, fence: at, inner: true}
	if err := e.publisher.submit(ctx, pub); err != nil {
		return pubAck{}, err
	}
	ack, err := e.publisher.wait(ctx, pub)
	switch {
	case errors.Is(err, errFenced):
		return ack, errRaced
	case err != nil:
		return ack, err
	}
	e.fences.put(runID, n, fence{at.subject, ack.Sequence})
	return ack, nil
}

// fenceOf returns the fence that w is to be published behind, if it is of an attempt: that of the attempt's beginning, which is made when
// there is none.
func (e *engine) fenceOf(ctx context.Context, w *write) (fence, error) {
	if w.kind != wire.KindRun || w.attempt == 0 && len(w.ops) == 1 && w.ops[0].Type == wire.OpDeleteRun {
		return fence{}, nil // nobody's, or an operator's
	}
	known, at := e.fences.get(w.id)
	switch {
	case known > w.attempt:
		return fence{}, staleFault(w.attempt, known)
	case w.attempt == 0:
		return fence{}, nil
	case known == w.attempt && at.sequence > 0:
		return at, nil
	}
	for pauses := newPauses(); ; {
		at, err := e.look(ctx, w.id, w.attempt)
		if err == nil {
			return at, nil
		}
		if err := e.retry(ctx, err, pauses.NextBackOff()); err != nil {
			return fence{}, err
		}
	}
}

// refence is fenceOf after the log refused an attempt's fence, tried once. The attempt may be over, or begun anew by another writer
// of it, or by this one for another write; or the log may have been trimmed, and then it is begun again.
func (e *engine) refence(ctx context.Context, runID string, attempt uint32, refused fence) (fence, error) {
	if known, at := e.fences.get(runID); known == attempt && at.sequence > 0 && at != refused {
		return at, nil
	}
	return e.look(ctx, runID, attempt)
}

// look asks once which attempt is the newest, and begins this one if it is newer.
func (e *engine) look(ctx context.Context, runID string, attempt uint32) (fence, error) {
	found, err := e.askAttempt(ctx, runID)
	if err != nil {
		return fence{}, err
	}
	at := fence{found.Subject, found.Sequence}
	switch {
	case found.Attempt > attempt:
		e.fences.put(runID, found.Attempt, at)
		return fence{}, staleFault(attempt, found.Attempt)
	case found.Attempt == attempt && found.Sequence > 0:
		e.fences.put(runID, attempt, at)
		return at, nil
	}
	ack, err := e.publishBeginning(ctx, runID, attempt, at)
	if errors.Is(err, ErrOutcomeUnknown) { // of the beginning: what was to be written behind it is surely not logged
		err = &fault{kind: ErrUnavailable, err: fmt.Errorf("log did not answer to the beginning of attempt %d", attempt), hint: errNoAnswer.hint}
	}
	return fence{at.subject, ack.Sequence}, err
}

func staleFault(attempt, newest uint32) *fault {
	return &fault{
		kind: ErrStaleAttempt, err: fmt.Errorf("the write is of attempt %d, the run's newest is %d", attempt, newest), final: true, unsent: true,
		hint: "another worker has taken the run over: stop writing it",
	}
}
