package client

import (
	"container/list"
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// withoutPump is a publisher on e's connection whose pump does not run: a test does what it would do.
func withoutPump(e *engine, mode GroupPublish) *publisher {
	p := &publisher{
		nc: e.nc, mux: e.mux, cfg: e.cfg, room: room{maxCount: 10, maxBytes: 1 << 20}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		closing: make(chan struct{}), runs: map[string][]*publication{}, pending: list.New(), pace: newPace(mode),
	}
	p.maxPayload.Store(1 << 20)
	return p
}

// groupOf is a group of p of one step of each run, with the bodies, not yet sent.
func groupOf(t *testing.T, e *engine, p *publisher, bodies ...[]byte) *group {
	t.Helper()
	for i, body := range bodies {
		msg, err := e.message(wire.KindRun, fmt.Sprint("run-", i), []byte(`{}`), nil)
		require.NoError(t, err)
		msg.Data = body // whatever the server takes by now
		pub := &publication{msgs: []*nats.Msg{msg}}
		require.NoError(t, p.submit(t.Context(), pub))
	}
	batch, _ := p.collect(nil)
	require.Len(t, batch, 1)
	require.Len(t, batch[0].group.members, len(bodies))
	return batch[0].group
}

// What a batch is refused for is nothing that is known of its members, which are published by themselves and may be in the log by then.
func TestAMemberIsNotToldWhatItsGroupWasRefusedFor(t *testing.T) {
	t.Parallel()
	e := openForTest(t)
	for name, row := range map[string]struct {
		refusal jetstream.APIError
		kind    error
	}{
		"no batches":           {jetstream.APIError{Code: 400, ErrorCode: codeBatchesOff, Description: "atomic publish is disabled"}, ErrRejected},
		"too many":             {jetstream.APIError{Code: 400, ErrorCode: codeBatchTooLong, Description: "atomic publish batch is too large: 2"}, ErrTooLarge},
		"another is too large": {jetstream.APIError{Code: 400, ErrorCode: codeTooLarge, Description: "message size exceeds maximum allowed"}, ErrTooLarge},
		"no room for all":      {jetstream.APIError{Code: 503, ErrorCode: codeStoreFailed, Description: "maximum bytes exceeded"}, ErrLogFull},
	} {
		p := withoutPump(e, GroupAlways)
		g := groupOf(t, e, p, []byte(`{}`), []byte(`{}`))
		p.dissolve(g, ackFault(&row.refusal))
		batch, _ := p.collect(nil)
		require.Len(t, batch, 2, "each by itself")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, a := range batch {
			_, err := p.wait(ended, a.pub)
			require.ErrorIs(t, err, ErrOutcomeUnknown, name)
			require.NotErrorIs(t, err, row.kind, name)
			require.ErrorContains(t, err, row.refusal.Description, "it is said")
		}
	}
}

// The server takes less than the one before it did, which the publisher has not heard of yet.
func TestAMemberThatTheConnectionDoesNotTakeSpoilsNothingForTheOthers(t *testing.T) {
	t.Parallel()
	e := openSmall(t, 64<<10)
	_, err := e.nc.Subscribe("persistd.write.>", func(*nats.Msg) {}) // a log that does not answer yet
	require.NoError(t, err)
	for large := range 3 {
		p := withoutPump(e, GroupAlways)
		bodies := [][]byte{[]byte(`{}`), []byte(`{}`), []byte(`{}`)}
		bodies[large] = random(100 << 10)
		g := groupOf(t, e, p, bodies...)
		p.sendGroup(g)
		batch, _ := p.collect(nil)
		require.Len(t, batch, 3, "each by itself")
		for i, a := range batch {
			p.send(a)
			if i != large {
				p.answered(a.pub, a.number, pubAck{Stream: "s", Sequence: 1}, nil)
			}
			_, err := p.wait(t.Context(), a.pub)
			if i != large {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, ErrTooLarge)
			require.NotErrorIs(t, err, ErrOutcomeUnknown)
		}
		require.Nil(t, p.group)
	}
}
