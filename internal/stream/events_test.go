package stream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

func ensureEvents(t *testing.T, js jetstream.JetStream, cfg EventsConfig) *Events {
	t.Helper()
	e, err := EnsureEvents(within(t), js, Config{}, cfg, zap.NewNop())
	require.NoError(t, err)
	return e
}

func outboxRecord(id string) wire.OutboxRecord {
	return wire.OutboxRecord{EventID: id, RunID: "run.1", SavedAt: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), Data: []byte(`{"Msg":"<paid>"}`)}
}

func TestRelayedEventsAreStoredOncePerID(t *testing.T) {
	t.Parallel()
	js := connect(t)
	e := ensureEvents(t, js, EventsConfig{MaxAge: time.Hour})
	for range 3 {
		require.NoError(t, e.Publish(within(t), outboxRecord("id with\nanything. in*it>")))
	}
	require.NoError(t, e.Publish(within(t), outboxRecord("other")))
	s, err := js.Stream(within(t), "PERSISTD_EVENTS")
	require.NoError(t, err)
	require.Equal(t, uint64(2), s.CachedInfo().State.Msgs)
	m, err := s.GetMsg(within(t), 1)
	require.NoError(t, err)
	require.Equal(t, "persistd.events.run%2E1", m.Subject)
	require.JSONEq(t, `{"event_id":"id with\nanything. in*it>","run_id":"run.1","saved_at":"2026-05-04T03:02:01Z","data":{"Msg":"<paid>"}}`, string(m.Data))
	require.Contains(t, string(m.Data), `{"Msg":"<paid>"}`, "the data is as it was saved")
}

func TestTheStreamOfRelayedEventsKeepsThemForAWhileAndDropsNothing(t *testing.T) {
	t.Parallel()
	js := connect(t)
	for range 2 { // it is there the second time
		ensureEvents(t, js, EventsConfig{MaxAge: time.Minute, MaxBytes: 32 << 20})
	}
	s, err := js.Stream(within(t), "PERSISTD_EVENTS")
	require.NoError(t, err)
	c := s.CachedInfo().Config
	require.Equal(t, time.Minute, c.MaxAge)
	require.Equal(t, int64(32<<20), c.MaxBytes)
	require.Equal(t, jetstream.DiscardNew, c.Discard)
	require.LessOrEqual(t, c.Duplicates, c.MaxAge)
}

func TestAStreamOfTheUsersOwnTakesTheEvents(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "MINE", Subjects: []string{"persistd.events.*", "else.>"}})
	require.NoError(t, err)
	e := ensureEvents(t, js, EventsConfig{})
	require.NoError(t, e.Publish(within(t), outboxRecord("1")))
	_, err = js.Stream(within(t), "PERSISTD_EVENTS")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
	s, err := js.Stream(within(t), "MINE")
	require.NoError(t, err)
	require.Equal(t, uint64(1), s.CachedInfo().State.Msgs)
}

func TestAnEventThatIsTooLargeForAMessageIsCompressed(t *testing.T) {
	t.Parallel()
	js := connect(t)
	e := ensureEvents(t, js, EventsConfig{})
	ev := outboxRecord("large")
	ev.Data = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	require.NoError(t, e.Publish(within(t), ev))
	s, err := js.Stream(within(t), "PERSISTD_EVENTS")
	require.NoError(t, err)
	m, err := s.GetMsg(within(t), 1)
	require.NoError(t, err)
	require.Equal(t, wire.EncodingZstd, m.Header.Get(wire.HeaderEncoding))
	plain, err := wire.Decompress(m.Data)
	require.NoError(t, err)
	var got wire.OutboxRecord
	require.NoError(t, json.Unmarshal(plain, &got))
	require.Equal(t, ev, got)
}

func TestAFullStreamOfEventsRefusesAndSaysWhatToDo(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{
		Name: "MINE", Subjects: []string{"persistd.events.*"}, MaxBytes: 1 << 10, Discard: jetstream.DiscardNew,
	})
	require.NoError(t, err)
	e := ensureEvents(t, js, EventsConfig{})
	var failed error
	for i := 0; failed == nil && i < 100; i++ {
		failed = e.Publish(within(t), outboxRecord(strings.Repeat("x", i+1)))
	}
	require.ErrorContains(t, failed, "have somebody read and remove them")
	require.NoError(t, js.DeleteStream(within(t), "MINE"))
	require.ErrorContains(t, e.Publish(within(t), outboxRecord("1")), "no stream listens there any more")
}
