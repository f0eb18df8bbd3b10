package service

import (
	"context"
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
func (s *Service) spawnWait(held context.Context, r micro.Request, answer func(context.Context, micro.Request) error) {
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
		s.observe(held, r, answer)
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
	if err := s.send(r, nil, nats.Header{wire.HeaderErrorCode: {status}, wire.HeaderError: {err.Error()}}); err != nil {
		s.log.Debug("reply was not sent", zap.String("subject", r.Subject()), zap.Error(err))
	}
}
