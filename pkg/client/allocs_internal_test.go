package client

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

var raceEnabled bool // with the race detector, which allocates, too

// What a step may cost is bounded here: times are noisy, allocations are hardly. Not parallel, for they are counted for the whole process. Over the
// network a tenth more than seen is allowed: how often the connection's goroutines wait, and for how many messages at once they are woken, is the
// scheduler's affair, and costs one or two of them.
//
//nolint:paralleltest // as said.
func TestAStepTakesFewAllocations(t *testing.T) {
	cfg, err := newConfig(nil)
	require.NoError(t, err)
	e, err := openEngine(t.Context(), stacktest.NATSProcess(t).URL(), cfg) // whose allocations are not this process's
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.close()) })
	source, destination := e.subjects.Transform(8)
	js, err := jetstream.New(e.nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "persistd", Subjects: e.subjects.WriteFilters(), SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
	})
	require.NoError(t, err)
	st := newStore[map[string]string](e, e.cfg)
	state := map[string]string{"text": strings.Repeat("x", 1000)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	latest, err := wire.AppendLatest(nil, wire.LatestReply{
		Found: true, RunID: "run", Step: 1000, NodeID: "node", Sequence: 17, State: []byte(`{"text":"` + state["text"] + `"}`),
	})
	require.NoError(t, err)
	answerOn(t, e.nc.ConnectedUrl(), e.subjects.Read(e.cfg.namespace, wire.VerbLatest), latest)
	answer := &nats.Msg{Data: []byte(`{"stream":"PERSISTD","seq":17}`)}

	for _, row := range []struct {
		name  string
		most  float64
		takes func(step int)
	}{
		{"to be encoded", 14, func(step int) {
			b := st.builder()
			require.NoError(t, b.SaveStep("run", step, "node", state))
			w, err := b.write()
			require.NoError(t, err)
			_, err = e.messages(w)
			require.NoError(t, err)
		}},
		{"to be saved", 32, func(step int) {
			require.NoError(t, st.SaveStep(ctx, "run", step, "node", state))
		}},
		{"to be answered", 1, func(int) {
			_, err := parseAck(answer)
			require.NoError(t, err)
		}},
		{"to be loaded", 50, func(int) {
			got, n, err := st.LoadLatest(ctx, "run")
			require.NoError(t, err)
			require.Equal(t, 1000, n)
			require.Len(t, got["text"], 1000)
		}},
	} {
		step := 0
		n := testing.AllocsPerRun(500, func() { step++; row.takes(step) })
		if raceEnabled { // it has pools forget things, so that others are seen to; make allocs runs without it
			continue
		}
		require.LessOrEqual(t, n, row.most, "allocations of a step %s", row.name)
	}
}

func TestAPlainAnswerIsReadAsAnyOther(t *testing.T) {
	t.Parallel()
	for text, plain := range map[string]bool{
		`{"stream":"PERSISTD","seq":17}`:                true,
		`{"stream":"P","seq":9999999999999999999}`:      true,
		`{"stream":"P","seq":18446744073709551615}`:     false,
		`{"stream":"P","seq":17,"duplicate": true}`:     false,
		`{"stream":"P","domain":"hub","seq":17}`:        false,
		`{"stream":"P","seq":17,"batch":"b","count":3}`: false,
		`{"stream":"P\u0041","seq":17}`:                 false,
		`{"stream":"P","seq":0}`:                        false,
		`{"stream":"","seq":1}`:                         false,
		`{"stream":"P","seq":}`:                         false,
		`{"stream":"P","seq":-1}`:                       false,
		`{"stream":"P`:                                  false,
		`{"error":{"code":503},"stream":"P","seq":0}`:   false,
		``: false,
		`{"stream":"P","seq":1,"error":{"code":503,"err_code":1}}`: false,
	} {
		ack, ok := plainAck([]byte(text))
		require.Equal(t, plain, ok, text)
		if plain {
			var want pubAck
			require.NoError(t, json.Unmarshal([]byte(text), &want))
			require.Equal(t, want, ack, text)
		}
	}
}
