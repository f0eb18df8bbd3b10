package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/micro"

	"github.com/persistd/persistd/internal/wire"
)

// What a request may ask for at once.
const (
	maxEvents = 1000
	// maxLeaseMS is a day: whoever dies with a lease keeps its events from everybody for so long.
	maxLeaseMS = 24 * 60 * 60 * 1000
)

// verbs adds an endpoint for each verb of the read path. Reads live until life ends, what waits for commits until held does.
func (s *Service) verbs(life, held context.Context, svc micro.Service) error {
	read := func(answer func(context.Context, micro.Request) error) micro.HandlerFunc {
		return func(r micro.Request) { s.spawn(life, s.reads, r, answer) }
	}
	wait := func(answer func(context.Context, micro.Request) error) micro.HandlerFunc {
		return func(r micro.Request) { s.spawnWait(held, r, answer) }
	}
	emit := func(answer func(context.Context, micro.Request) error) micro.HandlerFunc {
		return func(r micro.Request) { s.spawn(life, s.outbox, r, answer) }
	}
	steps := answer(s, `{"run_id":"…","from":0}`, s.steps)
	var errs []error
	for _, e := range []struct {
		verb    string
		handler micro.HandlerFunc
	}{
		{wire.VerbLatest, read(answer(s, `{"run_id":"…"}`, s.latest))},
		{wire.VerbCheckpoint, read(answer(s, `{"checkpoint_id":"…"}`, s.checkpoint))},
		{wire.VerbCheckpointV2, read(answer(s, `{"run_id":"…","step_id":1}`, s.checkpointV2))},
		{wire.VerbCheckpointsV2, read(answer(s, `{"run_id":"…","from":0}`, s.checkpointsV2))},
		{wire.VerbIdempotency, read(answer(s, `{"key":"…"}`, s.idempotency))},
		{wire.VerbRuns, read(answer(s, `{"prefix":"…","limit":100}`, s.runs))},
		{wire.VerbAttempt, read(answer(s, `{"run_id":"…"}`, s.attempt))},
		{wire.VerbSteps, func(r micro.Request) { s.spawn(life, s.behind, r, steps) }},
		{wire.VerbWatch, wait(answer(s, `{"run_id":"…","from":0,"cursor":"","wait_ms":5000}`, s.watch))},
		{wire.VerbCommitted, wait(answer(s, `{"run_id":"…","sequence":1,"wait_ms":5000}`, s.committed))},
		{wire.VerbEvents, emit(answer(s, `{"limit":100,"lease_ms":30000,"holder":"…"}`, s.events))},
		{wire.VerbEmitted, emit(answer(s, `{"event_ids":["…"]}`, s.emitted))},
	} {
		errs = append(errs, svc.AddEndpoint(e.verb, e.handler, micro.WithEndpointSubject(s.cfg.Subjects.ReadAny(e.verb))))
	}
	return errors.Join(errs...)
}

func (s *Service) latest(ctx context.Context, namespace string, q wire.LatestRequest) (reply, error) {
	step, err := s.reader.LoadLatest(ctx, namespace, q.RunID)
	if err != nil {
		return reply{}, fmt.Errorf("load latest: %w", err)
	}
	var out wire.LatestReply
	if step != nil {
		out = wire.LatestReply{
			Found: true, RunID: q.RunID, Step: step.Step, NodeID: step.NodeID, Attempt: step.Attempt,
			Sequence: step.Sequence, LoggedAt: step.SavedAt.UTC(), State: step.State,
		}
	}
	return reply{1, func(int) ([]byte, error) { return wire.AppendLatest(make([]byte, 0, len(out.State)+512), out) }}, nil
}

func (s *Service) checkpoint(ctx context.Context, namespace string, q wire.CheckpointRequest) (reply, error) {
	found, err := s.reader.LoadCheckpoint(ctx, namespace, q.CheckpointID)
	if err != nil {
		return reply{}, fmt.Errorf("load checkpoint: %w", err)
	}
	return whole(wire.CheckpointReply{Checkpoint: found}), nil
}

