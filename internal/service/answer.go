package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// fault is an error that is the caller's, or that passes: answered, not logged.
type fault struct {
	status string
	err    error
}

func (f *fault) Error() string { return f.err.Error() }

// compressAbove is the size from which a reply is worth compressing, in bytes.
const compressAbove = 8 << 10

// spawn answers r in a goroutine of its own, in one of places. It blocks while all of them are taken: the requests behind wait in the
// subscription's queue.
func (s *Service) spawn(life context.Context, places *semaphore.Weighted, r micro.Request, answer func(context.Context, micro.Request) error) {
	if places.Acquire(life, 1) != nil {
		s.refuse(r, errStopping)
		return
	}
	if !s.enter() {
		places.Release(1)
		s.refuse(r, errStopping)
		return
	}
	go func() {
		defer s.wg.Done()
		defer places.Release(1)
		ctx, cancel := context.WithTimeoutCause(life, s.cfg.ReadTimeout, fmt.Errorf("read timed out after %s", s.cfg.ReadTimeout))
		defer cancel()
		s.observe(ctx, r, answer)
	}()
}

// spawnWait answers r when the commit that it waits for has come. Waiting costs a goroutine and nothing else.
func (s *Service) spawnWait(held context.Context, r micro.Request) {
	if !s.waits.TryAcquire(1) {
		s.refuse(r, &fault{wire.StatusBusy, fmt.Errorf("%d requests wait for their commit already", s.cfg.Waits)})
		return
	}
	if !s.enter() {
		s.waits.Release(1)
		s.refuse(r, errStopping)
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.waits.Release(1)
		s.observe(held, r, s.committed)
	}()
}

// refuse answers a request that was not taken.
func (s *Service) refuse(r micro.Request, f *fault) {
	s.metrics.refused.WithLabelValues(verb(r), f.status).Inc()
	s.fail(r, f)
}

// verb is the last token of the subject, which is an endpoint's.
func verb(r micro.Request) string { return r.Subject()[strings.LastIndexByte(r.Subject(), '.')+1:] }

func (s *Service) observe(ctx context.Context, r micro.Request, answer func(context.Context, micro.Request) error) {
	begin := time.Now()
	result := "ok"
	if err := answer(ctx, r); err != nil {
		result = "error"
		s.fail(r, err)
	}
	s.metrics.requests.WithLabelValues(verb(r), result).Observe(time.Since(begin).Seconds())
}

// fail answers with an error; what is neither the caller's fault nor an outage is logged.
func (s *Service) fail(r micro.Request, err error) {
	var (
		f      *fault
		poison *wire.Poison
		status = wire.StatusUnavailable
	)
	switch {
	case errors.As(err, &f):
		status = f.status
	case errors.As(err, &poison):
		status = wire.StatusBadRequest
	case errors.Is(err, readpath.ErrNamespace):
		status = wire.StatusNotFound
	default:
		s.log.Warn("read failed", zap.String("subject", r.Subject()), zap.Error(err))
	}
	if err := r.Error(status, err.Error(), nil); err != nil {
		s.log.Debug("reply was not sent", zap.String("subject", r.Subject()), zap.Error(err))
	}
}

func (s *Service) latest(ctx context.Context, r micro.Request) error {
	var q wire.LatestRequest
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		return &fault{wire.StatusBadRequest, fmt.Errorf(`decode request: %w (it reads {"run_id":"…"})`, err)}
	}
	step, err := s.reader.LoadLatest(ctx, s.cfg.Subjects.ReadNamespace(r.Subject()), q.RunID)
	if err != nil {
		return fmt.Errorf("load latest: %w", err)
	}
	var reply wire.LatestReply
	if step != nil {
		reply = wire.LatestReply{
			Found: true, RunID: q.RunID, Step: step.Step, NodeID: step.NodeID, Attempt: step.Attempt,
			Sequence: step.Sequence, LoggedAt: step.SavedAt.UTC(), State: step.State,
		}
	}
	body, err := wire.AppendLatest(make([]byte, 0, len(reply.State)+512), reply)
	if err != nil {
		return err
	}
	return s.respond(r, body)
}

// respond sends body, compressed when that is worth it and the caller takes it.
func (s *Service) respond(r micro.Request, body []byte) error {
	var opts []micro.RespondOpt
	if len(body) > compressAbove && strings.Contains(nats.Header(r.Headers()).Get(wire.HeaderAccept), wire.EncodingZstd) {
		body = wire.Compress(body)
		opts = append(opts, micro.WithHeaders(micro.Headers{wire.HeaderEncoding: []string{wire.EncodingZstd}}))
	}
	// A reply above the limit would cost the connection, and with it everybody's requests.
	if limit := s.nc.MaxPayload(); limit > 0 && int64(len(body))+1024 > limit {
		return &fault{wire.StatusTooLarge, fmt.Errorf("reply has %d bytes, more than the server's max_payload of %d takes: raise max_payload, or accept zstd", len(body), limit)}
	}
	if err := r.Respond(body, opts...); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}

func (s *Service) committed(held context.Context, r micro.Request) error {
	var q wire.CommittedRequest
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		return &fault{wire.StatusBadRequest, fmt.Errorf(`decode request: %w (it reads {"run_id":"…","sequence":1,"wait_ms":5000})`, err)}
	}
	if q.Stream != "" && q.Stream != s.cfg.Stream {
		return &fault{wire.StatusBadRequest, fmt.Errorf("stream %q is not the one read here, %q", q.Stream, s.cfg.Stream)}
	}
	if q.Sequence == 0 {
		return &fault{wire.StatusBadRequest, errors.New("sequence is missing or 0: it is the one that the log acknowledged the event with")}
	}
	limit := time.Duration(min(q.WaitMS, wire.MaxCommittedWait.Milliseconds())) * time.Millisecond
	notYet := errors.New("not committed yet")
	ctx, cancel := context.WithTimeoutCause(held, max(limit, time.Millisecond), notYet)
	defer cancel()
	rejected, err := s.reader.Committed(ctx, s.cfg.Subjects.ReadNamespace(r.Subject()), readpath.Write{ID: q.RunID, Sequence: q.Sequence})
	var reply wire.CommittedReply
	switch {
	case err == nil && rejected != nil:
		reply.Rejected = &wire.Rejection{Code: rejected.Code, Reason: rejected.Reason, ErrorNumber: rejected.ErrorNumber}
	case err == nil:
		reply.Committed = true
	case held.Err() != nil:
		return errStopping
	case ctx.Err() == nil: // not the wait that ended
		return fmt.Errorf("wait for commit: %w", err)
	}
	body, err := json.Marshal(reply)
	if err != nil {
		return fmt.Errorf("encode reply: %w", err)
	}
	return s.respond(r, body)
}

func (s *Service) answerStatus(ctx context.Context, r micro.Request) error {
	body, err := json.Marshal(s.status(ctx))
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	return s.respond(r, body)
}
