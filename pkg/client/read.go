package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

func (e *engine) loadLatest(ctx context.Context, runID string) (wire.LatestReply, error) {
	if e.isClosing() {
		return wire.LatestReply{}, ErrClosed
	}
	if err := wire.CheckID(runID); err != nil {
		return wire.LatestReply{}, &fault{kind: ErrInvalidID, err: fmt.Errorf("run %w", err)}
	}
	ctx, cancel := e.withDeadline(ctx)
	defer cancel()
	if err := e.publisher.waitRun(ctx, e.subjects.Write(e.cfg.namespace, wire.KindRun, runID)); err != nil {
		return wire.LatestReply{}, err
	}
	for pauses := newPauses(); ; {
		latest, err := ask(ctx, e, e.cfg.attemptTimeout, wire.VerbLatest, wire.LatestRequest{RunID: runID}, wire.ParseLatest)
		switch {
		case err == nil && !latest.Found:
			return wire.LatestReply{}, ErrNotFound
		case err == nil:
			return latest, nil
		}
		if err := e.retry(ctx, err, pauses.NextBackOff()); err != nil {
			return wire.LatestReply{}, err
		}
	}
}

// waitCommitted waits until the event that ack is of is in MySQL.
func (e *engine) waitCommitted(ctx context.Context, runID string, ack pubAck) error {
	last := errNotYet
	for pauses := newPauses(); ; {
		started := time.Now()
		wait := wire.MaxCommittedWait
		if deadline, ok := ctx.Deadline(); ok {
			wait = max(0, min(wait, time.Until(deadline)))
		}
		reply, err := ask(ctx, e, wait+e.cfg.attemptTimeout, wire.VerbCommitted,
			wire.CommittedRequest{RunID: runID, Sequence: ack.Sequence, Stream: ack.Stream, WaitMS: wait.Milliseconds()}, parseCommitted)
		switch {
		case err == nil && reply.Rejected != nil:
			return &fault{kind: ErrRejected, err: fmt.Errorf("event %d of %s is a dead letter: %s: %s", ack.Sequence, ack.Stream, reply.Rejected.Code, reply.Rejected.Reason)}
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
			f := &fault{kind: ErrNotCommitted, err: err, hint: "the step is safe in the log and will be committed: see what keeps persistd, or allow more time"}
			if errors.Is(err, errNotYet) {
				f.err = ctx.Err()
			}
			return f
		}
	}
}

var errNotYet = errors.New("not yet")

// retry pauses before a request is tried again after err. It returns an error, of err and of why, when it must not be.
func (e *engine) retry(ctx context.Context, err error, pause time.Duration) error {
	var f *fault
	if errors.As(err, &f) && f.final || errors.Is(err, ErrClosed) {
		return err
	}
	if ctx.Err() == nil {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-e.publisher.stop:
			return ErrClosed
		case <-ctx.Done():
		}
	}
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ctx.Err())
}

func parseCommitted(src []byte) (reply wire.CommittedReply, err error) {
	err = json.Unmarshal(src, &reply)
	return reply, err
}

// ask sends one request to persistd and returns the reply as parse reads it.
func ask[R any](ctx context.Context, e *engine, timeout time.Duration, verb string, request any, parse func([]byte) (R, error)) (R, error) {
	var answer R
	data, err := e.request(ctx, timeout, verb, request)
	if err != nil {
		return answer, err
	}
	if answer, err = parse(data); err != nil {
		return answer, &fault{kind: ErrBadRequest, err: fmt.Errorf("unmarshal reply to %s: %w", verb, err), final: true, hint: "client and persistd are of different versions"}
	}
	return answer, nil
}

// request sends one request to persistd and returns the reply, decompressed.
func (e *engine) request(ctx context.Context, timeout time.Duration, verb string, request any) ([]byte, error) {
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("marshal request: %w", err)
	}
	subject := e.subjects.Read(e.cfg.namespace, verb)
	reply, err := e.mux.request(attempt, &nats.Msg{Subject: subject, Header: nats.Header{wire.HeaderAccept: {wire.EncodingZstd}}, Data: body})
	switch {
	case err != nil && attempt.Err() != nil:
		if denied := deniedSubject(e.nc.LastError()); denied == subject {
			return nil, permissionFault("publish to " + denied)
		}
		return nil, &fault{kind: ErrUnavailable, err: errors.New("persistd did not answer"), hint: "see persistd's log, and whether this user may receive in its inbox"}
	case err != nil:
		return nil, err
	case isNoResponders(reply):
		return nil, &fault{
			kind: ErrUnavailable, err: fmt.Errorf("no persistd listens on %s", subject),
			hint: "is persistd running, and are prefix and namespace the same here and there?",
		}
	}
	if code := reply.Header.Get(wire.HeaderErrorCode); code != "" {
		return nil, serviceFault(code, reply.Header.Get(wire.HeaderError))
	}
	data := reply.Data
	if reply.Header.Get(wire.HeaderEncoding) == wire.EncodingZstd {
		if data, err = wire.Decompress(data); err != nil {
			return nil, &fault{kind: ErrBadRequest, err: fmt.Errorf("decompress reply: %w", err), final: true}
		}
	}
	return data, nil
}

func serviceFault(code, description string) *fault {
	err := fmt.Errorf("persistd answered %s: %s", code, description)
	n, _ := strconv.Atoi(code)
	switch {
	case n == 413:
		return &fault{kind: ErrTooLarge, err: err, final: true, hint: "raise max_payload in the NATS server's configuration"}
	case n == 429 || n >= 500:
		return &fault{kind: ErrUnavailable, err: err}
	default:
		return &fault{kind: ErrBadRequest, err: err, final: true}
	}
}
