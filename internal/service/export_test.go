package service

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/micro"

	"github.com/persistd/persistd/internal/wire"
)

// Page is an answer that was not sent yet.
type Page = reply

// Records is how many records a page has, and Body the answer with the first n of them.
func (r reply) Records() int               { return r.records }
func (r reply) Body(n int) ([]byte, error) { return r.body(n) }

// Ask asks what a request asks for, without NATS.
func (s *Service) Ask(ctx context.Context, verb, namespace string, data []byte) (Page, error) {
	switch verb {
	case wire.VerbLatest:
		return understand(ctx, namespace, data, "", s.latest)
	case wire.VerbCheckpoint:
		return understand(ctx, namespace, data, "", s.checkpoint)
	case wire.VerbCheckpointV2:
		return understand(ctx, namespace, data, "", s.checkpointV2)
	case wire.VerbCheckpointsV2:
		return understand(ctx, namespace, data, "", s.checkpointsV2)
	case wire.VerbIdempotency:
		return understand(ctx, namespace, data, "", s.idempotency)
	case wire.VerbRuns:
		return understand(ctx, namespace, data, "", s.runs)
	case wire.VerbAttempt:
		return understand(ctx, namespace, data, "", s.attempt)
	case wire.VerbSteps:
		return understand(ctx, namespace, data, "", s.steps)
	case wire.VerbWatch:
		return understand(ctx, namespace, data, "", s.watch)
	case wire.VerbCommitted:
		return understand(ctx, namespace, data, "", s.committed)
	case wire.VerbEvents:
		return understand(ctx, namespace, data, "", s.events)
	case wire.VerbEmitted:
		return understand(ctx, namespace, data, "", s.emitted)
	default:
		panic("assertion: no verb " + verb)
	}
}

// IsFault reports whether an error is answered as the caller's fault.
func IsFault(err error) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.status != wire.StatusUnavailable
}

// AnswerLatest answers a request for a run's latest step.
func (s *Service) AnswerLatest(ctx context.Context, r micro.Request) (err error) {
	s.observe(ctx, r, func(ctx context.Context, r micro.Request) error {
		err = answer(s, "", s.latest)(ctx, r)
		return err
	})
	return err
}
