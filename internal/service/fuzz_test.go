package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/wire"
)

// asked are the verbs, each with a request to begin with and what its reply is read as.
var asked = []struct {
	verb, request string
	reply         func() any
}{
	{wire.VerbLatest, `{"run_id":"run/1"}`, func() any { return &wire.LatestReply{} }},
	{wire.VerbCheckpoint, `{"checkpoint_id":"c"}`, func() any { return &wire.CheckpointReply{} }},
	{wire.VerbCheckpointV2, `{"run_id":"r","step_id":1}`, func() any { return &wire.V2Reply{} }},
	{wire.VerbCheckpointsV2, `{"run_id":"r","from":-1,"limit":2}`, func() any { return &wire.V2ListReply{} }},
	{wire.VerbIdempotency, `{"key":"k"}`, func() any { return &wire.IdempotencyReply{} }},
	{wire.VerbRuns, `{"prefix":"r","limit":1,"after":"r","updated_since":"2001-02-03T04:05:06Z"}`, func() any { return &wire.RunsReply{} }},
	{wire.VerbAttempt, `{"run_id":"r"}`, func() any { return &wire.AttemptReply{} }},
	{wire.VerbSteps, `{"run_id":"r","from":0,"limit":3}`, func() any { return &wire.StepsReply{} }},
	{wire.VerbWatch, `{"run_id":"r","from":0,"cursor":"1.1.0","wait_ms":0}`, func() any { return &wire.WatchReply{} }},
	{wire.VerbCommitted, `{"run_id":"r","sequence":1,"wait_ms":1,"keys":["k"],"content_hash":"00"}`, func() any { return &wire.CommittedReply{} }},
	{wire.VerbEvents, `{"limit":1,"lease_ms":1,"holder":"h"}`, func() any { return &wire.EventsReply{} }},
	{wire.VerbEmitted, `{"event_ids":["e"]}`, func() any { return &wire.EmittedReply{} }},
}

// full is a replica's data with some of everything, all of it committed, so that nothing waits.
func full() *data {
	d := &data{step: &wire.StepRecord{Step: 3, NodeID: "n", State: []byte(`{"a": 1}`), SavedAt: created}, position: math.MaxUint64}
	for i := range int32(5) {
		id := fmt.Sprintf("r%d", i)
		state := []byte(`{"a": [1]}`)
		d.history.steps = append(d.history.steps, wire.StepRecord{Step: i, State: state, Sequence: uint64(i) + 1, SavedAt: created})
		d.history.v2 = append(d.history.v2, wire.V2Record{StepID: i, State: state, Frontier: []byte("null"), RecordedIOs: []byte("null"), SavedAt: created})
		d.history.runs = append(d.history.runs, wire.RunRecord{RunID: id, LastStep: i, UpdatedAt: created})
		d.history.keys = append(d.history.keys, readpath.Key{Key: id, Sequence: uint64(i)})
		d.history.events = append(d.history.events, wire.OutboxRecord{EventID: id, RunID: id, SavedAt: created, Data: state})
	}
	return d
}

// FuzzRequest: every request of every verb is answered with JSON that its reply is read from, whole or as a page that says where the next
// begins; or it is refused as the caller's fault. Nothing that a caller sends looks like an outage.
func FuzzRequest(f *testing.F) {
	for i, a := range asked {
		f.Add(uint8(i), "default", []byte(a.request))
	}
	f.Add(uint8(0), "other", []byte(`{"run_id":"x "}`))
	f.Add(uint8(9), "default", []byte(`{"checkpoint_id":"c","sequence":18446744073709551615,"wait_ms":-9223372036854775808}`))
	f.Add(uint8(8), "default", []byte(`{"run_id":"r","cursor":"..","wait_ms":1}`))
	for i, body := range []string{`{"limit":-1,"lease_ms":1,"holder":"h"}`, `{"limit":1,"lease_ms":-1,"holder":"h"}`, `{"limit":1,"lease_ms":1,"holder":" "}`, `{"run_id":"r","limit":-1}`} {
		f.Add(uint8([]int{10, 10, 10, 7}[i]), "default", []byte(body))
	}
	f.Fuzz(func(t *testing.T, which uint8, namespace string, body []byte) {
		a, d := asked[int(which)%len(asked)], full()
		tracker := position.NewTracker(partitions)
		reader := &readpath.Reader{
			Rows: d, History: d, Outbox: d, Tail: d, Letters: d, Positions: tracker, Partitions: partitions, Namespace: "default", Recheck: time.Minute,
		}
		s := service.New(service.Config{Subjects: wire.Subjects{Prefix: "persistd"}, Stream: "PERSISTD", Created: created}, nil, reader, tracker, nil,
			prometheus.NewRegistry(), zap.NewNop())
		// A watch that finds nothing waits for as long as it was asked to. Here it is not worth waiting for.
		ctx, cancel := context.WithCancel(t.Context())
		if a.verb == wire.VerbWatch {
			cancel()
		}
		defer cancel()
		answer, err := s.Ask(ctx, a.verb, namespace, body)
		if err != nil {
			requireCallersFault(t, ctx, err, namespace)
			return
		}
		require.Equal(t, "default", namespace, "another namespace is not kept here")
		for n := answer.Records(); ; n /= 2 {
			b, err := answer.Body(n)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(b, a.reply()), "%s", b)
			require.True(t, json.Valid(b))
			if n <= 1 {
				return
			}
		}
	})
}

// requireCallersFault asserts that err is what is answered with one of the codes below 429.
func requireCallersFault(t *testing.T, ctx context.Context, err error, namespace string) {
	t.Helper()
	switch {
	case service.IsFault(err):
	case errors.Is(err, readpath.ErrNamespace):
		require.NotEqual(t, "default", namespace)
	case ctx.Err() != nil:
	default:
		var poison *wire.Poison
		require.ErrorAs(t, err, &poison)
		require.NotEmpty(t, poison.Reason)
	}
}
