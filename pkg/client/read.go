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

func (e *engine) latest(ctx context.Context, runID string) (*wire.StepRecord, error) {
	if err := e.ownWrites(ctx, wire.KindRun, runID); err != nil {
		return nil, err
	}
	latest, err := query(ctx, e, wire.VerbLatest, wire.LatestRequest{RunID: runID}, wire.ParseLatest)
	if err != nil || !latest.Found {
		return nil, err
	}
	return latestRecord(latest), nil
}

func latestRecord(r wire.LatestReply) *wire.StepRecord {
	return &wire.StepRecord{Step: r.Step, NodeID: r.NodeID, Attempt: r.Attempt, Sequence: r.Sequence, SavedAt: r.LoggedAt, State: r.State}
}

func (e *engine) checkpoint(ctx context.Context, id string) (*wire.CheckpointRecord, error) {
	if err := e.ownWrites(ctx, wire.KindCheckpoint, id); err != nil {
		return nil, err
	}
	reply, err := query(ctx, e, wire.VerbCheckpoint, wire.CheckpointRequest{CheckpointID: id}, parse[wire.CheckpointReply])
	return reply.Checkpoint, err
}

func (e *engine) checkpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error) {
	reply, err := query(ctx, e, wire.VerbCheckpointV2, q, parse[wire.V2Reply])
	return reply.Checkpoint, err
}

func (e *engine) checkpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	return query(ctx, e, wire.VerbCheckpointsV2, q, parse[wire.V2ListReply])
}

func (e *engine) steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	if err := e.ownWrites(ctx, wire.KindRun, q.RunID); err != nil {
		return wire.StepsReply{}, err
	}
	return query(ctx, e, wire.VerbSteps, q, parse[wire.StepsReply])
}

func (e *engine) runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error) {
	return query(ctx, e, wire.VerbRuns, q, parse[wire.RunsReply])
}

func (e *engine) used(ctx context.Context, key string) (bool, error) {
	reply, err := query(ctx, e, wire.VerbIdempotency, wire.IdempotencyRequest{Key: key}, parse[wire.IdempotencyReply])
	return reply.Used, err
}

func (e *engine) claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	reply, err := query(ctx, e, wire.VerbEvents, q, parse[wire.EventsReply])
	return reply.Events, err
}

func (e *engine) markEmitted(ctx context.Context, ids []string) error {
	_, err := query(ctx, e, wire.VerbEmitted, wire.EmittedRequest{EventIDs: ids}, parse[wire.EmittedReply])
	return err
}

// watch asks once for as long as the request may be held.
func (e *engine) watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	held := time.Duration(q.WaitMS) * time.Millisecond
	return queryFor(ctx, e, held+e.cfg.attemptTimeout, wire.VerbWatch, q, parse[wire.WatchReply])
}

// ownWrites waits until what this client has queued for a key is over, whatever its outcome.
func (e *engine) ownWrites(ctx context.Context, kind, id string) error {
	if e.isClosing() {
		return ErrClosed
	}
	return e.publisher.waitRun(ctx, e.subjects.Write(e.cfg.namespace, kind, id))
}

// query asks persistd until it answers or ctx ends.
func query[R any](ctx context.Context, e *engine, verb string, request any, parse func([]byte) (R, error)) (R, error) {
	return queryFor(ctx, e, e.cfg.attemptTimeout, verb, request, parse)
}

// queryFor is query with a timeout of its own for each attempt.
func queryFor[R any](ctx context.Context, e *engine, timeout time.Duration, verb string, request any, parse func([]byte) (R, error)) (R, error) {
	for pauses := newPauses(); ; {
		if e.isClosing() {
			var nothing R
			return nothing, ErrClosed
		}
		reply, err := ask(ctx, e, timeout, verb, request, parse)
		if err == nil {
			return reply, nil
		}
		if err := e.retry(ctx, err, pauses.NextBackOff()); err != nil {
			return reply, err
		}
	}
}

func parse[R any](src []byte) (reply R, err error) {
	err = json.Unmarshal(src, &reply)
	return reply, err
}

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

// ask sends one request to persistd and returns the reply as parse reads it.
func ask[R any](ctx context.Context, e *engine, timeout time.Duration, verb string, request any, parse func([]byte) (R, error)) (R, error) {
	var answer R
	data, err := e.request(ctx, timeout, verb, request)
	if err != nil {
		return answer, err
	}
	return understand(verb, data, parse)
}

// understand reads the reply to a request.
func understand[R any](verb string, data []byte, parse func([]byte) (R, error)) (R, error) {
	answer, err := parse(data)
	if err != nil {
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
	before := lastError(e.nc, e.cfg)
	reply, err := e.mux.request(attempt, &nats.Msg{Subject: subject, Header: nats.Header{wire.HeaderAccept: {wire.EncodingZstd}}, Data: body})
	switch {
	case err != nil && attempt.Err() != nil:
		if denied := newlyDenied(before, lastError(e.nc, e.cfg)); denied == subject {
			return nil, permissionFault("publish to " + denied)
		}
		return nil, &fault{kind: ErrUnavailable, err: errors.New("persistd did not answer"), hint: "see persistd's log, and whether this user may receive in its inbox"}
	case err != nil:
		return nil, err
	}
	return unpack(subject, reply)
}

// unpack is what a reply to a request on subject says, decompressed, or the error that it is.
func unpack(subject string, reply *nats.Msg) ([]byte, error) {
	if isNoResponders(reply) {
		return nil, &fault{
			kind: ErrUnavailable, err: fmt.Errorf("no persistd listens on %s", subject),
			hint: "is persistd running, and are prefix and namespace the same here and there?",
		}
	}
	if code := reply.Header.Get(wire.HeaderErrorCode); code != "" {
		return nil, serviceFault(code, reply.Header.Get(wire.HeaderError))
	}
	if reply.Header.Get(wire.HeaderEncoding) != wire.EncodingZstd {
		return reply.Data, nil
	}
	data, err := wire.Decompress(reply.Data)
	if err != nil {
		return nil, &fault{kind: ErrBadRequest, err: fmt.Errorf("decompress reply: %w", err), final: true}
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