func (s *Service) checkpointV2(ctx context.Context, namespace string, q wire.V2Request) (reply, error) {
	if q.StepID != nil && q.Label != "" {
		return reply{}, badRequest("step_id and label are both given: give one of them, or neither for the highest step")
	}
	found, err := s.reader.CheckpointV2(ctx, namespace, q)
	return whole(wire.V2Reply{Checkpoint: found}), err
}

func (s *Service) checkpointsV2(ctx context.Context, namespace string, q wire.V2ListRequest) (reply, error) {
	if err := checkLimit(q.Limit); err != nil {
		return reply{}, err
	}
	all, err := s.reader.CheckpointsV2(ctx, namespace, q)
	return page(len(all.Checkpoints), func(n int) any {
		if n == len(all.Checkpoints) {
			return wire.V2ListReply{Checkpoints: list(all.Checkpoints), Next: all.Next}
		}
		return wire.V2ListReply{Checkpoints: all.Checkpoints[:n], Next: &all.Checkpoints[n].StepID}
	}), err
}

func (s *Service) idempotency(ctx context.Context, namespace string, q wire.IdempotencyRequest) (reply, error) {
	used, err := s.reader.CheckIdempotency(ctx, namespace, q.Key)
	return whole(wire.IdempotencyReply{Used: used}), err
}

func (s *Service) runs(ctx context.Context, namespace string, q wire.RunsRequest) (reply, error) {
	if err := checkLimit(q.Limit); err != nil {
		return reply{}, err
	}
	all, err := s.reader.Runs(ctx, namespace, q)
	return page(len(all.Runs), func(n int) any {
		if n == len(all.Runs) {
			return wire.RunsReply{Runs: list(all.Runs), Next: all.Next}
		}
		return wire.RunsReply{Runs: all.Runs[:n], Next: all.Runs[n-1].RunID}
	}), err
}

func (s *Service) attempt(ctx context.Context, namespace string, q wire.AttemptRequest) (reply, error) {
	attempt, sequence, err := s.reader.Attempt(ctx, namespace, q.RunID)
	return whole(wire.AttemptReply{
		Attempt: attempt, Sequence: sequence,
		Subject: s.cfg.Subjects.Log(wire.Partition(namespace, q.RunID, s.reader.Partitions), namespace, wire.KindAttempt, q.RunID),
	}), err
}

func (s *Service) steps(ctx context.Context, namespace string, q wire.StepsRequest) (reply, error) {
	if err := checkLimit(q.Limit); err != nil {
		return reply{}, err
	}
	all, err := s.reader.Steps(ctx, namespace, q)
	return page(len(all.Steps), func(n int) any {
		if n == len(all.Steps) {
			return wire.StepsReply{Steps: list(all.Steps), Next: all.Next}
		}
		return wire.StepsReply{Steps: all.Steps[:n], Next: &all.Steps[n].Step}
	}), err
}

func (s *Service) events(ctx context.Context, namespace string, q wire.EventsRequest) (reply, error) {
	switch {
	case q.Limit < 1 || q.Limit > maxEvents:
		return reply{}, badRequest("limit is %d: lease from 1 to %d events", q.Limit, maxEvents)
	case q.LeaseMS < 1 || q.LeaseMS > maxLeaseMS:
		return reply{}, badRequest("lease_ms is %d: lease for 1 to %d milliseconds, longer than emitting the events takes", q.LeaseMS, maxLeaseMS)
	}
	if err := wire.CheckID(q.Holder); err != nil {
		return reply{}, fmt.Errorf("holder: %w", err)
	}
	all, err := s.reader.Claim(ctx, namespace, q)
	// What does not fit stays leased to the holder, who is given it again when it asks again.
	return page(len(all), func(n int) any { return wire.EventsReply{Events: list(all[:n])} }), err
}

func (s *Service) emitted(ctx context.Context, namespace string, q wire.EmittedRequest) (reply, error) {
	if len(q.EventIDs) > maxEvents {
		return reply{}, badRequest("event_ids holds %d ids, more than %d: mark the rest with another request", len(q.EventIDs), maxEvents)
	}
	marked, err := s.reader.MarkEmitted(ctx, namespace, q.EventIDs)
	return whole(wire.EmittedReply{Marked: marked}), err
}

func checkLimit(limit int) error {
	if limit < 0 {
		return badRequest("limit is %d: give 1 or more, or leave it out for as many as fit", limit)
	}
	return nil
}
