package service_test

import (
	"testing"

	"github.com/nats-io/nats.go/micro"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

var raceEnabled bool // the race detector watches

// requested is a request that is answered again and again; nobody listens.
type requested struct {
	micro.Request

	subject string
	data    []byte
	headers micro.Headers
}

func (r *requested) Subject() string        { return r.subject }
func (r *requested) Reply() string          { return "nobody" }
func (r *requested) Data() []byte           { return r.data }
func (r *requested) Headers() micro.Headers { return r.headers }

// What the answer to a request allocates, from what the client library has received to what it sends; the database's part and the log's are in
// memory already. The server is a process, whose allocations are not this one's.
func TestALatestStepIsAnsweredInTwentyTwoAllocationsOrSo(t *testing.T) { //nolint:paralleltest // it counts allocations.
	r := newReplica(t, stacktest.NATSProcess(t).URL())
	r.data.step = &wire.StepRecord{Step: 1000, NodeID: "node", Sequence: 1, SavedAt: created, State: []byte(`{"n":1}`)}
	request := &requested{
		subject: wire.Subjects{Prefix: "persistd"}.Read("default", wire.VerbLatest), data: []byte(`{"run_id":"` + run + `"}`),
		headers: micro.Headers{wire.HeaderAccept: {wire.EncodingZstd}},
	}
	sent := r.nc.Stats().OutMsgs
	took := testing.AllocsPerRun(500, func() { require.NoError(t, r.AnswerLatest(t.Context(), request)) })
	require.EqualValues(t, 501, r.nc.Stats().OutMsgs-sent, "each was answered, also that of the run that warms up")
	if !raceEnabled { // it has the pools of encoding/json forget things; make allocs runs without it
		require.InDelta(t, 22, took, 2) // the connection's goroutines are scheduled as it happens
	}
}
