package service

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// holdFor is how long a request is held that asks for ms milliseconds.
func holdFor(ms int64) time.Duration {
	return time.Duration(max(0, min(ms, wire.MaxCommittedWait.Milliseconds()))) * time.Millisecond
}

func (s *Service) committed(held context.Context, namespace string, q wire.CommittedRequest) (reply, error) {
	w, err := s.writeOf(q)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeoutCause(held, max(holdFor(q.WaitMS), time.Millisecond), errors.New("not committed yet"))
	defer cancel()
	rejected, err := s.reader.Committed(ctx, namespace, w)
	var out wire.CommittedReply
	switch {
	case err == nil && rejected != nil:
		out.Rejected = wire.RejectionOf(rejected)
	case err == nil:
		out.Committed = true
	case held.Err() != nil:
		return reply{}, errStopping
	case ctx.Err() == nil: // not the wait that ended
		return reply{}, fmt.Errorf("wait for commit: %w", err)
	}
	return whole(out), nil
}

// writeOf is the write that q asks about.
func (s *Service) writeOf(q wire.CommittedRequest) (readpath.Write, error) {
	w := readpath.Write{ID: q.RunID, Sequence: q.Sequence, Keys: q.Keys}
	switch {
	case q.Stream != "" && q.Stream != s.cfg.Stream:
		return w, badRequest("stream %q is not the one read here, %q", q.Stream, s.cfg.Stream)
	case q.Sequence == 0:
		return w, badRequest("sequence is missing or 0: it is the one that the log acknowledged the event with")
	case q.RunID != "" && q.CheckpointID != "":
		return w, badRequest("run_id and checkpoint_id are both given: give the one whose subject the event was published under")
	case q.RunID == "":
		w.ID = q.CheckpointID
	}
	if len(q.Keys) == 0 {
		return w, nil
	}
	if len(q.Keys) > wire.MaxOps {
		return w, badRequest("keys holds %d keys, more than the %d that an event can have", len(q.Keys), wire.MaxOps)
	}
	for _, key := range q.Keys {
		if key == "" {
			return w, badRequest("keys holds the empty one, which is none: give the event's others")
		}
		if err := wire.CheckKey(key); err != nil {
			return w, fmt.Errorf("keys: %w", err)
		}
	}
	sum, err := hex.DecodeString(q.ContentHash)
	if err != nil || len(sum) != len(w.ContentHash) {
		return w, badRequest("content_hash is not %d hex digits: with keys, give the event's", 2*len(w.ContentHash))
	}
	w.ContentHash = [32]byte(sum)
	return w, nil
}

func (s *Service) watch(held context.Context, namespace string, q wire.WatchRequest) (reply, error) {
	after, err := readpath.ParseCursor(q.Cursor)
	if err != nil {
		return reply{}, &fault{wire.StatusBadRequest, err}
	}
	wait := holdFor(q.WaitMS)
	ctx, cancel := context.WithTimeoutCause(held, wait+s.cfg.ReadTimeout, fmt.Errorf("read timed out after %s", s.cfg.ReadTimeout))
	defer cancel()
	all, err := s.reader.Watch(ctx, namespace, q.RunID, q.From, after, wait)
	switch {
	case err != nil && held.Err() != nil:
		return reply{}, errStopping
	case err != nil:
		return reply{}, fmt.Errorf("watch: %w", err)
	}
	return page(len(all), func(n int) any {
		out := wire.WatchReply{Steps: make([]wire.StepRecord, n), Cursor: after.String()}
		for i := range out.Steps {
			out.Steps[i], out.Cursor = all[i].Step, all[i].At.String()
		}
		return out
	}), nil
}
