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

// The headers of an error of a NATS service.
const (
	headerServiceError = "Nats-Service-Error"
	headerServiceCode  = "Nats-Service-Error-Code"
)

// The verbs of the read path that the client uses.
const (
	verbLatest    = "latest"
	verbCommitted = "committed"
)

// maxCommitWait is how long persistd is asked to wait for a commit before it answers "not yet".
const maxCommitWait = 5 * time.Second

// latestStep is persistd's answer to "latest".
type latestStep struct {
	Found bool            `json:"found"`
	Step  int             `json:"step"`
	State json.RawMessage `json:"state"`
}

// committedRequest asks whether an event is in MySQL.
type committedRequest struct {
	RunID    string `json:"run_id"`
	Sequence uint64 `json:"sequence"`
	Stream   string `json:"stream"`
	WaitMS   int64  `json:"wait_ms"`
}

type committedReply struct {
	Committed bool `json:"committed"`
	Rejected  *struct {
		Code   string `json:"code"`
		Reason string `json:"reason"`
	} `json:"rejected"`
}

func (e *engine) loadLatest(ctx context.Context, runID string) (latestStep, error) {
	if e.isClosing() {
		return latestStep{}, ErrClosed
	}
	if err := wire.CheckID(runID); err != nil {
		return latestStep{}, &fault{kind: ErrInvalidID, err: fmt.Errorf("run %w", err)}
	}
	ctx, cancel := e.withDeadline(ctx)
	defer cancel()
	if err := e.publisher.waitRun(ctx, e.subjects.Write(e.cfg.namespace, wire.KindRun, runID)); err != nil {
		return latestStep{}, err
	}
	var latest latestStep
	for pauses := newPauses(); ; {
		err := e.ask(ctx, e.cfg.attemptTimeout, verbLatest, map[string]string{"run_id": runID}, &latest)
		switch {
		case err == nil && !latest.Found:
			return latestStep{}, ErrNotFound
		case err == nil:
			return latest, nil
		}
		if err := e.retry(ctx, err, pauses.NextBackOff()); err != nil {
			return latestStep{}, err
		}
	}
}

// waitCommitted waits until the event that ack is of is in MySQL.
func (e *engine) waitCommitted(ctx context.Context, runID string, ack pubAck) error {
	last := errNotYet
	for pauses := newPauses(); ; {
		started := time.Now()
		wait := maxCommitWait
		if deadline, ok := ctx.Deadline(); ok {
			wait = max(0, min(wait, time.Until(deadline)))
		}
		var reply committedReply
		err := e.ask(ctx, wait+e.cfg.attemptTimeout, verbCommitted,
			committedRequest{RunID: runID, Sequence: ack.Sequence, Stream: ack.Stream, WaitMS: wait.Milliseconds()}, &reply)
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

// ask sends one request to persistd and decodes the reply into answer.
func (e *engine) ask(ctx context.Context, timeout time.Duration, verb string, request, answer any) error {
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("marshal request: %w", err)
	}
	subject := e.subjects.Read(e.cfg.namespace, verb)
	reply, err := e.mux.request(attempt, &nats.Msg{Subject: subject, Header: nats.Header{"Accept-Encoding": {wire.EncodingZstd}}, Data: body})
	switch {
	case err != nil && attempt.Err() != nil:
		if denied := deniedSubject(e.nc.LastError()); denied == subject {
			return permissionFault("publish to " + denied)
		}
		return &fault{kind: ErrUnavailable, err: errors.New("persistd did not answer"), hint: "see persistd's log, and whether this user may receive in its inbox"}
	case err != nil:
		return err
	case isNoResponders(reply):
		return &fault{
			kind: ErrUnavailable, err: fmt.Errorf("no persistd listens on %s", subject),
			hint: "is persistd running, and are prefix and namespace the same here and there?",
		}
	}
	if code := reply.Header.Get(headerServiceCode); code != "" {
		return serviceFault(code, reply.Header.Get(headerServiceError))
	}
	data := reply.Data
	if reply.Header.Get(wire.HeaderEncoding) == wire.EncodingZstd {
		if data, err = wire.Decompress(data); err != nil {
			return &fault{kind: ErrBadRequest, err: fmt.Errorf("decompress reply: %w", err), final: true}
		}
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return &fault{kind: ErrBadRequest, err: fmt.Errorf("unmarshal reply to %s: %w", verb, err), final: true, hint: "client and persistd are of different versions"}
	}
	return nil
}

func serviceFault(code, description string) *fault {
	err := fmt.Errorf("persistd answered %s: %s", code, description)
	n, _ := strconv.Atoi(code) //nolint:errcheck // what is no number is no class of error either.
	switch {
	case n == 413:
		return &fault{kind: ErrTooLarge, err: err, final: true, hint: "raise max_payload in the NATS server's configuration"}
	case n == 429 || n >= 500:
		return &fault{kind: ErrUnavailable, err: err}
	default:
		return &fault{kind: ErrBadRequest, err: err, final: true}
	}
}
