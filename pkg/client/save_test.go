package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"sort"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

func TestALoggedStepIsInTheLogWhenSaveStepReturns(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t)
	require.NoError(t, st.SaveStep(t.Context(), "run-001", 3, "fetch", state{N: 7, Text: "<&>"}))

	events := l.requireEvents(t)
	require.Len(t, events, 1)
	ev := events[0]
	require.Equal(t, "run-001", ev.RunID)
	require.Equal(t, "default", ev.Namespace)
	require.Equal(t, wire.Partition("default", "run-001", partitions), ev.Partition)
	require.Len(t, ev.Ops, 1)
	require.Equal(t, int32(3), ev.Ops[0].Step)
	require.Equal(t, "fetch", ev.Ops[0].NodeID)
	require.JSONEq(t, `{"n":7,"text":"<&>"}`, string(ev.Ops[0].State))
	require.NotEmpty(t, ev.Message.Header.Get(wire.HeaderMsgID))
}

func TestSavingAStepAgainIsANewWrite(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t)
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "a", state{N: 1}))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "a", state{N: 1}))
	events := l.requireEvents(t)
	require.Len(t, events, 2, "the duplicate window must not eat a second call")
	require.NotEqual(t, events[0].Message.Header.Get(wire.HeaderMsgID), events[1].Message.Header.Get(wire.HeaderMsgID))
}

func TestNamespaceAndPrefixAreInTheSubject(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t, client.WithNamespace("team-a"))
	require.NoError(t, st.SaveStep(t.Context(), "r", 1, "", state{}))
	require.Equal(t, "team-a", l.requireEvents(t)[0].Namespace)

	other := func() client.Store[state] { return l.open(t, client.WithPrefix("acme.flows")) }
	_, err := untilKnown(t, soon, other, func(ctx context.Context, st client.Store[state]) error { return st.SaveStep(ctx, "r", 1, "", state{}) })
	require.ErrorIs(t, err, client.ErrUnavailable, "no stream listens under another prefix")
}

// refusing is a state that cannot be marshalled, and says something that must not be seen.
type refusing struct{}

func (refusing) MarshalJSON() ([]byte, error) { return nil, errors.New("will not") }

func TestWhatCanNeverBeStoredIsRefusedBeforeAnythingIsPublished(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := open[any](t, l.url)
	deep := func(n int) json.RawMessage {
		return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	for _, row := range []struct {
		name   string
		run    string
		step   int
		node   string
		state  any
		is     error
		reason string
	}{
		{name: "an empty run id", run: "", is: client.ErrInvalidID, reason: "empty"},
		{name: "a run id that ends in a space", run: "a ", is: client.ErrInvalidID, reason: "space"},
		{name: "a run id of 256 characters", run: strings.Repeat("é", 256), is: client.ErrInvalidID, reason: "256 characters, more than the 255"},
		{name: "a run id that is not UTF-8", run: "a\xff", is: client.ErrInvalidID, reason: "UTF-8"},
		{name: "a node id of 256 characters", run: "r", node: strings.Repeat("x", 256), is: client.ErrInvalidID, reason: "node_id"},
		{name: "a step above 32 bits", run: "r", step: math.MaxInt32 + 1, is: client.ErrInvalidStep, reason: "2147483648"},
		{name: "a step below 32 bits", run: "r", step: math.MinInt32 - 1, is: client.ErrInvalidStep, reason: "-2147483649"},
		{name: "a state with a channel in it", run: "r", state: make(chan int), is: client.ErrInvalidState, reason: "chan int"},
		{name: "a state that is not a number", run: "r", state: math.NaN(), is: client.ErrInvalidState, reason: "NaN"},
		{name: "a state that refuses to be marshalled", run: "r", state: refusing{}, is: client.ErrInvalidState, reason: "will not"},
		{name: "a raw state that is not UTF-8", run: "r", state: json.RawMessage("\"\xff\""), is: client.ErrInvalidState, reason: "UTF-8"},
		{name: "a raw state with half a surrogate pair", run: "r", state: json.RawMessage(`"\ud800"`), is: client.ErrInvalidState, reason: "surrogate"},
		{name: "a state that is 32 deep", run: "r", state: deep(32), is: client.ErrInvalidState, reason: "32 deep, more than 31"},
		{name: "a state over the size of a body", run: "r", state: strings.Repeat("x", wire.MaxBody), is: client.ErrTooLarge, reason: "more than 7340032"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := st.SaveStep(t.Context(), row.run, row.step, row.node, row.state)
			require.ErrorIs(t, err, row.is)
			require.ErrorContains(t, err, row.reason)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
			var typed *client.Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, "save step", typed.Op)
			require.Equal(t, row.run, typed.RunID)
			require.Equal(t, row.step, typed.Step)
		})
	}
	require.Zero(t, l.count(t.Context()))

	require.NoError(t, st.SaveStep(t.Context(), "r", math.MaxInt32, "", deep(31)), "the limits themselves are within")
	require.NoError(t, st.SaveStep(t.Context(), strings.Repeat("𝄞", 255), math.MinInt32, strings.Repeat("é", 255), nil))
	mysql := open[any](t, l.url, client.WithMaxDepth(100))
	require.NoError(t, mysql.SaveStep(t.Context(), "r", 1, "", deep(100)))
	require.Len(t, l.requireEvents(t), 3)
}

