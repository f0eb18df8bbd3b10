package client

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// answered is a backend whose reads are answered with the same bytes, whatever they are. What is not read is not there.
type answered struct {
	backend
	msg   *nats.Msg
	asked int
}

// errEnough ends a listing whose every page says that there is a next one.
var errEnough = errors.New("enough pages")

func replyOf[R any](a *answered, parse func([]byte) (R, error)) (reply R, err error) {
	if a.asked++; a.asked > 5 {
		return reply, errEnough
	}
	data, err := unpack("x", a.msg)
	if err != nil {
		return reply, err
	}
	return understand("x", data, parse)
}

func (a *answered) latest(context.Context, string) (*wire.StepRecord, error) {
	r, err := replyOf(a, wire.ParseLatest)
	if err != nil || !r.Found {
		return nil, err
	}
	return latestRecord(r), nil
}

func (a *answered) checkpoint(context.Context, string) (*wire.CheckpointRecord, error) {
	r, err := replyOf(a, parse[wire.CheckpointReply])
	return r.Checkpoint, err
}

func (a *answered) checkpointV2(context.Context, wire.V2Request) (*wire.V2Record, error) {
	r, err := replyOf(a, parse[wire.V2Reply])
	return r.Checkpoint, err
}

func (a *answered) checkpointsV2(context.Context, wire.V2ListRequest) (wire.V2ListReply, error) {
	return replyOf(a, parse[wire.V2ListReply])
}

func (a *answered) steps(context.Context, wire.StepsRequest) (wire.StepsReply, error) {
	return replyOf(a, parse[wire.StepsReply])
}

func (a *answered) watch(context.Context, wire.WatchRequest) (wire.WatchReply, error) {
	return replyOf(a, parse[wire.WatchReply])
}

func (a *answered) runs(context.Context, wire.RunsRequest) (wire.RunsReply, error) {
	return replyOf(a, parse[wire.RunsReply])
}

func (a *answered) used(context.Context, string) (bool, error) {
	r, err := replyOf(a, parse[wire.IdempotencyReply])
	return r.Used, err
}

func (a *answered) claim(context.Context, wire.EventsRequest) ([]wire.OutboxRecord, error) {
	r, err := replyOf(a, parse[wire.EventsReply])
	return r.Events, err
}

// FuzzReply: whatever answers a read, be it persistd of another version or something else altogether, the call returns: with values, or
// with an error that is one of this package's. And whatever answers a publish is an acknowledgement with its place in the log, or an error.
func FuzzReply(f *testing.F) {
	for _, body := range []string{
		`{"found":true,"run_id":"r","step":1,"node_id":"n","sequence":1,"logged_at":"2001-01-01T00:00:00Z","state":{"a":1}}`, `{"checkpoint":{"step":1,"state":null}}`,
		`{"checkpoint":{"step_id":1,"state":{},"frontier":[1e999],"recorded_ios":"x"}}`, `{"checkpoints":[{"step_id":1,"state":1,"frontier":null,"recorded_ios":null}],"next":1}`,
		`{"steps":[{"step":1,"state":[]}],"next":2,"cursor":"1.1.1"}`, `{"runs":[{"run_id":"r"}],"next":"r"}`, `{"used":true}`, `{"events":[{"event_id":"e","data":{}}]}`,
		`{"stream":"PERSISTD","seq":7}`, `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`, `{"found":true}`, `null`, ``, `[`,
	} {
		f.Add([]byte(body), "", "", false)
	}
	f.Add([]byte(`{"used":false}`), "", "", true)
	f.Add([]byte(`x`), "zstd", "", false)
	f.Add([]byte(``), "", "429", false)
	f.Add([]byte(``), "", "nonsense", false)
	f.Fuzz(func(t *testing.T, body []byte, encoding, code string, compress bool) {
		m := &nats.Msg{Data: body, Header: nats.Header{wire.HeaderEncoding: {encoding}, wire.HeaderErrorCode: {code}, wire.HeaderError: {"why"}}}
		if compress {
			m.Data = wire.Compress(body)
			m.Header.Set(wire.HeaderEncoding, wire.EncodingZstd)
		}
		if ack, err := parseAck(m); err == nil {
			require.True(t, ack.Stream != "" && ack.Sequence > 0, "%+v", ack)
		} else {
			requireFault(t, err)
		}
		cfg, err := newConfig(nil)
		require.NoError(t, err)
		back := &answered{msg: m}
		s, ctx := newStore[any](back, cfg), t.Context()
		check := func(err error) {
			t.Helper()
			if err != nil && !errors.Is(err, errEnough) {
				requireFault(t, err)
			}
			back.asked = 0
		}
		state, _, err := s.LoadLatest(ctx, "run")
		check(err)
		if err == nil {
			_, err = json.Marshal(state)
			require.NoError(t, err)
		}
		_, _, err = s.LoadCheckpoint(ctx, "id")
		check(err)
		_, err = s.LoadCheckpointV2(ctx, "run", 1)
		check(err)
		_, err = s.CheckIdempotency(ctx, "key")
		check(err)
		_, err = s.GetStep(ctx, "run", 1)
		check(err)
		for _, err := range s.ListCheckpointsV2(ctx, "run") {
			check(err)
			back.asked = 5
		}
		back.asked = 0
		for _, err := range s.Steps(ctx, "run", 0, 0) {
			check(err)
			back.asked = 5
		}
		back.asked = 0
		for _, err := range s.ListRuns(ctx, RunFilter{}) {
			check(err)
			back.asked = 5
		}
		back.asked = 0
		for _, err := range s.WatchRun(ctx, "run", 0) {
			check(err)
			back.asked = 5
		}
		back.asked = 0
		_, err = s.PendingEvents(ctx, 10)
		check(err)
	})
}

// requireFault asserts that err can be told apart with errors.Is, as the package promises.
func requireFault(t *testing.T, err error) {
	t.Helper()
	for _, kind := range []error{ErrNotFound, ErrUnavailable, ErrBadRequest, ErrTooLarge, ErrRejected, ErrLogFull, ErrInvalidState} {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Fatalf("error of no kind: %v", err)
}
