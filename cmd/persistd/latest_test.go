package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// noise is a JSON string of n characters that compresses badly, for text.
func noise(n int) json.RawMessage {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	draw := rand.New(rand.NewPCG(3, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[draw.IntN(len(letters))]
	}
	return json.RawMessage(`"` + string(b) + `"`)
}

// ask is what any NATS client can do: it asks for the run's latest step.
func (s *stack) ask(run, accept string) *nats.Msg {
	s.t.Helper()
	m := &nats.Msg{Subject: "persistd.read.default.latest", Data: []byte(`{"run_id":"` + run + `"}`), Header: nats.Header{}}
	if accept != "" {
		m.Header.Set(wire.HeaderAccept, accept)
	}
	reply, err := s.nc.RequestMsg(m, 10*time.Second)
	require.NoError(s.t, err)
	return reply
}

func TestALatestStepIsTheSameFromLogAndDatabaseCompressedOrNot(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	g := newGate(t)
	var cases readCases
	s.serveHere(cases.count(g.hooks()))
	plain, packed := s.open(client.WithCompression(0)), s.open(client.WithCompression(1))
	rows := []struct {
		name  string
		st    client.Store[json.RawMessage]
		state json.RawMessage
	}{
		{"a small body, plain", plain, noise(100)},
		{"a small body, compressed", packed, json.RawMessage(`"` + strings.Repeat("ab", 1000) + `"`)},
		{"a body above the reply's threshold, plain", plain, noise(20_000)},
		{"a body above the reply's threshold, compressed", packed, noise(20_001)},
		{"900 KB, plain", plain, noise(900_000)},
		{"900 KB, compressed", packed, noise(900_001)},
		{"1.5 MB, which fit a message compressed only", packed, json.RawMessage(`"` + strings.Repeat("abc", 500_000) + `"`)},
	}
	for i, row := range rows {
		require.NoError(t, row.st.SaveStep(t.Context(), fmt.Sprintf("run-%d", i), 7, "node", row.state), row.name)
	}
	requireAll := func(from string) {
		for i, row := range rows {
			run := fmt.Sprintf("run-%d", i)
			state, step, err := plain.LoadLatest(t.Context(), run)
			require.NoError(t, err, row.name)
			require.Equal(t, 7, step)
			requireText(t, string(row.state), string(state))

			reply := s.ask(run, wire.EncodingZstd)
			large := len(row.state) > 8<<10
			require.Equalf(t, large, reply.Header.Get(wire.HeaderEncoding) == wire.EncodingZstd, "%s, from %s: reply is compressed", row.name, from)
			if large {
				reply.Data, err = wire.Decompress(reply.Data)
				require.NoError(t, err)
			}
			latest, err := wire.ParseLatest(reply.Data)
			require.NoError(t, err)
			requireText(t, string(row.state), string(latest.State))
			require.Equal(t, "node", latest.NodeID)
			require.NotZero(t, latest.Sequence)

			reply = s.ask(run, "")
			require.Empty(t, reply.Header.Get(wire.HeaderEncoding))
			if len(row.state) > 1<<20 {
				require.Equal(t, wire.StatusTooLarge, reply.Header.Get(wire.HeaderErrorCode))
				require.Contains(t, reply.Header.Get(wire.HeaderError), "more than the server's max_payload of 1048576 takes")
				continue
			}
			again, err := wire.ParseLatest(reply.Data)
			require.NoError(t, err)
			require.Equal(t, latest, again)
		}
	}
	requireAll("the log")
	require.EqualValues(t, 3*len(rows), cases.tail.Load())
	g.open()
	s.eventually("all are rows", func() bool { return s.rows("TRUE") == len(rows) })
	requireAll("the database")
	require.EqualValues(t, 3*len(rows), cases.row.Load()+cases.overtaken.Load())
}

// A row that persistd did not write may be larger than any message: the read says so, and the connection stays.
func TestARowThatFitsNoReplyIsTooLargeAndHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st := s.open()
	_, err := s.db.Exec("INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES ('large', 1, 'n', ?), ('small', 1, 'n', '1')", string(noise(2_000_000)))
	require.NoError(t, err)
	_, _, err = st.LoadLatest(t.Context(), "large")
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.ErrorContains(t, err, "more than the server's max_payload of 1048576 takes")
	require.ErrorContains(t, err, "raise max_payload")
	state, _, err := st.LoadLatest(t.Context(), "small")
	require.NoError(t, err)
	require.Equal(t, "1", string(state))
}

func TestALongTailIsReadWhole(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	g := newGate(t)
	var cases readCases
	s.serveHere(cases.count(g.hooks()))
	st := s.open(client.WithDurability(client.Async), client.WithAttemptTimeout(20*time.Second))
	const readers = 3
	const steps = 5000
	// The highest step stands in the middle: to know that, all of the tail must be read.
	for i := range steps {
		step, state := i, `"lower"`
		if i == steps/2 {
			step, state = steps, `"highest"`
		}
		require.NoError(t, st.SaveStep(t.Context(), "run", step, "n", json.RawMessage(state)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // for a machine that does much else
	defer cancel()
	require.NoError(t, st.Flush(ctx))
	var all errgroup.Group
	for range readers {
		all.Go(func() error {
			state, step, err := st.LoadLatest(ctx, "run")
			if err == nil && (step != steps || string(state) != `"highest"`) {
				err = fmt.Errorf("got step %d, %s", step, state)
			}
			return err
		})
	}
	require.NoError(t, all.Wait())
	require.EqualValues(t, readers, cases.tail.Load())
	require.Zero(t, s.rows("TRUE"))
	g.open()
	s.eventually("all are rows", func() bool { return s.rows("TRUE") == steps })
	state, step, err := st.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, steps, step)
	require.Equal(t, `"highest"`, string(state))
}