// noise is text that does not compress well.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[x%64]
	}
	return string(b)
}

func TestLargeBodiesAreCompressedAndSmallOnesAreNot(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		options    []client.Option
		text       string
		compressed bool
	}{
		{name: "a small body is readable", text: strings.Repeat("a", 1000)},
		{name: "a body from 8 KiB is compressed", text: strings.Repeat("a", 9000), compressed: true},
		{name: "a threshold can be set", options: []client.Option{client.WithCompression(500)}, text: strings.Repeat("a", 1000), compressed: true},
		{name: "a threshold of 0 compresses nothing", options: []client.Option{client.WithCompression(0)}, text: strings.Repeat("a", 100_000)},
		{name: "a state over the server's max_payload fits compressed", text: strings.Repeat("abc", 1<<20), compressed: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			st := l.open(t, row.options...)
			require.NoError(t, st.SaveStep(t.Context(), "r", 1, "", state{Text: row.text}))
			ev := l.requireEvents(t)[0]
			if row.compressed {
				require.Equal(t, "zstd", ev.Message.Header.Get("Content-Encoding"))
				require.Less(t, len(ev.Message.Body), len(row.text))
			} else {
				require.Empty(t, ev.Message.Header.Get("Content-Encoding"))
			}
			var got state
			require.NoError(t, json.Unmarshal(ev.Ops[0].State, &got))
			require.Equal(t, row.text, got.Text)
		})
	}
}

func TestAMessageOverTheServersLimitIsRefusedWithSizeLimitAndWhatToDo(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	limit := int(l.nc.MaxPayload())

	err := l.open(t).SaveStep(t.Context(), "r", 1, "", state{Text: noise(2 * limit)})
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.ErrorContains(t, err, "after compression, more than 1048576")
	require.ErrorContains(t, err, "max_payload")

	err = l.open(t, client.WithCompression(0)).SaveStep(t.Context(), "r", 1, "", state{Text: noise(limit)})
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.ErrorContains(t, err, "WithCompression")

	// The headers count: whatever passes the client's own check, the server takes.
	st := l.open(t, client.WithCompression(0))
	save := func(n int) error { return st.SaveStep(t.Context(), "r", 1, "", state{Text: strings.Repeat("x", n)}) }
	over := sort.Search(limit, func(n int) bool { return n > limit-200 && errors.Is(save(n), client.ErrTooLarge) })
	require.ErrorContains(t, save(over), "message has 1048577 bytes", "the first that is refused is one byte over")
	require.NoError(t, save(over-1))
}

func TestAMessageOverTheStreamsLimitIsNotRetried(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.update(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
	err := l.open(t).SaveStep(t.Context(), "r", 1, "", state{Text: noise(2000)})
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
	var api *jetstream.APIError
	require.ErrorAs(t, err, &api)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestDurabilityOfTheCtxOverridesTheStores(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := startPersistd(t, l)
	p.position.Store(math.MaxInt64)

	st := l.open(t, client.WithDurability(client.Committed))
	require.NoError(t, st.SaveStep(t.Context(), "r", 1, "", state{}))
	require.Equal(t, int64(1), p.asked.Load())
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Logged), "r", 2, "", state{}))
	require.Equal(t, int64(1), p.asked.Load())
	require.ErrorIs(t, st.SaveStep(client.ContextWithDurability(t.Context(), 9), "r", 3, "", state{}), client.ErrInvalidOption)
}

// The log's owner commits at once what is marked, and other things when it suits.
func TestWhatIsWaitedForIsMarkedAsUrgent(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		save func(ctx context.Context, st client.Store[state]) error
		want []bool // of each message
	}{
		"a logged step": {func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStep(ctx, "run", 1, "", state{})
		}, []bool{false}},
		"a logged checkpoint": {func(ctx context.Context, st client.Store[state]) error {
			return st.SaveCheckpoint(ctx, "c", state{}, 1)
		}, []bool{false}},
		"what is always told": {func(ctx context.Context, st client.Store[state]) error { return st.DeleteRun(ctx, "run") }, []bool{true}},
		"a committed checkpoint": {func(ctx context.Context, st client.Store[state]) error {
			return st.SaveCheckpoint(client.ContextWithDurability(ctx, client.Committed), "c", state{}, 1)
		}, []bool{true}},
		"the last part of a transaction": {func(ctx context.Context, st client.Store[state]) error {
			big := strings.Repeat("x", 600<<10)
			return st.SaveStepBatch(client.ContextWithDurability(ctx, client.Committed), "run", []client.Step[state]{
				{Step: 1, State: state{Text: big}}, {Step: 2, State: state{Text: big}},
			})
		}, []bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			st := l.open(t, client.WithCompression(0))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			saved := make(chan error, 1)
			go func() { saved <- row.save(ctx, st) }()
			var messages []wire.Event
			require.Eventually(t, func() bool {
				var err error
				messages, err = l.messages(t.Context())
				return err == nil && len(messages) == len(row.want)
			}, eventually, poll)
			if row.want[len(row.want)-1] {
				cancel() // nobody commits
				require.ErrorIs(t, <-saved, context.Canceled)
			} else {
				require.NoError(t, <-saved)
			}
			var got []bool
			for _, m := range messages {
				got = append(got, m.Message.Header.Get(wire.HeaderUrgent) != "")
			}
			require.Equal(t, row.want, got)
		})
	}
}
