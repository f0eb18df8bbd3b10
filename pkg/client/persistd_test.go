package client_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// persistd answers reads as the daemon does, from the log alone.
type persistd struct {
	log *thelog
	// position is what counts as committed: events up to it.
	position atomic.Uint64
	// asked counts the requests for a commit, looked those for an attempt.
	asked, looked atomic.Int64
	// lastAsked is the sequence that was asked for last.
	lastAsked atomic.Uint64
	// busy is how many requests are refused as too many before one is answered.
	busy atomic.Int64
	// rejects is the reason for which every event is a dead letter.
	rejects atomic.Pointer[string]
	// expired says that the database has no idempotency keys any more.
	expired atomic.Bool
	// attempts are the runs' newest attempts that the database knows of, also when the log has been trimmed.
	attempts sync.Map
	// before is called with each request for an attempt, before it is answered.
	before atomic.Pointer[func()]
}

func startPersistd(t *testing.T, l *thelog) *persistd {
	t.Helper()
	p := &persistd{log: l}
	p.answer(t, wire.VerbLatest, p.latest)
	p.answer(t, wire.VerbCommitted, p.committed)
	p.answer(t, wire.VerbAttempt, p.attempt)
	return p
}

// answer has p answer the requests of a verb.
func (p *persistd) answer(t *testing.T, verb string, answer nats.MsgHandler) {
	t.Helper()
	_, err := p.log.nc.QueueSubscribe(subjects.ReadAny(verb), "q", func(m *nats.Msg) {
		if p.busy.Add(-1) >= 0 {
			p.refuse(m, "429", "too many requests")
			return
		}
		answer(m)
	})
	require.NoError(t, err)
	require.NoError(t, p.log.nc.Flush())
}

func (p *persistd) latest(m *nats.Msg) {
	var request struct {
		RunID string `json:"run_id"`
	}
	if err := json.Unmarshal(m.Data, &request); err != nil || request.RunID == "" {
		p.refuse(m, "400", "no run_id")
		return
	}
	ctx, cancel := contextForAnswer()
	defer cancel()
	events, err := p.log.events(ctx)
	if err != nil {
		p.refuse(m, "503", err.Error())
		return
	}
	reply := map[string]any{"found": false}
	highest := int32(0)
	for _, ev := range events {
		if ev.RunID != request.RunID {
			continue
		}
		for _, op := range ev.Ops {
			if op.Type != wire.OpStep || reply["found"] == true && op.Step < highest {
				continue
			}
			highest = op.Step
			reply = map[string]any{
				"found": true, "run_id": ev.RunID, "step": op.Step, "node_id": op.NodeID, "sequence": ev.Message.Sequence,
				"logged_at": ev.Message.Logged.Format(time.RFC3339Nano), "state": json.RawMessage(op.State),
			}
		}
	}
	p.reply(m, reply)
}

func (p *persistd) attempt(m *nats.Msg) {
	if before := p.before.Load(); before != nil {
		(*before)()
	}
	var request wire.AttemptRequest
	if err := json.Unmarshal(m.Data, &request); err != nil || request.RunID == "" {
		p.refuse(m, "400", "no run_id")
		return
	}
	ctx, cancel := contextForAnswer()
	defer cancel()
	p.looked.Add(1)
	reply := wire.AttemptReply{Subject: subjects.Log(wire.Partition("default", request.RunID, partitions), "default", wire.KindAttempt, request.RunID)}
	if known, ok := p.attempts.Load(request.RunID); ok {
		reply.Attempt = known.(uint32)
	}
	stream, err := p.log.js.Stream(ctx, "persistd")
	if err != nil {
		p.refuse(m, "503", err.Error())
		return
	}
	if last, err := stream.GetLastMsgForSubject(ctx, reply.Subject); err == nil {
		ev := subjects.Decode(wire.Message{Subject: last.Subject, Header: wire.Header(last.Header), Body: last.Data, Sequence: last.Sequence})
		reply.Attempt, reply.Sequence = max(reply.Attempt, ev.Attempt), last.Sequence
	}
	p.reply(m, reply)
}

func (p *persistd) committed(m *nats.Msg) {
	var request wire.CommittedRequest
	if err := json.Unmarshal(m.Data, &request); err != nil || request.Stream != "persistd" || request.Sequence == 0 || (request.RunID == "") == (request.CheckpointID == "") {
		p.refuse(m, "400", "bad request")
		return
	}
	p.asked.Add(1)
	p.lastAsked.Store(request.Sequence)
	switch reason := p.rejects.Load(); {
	case reason != nil:
		p.reply(m, wire.CommittedReply{Rejected: &wire.Rejection{Code: wire.CodeDatabase, Reason: *reason}})
	case p.position.Load() < request.Sequence:
		p.reply(m, wire.CommittedReply{})
	default:
		ctx, cancel := contextForAnswer()
		defer cancel()
		events, err := p.log.events(ctx)
		if err != nil {
			p.refuse(m, "503", err.Error())
			return
		}
		rejected := p.decide(events, request)
		p.reply(m, wire.CommittedReply{Committed: rejected == nil, Rejected: rejected})
	}
}

// decide is why the database did not take the event that is asked for, or nil: because its attempt was over, or its key used.
func (p *persistd) decide(events []wire.Event, q wire.CommittedRequest) *wire.Rejection {
	newest, used := map[string]uint32{}, map[string]string{}
	for _, ev := range events {
		operators := ev.Attempt == 0 && len(ev.Ops) == 1 && ev.Ops[0].Type == wire.OpDeleteRun
		stale := ev.RunID != "" && ev.Attempt < newest[ev.RunID] && !operators
		if ev.Message.Sequence == q.Sequence && stale {
			return &wire.Rejection{Code: wire.CodeAttempt, Reason: "a newer attempt has begun"}
		}
		newest[ev.RunID] = max(newest[ev.RunID], ev.Attempt)
		for _, key := range ev.Keys() {
			if _, ok := used[key]; !ok && !stale {
				used[key] = hex.EncodeToString(ev.ContentHash[:])
			}
		}
	}
	for _, key := range q.Keys {
		switch hash, ok := used[key]; {
		case !ok || p.expired.Load():
			return &wire.Rejection{Code: wire.RejectedUnknown, Reason: "no such key"}
		case hash != q.ContentHash:
			return &wire.Rejection{Code: wire.RejectedDuplicate, Reason: "the key was used with other content"}
		}
	}
	return nil
}

func (p *persistd) reply(m *nats.Msg, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		p.refuse(m, "500", err.Error())
		return
	}
	reply := &nats.Msg{Data: body, Header: nats.Header{}}
	if strings.Contains(m.Header.Get("Accept-Encoding"), wire.EncodingZstd) && len(body) > 1000 {
		reply.Data = wire.Compress(body)
		reply.Header.Set(wire.HeaderEncoding, wire.EncodingZstd)
	}
	_ = m.RespondMsg(reply)
}

func (p *persistd) refuse(m *nats.Msg, code, description string) {
	_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Nats-Service-Error": {description}, "Nats-Service-Error-Code": {code}}})
}

// forget trims the beginnings of attempts, which the database remembers.
func (p *persistd) forget(t *testing.T, runID string, newest uint32) {
	t.Helper()
	p.attempts.Store(runID, newest)
	s, err := p.log.js.Stream(t.Context(), "persistd")
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSubject("persistd.log.*.default.attempt."+wire.Token(runID))))
	p.log.forget()
}
