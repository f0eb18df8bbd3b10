package client_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// persistd answers reads as the daemon does, from the log alone.
type persistd struct {
	log *thelog
	// position is what counts as committed: events up to it.
	position atomic.Uint64
	// asked counts the requests for a commit.
	asked atomic.Int64
	// busy is how many requests are refused as too many before one is answered.
	busy atomic.Int64
	// rejects is the reason for which every event is a dead letter.
	rejects atomic.Pointer[string]
}

func startPersistd(t *testing.T, l *thelog) *persistd {
	t.Helper()
	p := &persistd{log: l}
	for verb, answer := range map[string]nats.MsgHandler{"latest": p.latest, "committed": p.committed} {
		_, err := l.nc.QueueSubscribe(subjects.ReadAny(verb), "q", func(m *nats.Msg) {
			if p.busy.Add(-1) >= 0 {
				p.refuse(m, "429", "too many requests")
				return
			}
			answer(m)
		})
		require.NoError(t, err)
	}
	require.NoError(t, l.nc.Flush())
	return p
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
			if reply["found"] == true && op.Step < highest {
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

func (p *persistd) committed(m *nats.Msg) {
	var request struct {
		RunID    string `json:"run_id"`
		Sequence uint64 `json:"sequence"`
		Stream   string `json:"stream"`
		WaitMS   int64  `json:"wait_ms"`
	}
	if err := json.Unmarshal(m.Data, &request); err != nil || request.Stream != "persistd" || request.Sequence == 0 || request.RunID == "" {
		p.refuse(m, "400", "bad request")
		return
	}
	p.asked.Add(1)
	switch reason := p.rejects.Load(); {
	case reason != nil:
		p.reply(m, map[string]any{"rejected": map[string]any{"code": "refused_by_db", "reason": *reason}})
	default:
		p.reply(m, map[string]any{"committed": p.position.Load() >= request.Sequence, "position": p.position.Load()})
	}
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
