package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// pointers are events as Put takes them.
func pointers(events ...wire.Event) []*wire.Event {
	all := make([]*wire.Event, len(events))
	for i := range events {
		all[i] = &events[i]
	}
	return all
}

func poisonEvent(seq uint64, body []byte, h wire.Header) wire.Event {
	return wire.Event{
		Message: wire.Message{
			Subject: "persistd.log.3.default.run.run-001", Header: h, Body: body, Sequence: seq,
			Logged: time.Date(2026, 5, 4, 3, 2, 1, 987654321, time.UTC),
		},
		Partition: 3, Namespace: "default",
		Poison: &wire.Poison{Code: wire.CodeDatabase, Reason: "refused: 100% \"wrong\"\r\nNats-Rollup: all", ErrorNumber: 4025},
	}
}

// letters are the messages of the stream of dead letters.
func letters(t *testing.T, s *Stream) []wire.Message {
	t.Helper()
	var all []wire.Message
	for from := uint64(1); ; {
		m, err := s.dead.get.next(within(t), "persistd.dlq.>", from)
		if err != nil {
			require.ErrorIs(t, err, errNotFound)
			return all
		}
		all = append(all, m)
		from = m.Sequence + 1
	}
}

func TestADeadLetterHoldsTheEventAndTheReason(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	ev := poisonEvent(7, []byte("no JSON\x00\xff"), wire.Header{
		"Nats-Msg-Id": {"abc"}, "nats-ttl": {"1s"}, "Persistd-Code": {"forged"}, "Content-Encoding": {"zstd"}, "Trace": {"a", "b"},
	})
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	all := letters(t, s)
	require.Len(t, all, 1)
	require.Equal(t, "persistd.dlq.3.7", all[0].Subject)
	require.Equal(t, ev.Message.Body, all[0].Body)
	require.Equal(t, wire.Header{
		"Nats-Msg-Id":                         {s.Created().Format(time.RFC3339Nano) + ":7"},
		"Nats-Expected-Stream":                {"PERSISTD_DLQ"},
		"Nats-Expected-Last-Subject-Sequence": {"0"},
		HeaderCode:                            {"refused_by_db"},
		HeaderReason:                          {`refused: 100%25 "wrong"%0D%0ANats-Rollup: all`},
		HeaderErrorNumber:                     {"4025"},
		HeaderPartition:                       {"3"},
		HeaderSequence:                        {"7"},
		HeaderSubject:                         {"persistd.log.3.default.run.run-001"},
		HeaderLoggedAt:                        {"2026-05-04T03:02:01.987654321Z"},
		HeaderStreamCreated:                   {s.Created().Format(time.RFC3339Nano)},
		"Persistd-Original-Nats-Msg-Id":       {"abc"},
		"Persistd-Original-nats-ttl":          {"1s"},
		"Persistd-Original-Persistd-Code":     {"forged"},
		"Content-Encoding":                    {"zstd"},
		"Trace":                               {"a", "b"},
	}, all[0].Header)

	reason, found, err := s.DeadLetters().DeadLetter(within(t), 3, 7)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, *ev.Poison, reason)
	for _, other := range []struct {
		partition int
		seq       uint64
	}{{3, 8}, {2, 7}} {
		_, found, err = s.DeadLetters().DeadLetter(within(t), other.partition, other.seq)
		require.NoError(t, err)
		require.False(t, found)
	}
}

// I7: a letter is kept once, by whoever and however late it is put again.
func TestPutKeepsOneLetterPerEvent(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	events := []wire.Event{poisonEvent(1, []byte("a"), nil), poisonEvent(2, []byte("b"), nil)}
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(events...)))
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(events...)), "within the dedup window")

	// Beyond the window: the server has forgotten the ids, which shortening the window makes it do.
	c := info(t, js, "PERSISTD_DLQ").Config
	c.Duplicates = 100 * time.Millisecond
	_, err := js.UpdateStream(within(t), c)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the second one's id is forgotten, and so the older first one's
		ack, err := js.PublishMsg(context.Background(), &nats.Msg{
			Subject: "persistd.dlq.0.0", Header: nats.Header{wire.HeaderMsgID: {s.Created().Format(time.RFC3339Nano) + ":2"}},
		})
		return err == nil && !ack.Duplicate
	}, time.Minute, 20*time.Millisecond)
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(events[:1]...)))
	require.Len(t, letters(t, s), 3)
}

// The sequences of a log that was made anew begin at 1 again: letters of the old one are no letters of this one.
func TestALetterOfAnOlderLogIsAnother(t *testing.T) {
	t.Parallel()
	js := connect(t)
	old := ensure(t, js, Config{})
	ev := poisonEvent(1, []byte("old"), nil)
	require.NoError(t, old.DeadLetters().Put(within(t), pointers(ev)))
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	s := ensure(t, js, Config{})
	_, found, err := s.DeadLetters().DeadLetter(within(t), 3, 1)
	require.NoError(t, err)
	require.False(t, found)
	ev.Message.Body = []byte("new")
	for range 2 {
		require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	}
	all := letters(t, s)
	require.Len(t, all, 2)
	require.Equal(t, "old", string(all[0].Body))
	require.Equal(t, "new", string(all[1].Body))
	_, found, err = s.DeadLetters().DeadLetter(within(t), 3, 1)
	require.NoError(t, err)
	require.True(t, found)
}

func TestALetterIsCompleteHoweverLargeTheEventIs(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	payload := int(js.Conn().MaxPayload())
	fill := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }
	tests := []struct {
		name  string
		seq   uint64
		body  []byte
		head  wire.Header
		parts int
	}{
		{"nothing", 1, nil, nil, 0},
		{"all that the server takes", 2, fill(payload), nil, 1},
		{"just what fits beside the headers", 3, fill(payload - 4<<10), nil, 0},
		{"large headers", 4, fill(payload - 20<<10), wire.Header{"Mine": {string(fill(20 << 10))}}, 1},
		{"headers that cannot be repeated", 5, fill(payload - 62<<10), wire.Header{"Mine": {string(fill(60 << 10))}, "Nats-Msg-Id": {"x"}}, 1},
		{"more than the server takes since its limit was lowered", 6, fill(3 * payload), nil, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ev := poisonEvent(test.seq, test.body, test.head)
			for range 2 {
				require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
			}
			subject := subjects.DeadLetter(3, test.seq)
			m, err := s.dead.get.last(within(t), subject)
			require.NoError(t, err)
			body := bytes.Clone(m.Body)
			parts := 0
			for ; ; parts++ {
				part, err := s.dead.get.last(within(t), subject+"-"+string(rune('1'+parts)))
				if err != nil {
					require.ErrorIs(t, err, errNotFound)
					break
				}
				require.Less(t, part.Sequence, m.Sequence, "a letter that is there is complete")
				body = append(body, part.Body...)
			}
			require.Equal(t, test.parts, parts)
			if parts > 0 {
				require.Equal(t, string(rune('0'+parts)), m.Header.Get(HeaderParts))
			}
			if m.Header.Get(HeaderHeaders) == "json" {
				text, rest, ok := bytes.Cut(body, []byte("\n"))
				require.True(t, ok)
				var h wire.Header
				require.NoError(t, json.Unmarshal(text, &h))
				require.Equal(t, test.head, h)
				body = rest
			} else {
				require.Equal(t, test.head.Get("Mine"), m.Header.Get("Mine"))
			}
			require.True(t, bytes.Equal(test.body, body), "body differs")
		})
	}
}

// I7: no letter is dropped for want of room; Put waits for it.
func TestPutWaitsWhileThereIsNoRoom(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{})
	small := info(t, js, "PERSISTD_DLQ").Config
	small.MaxBytes = 16 << 20
	_, err := js.UpdateStream(within(t), small)
	require.NoError(t, err)
	big := bytes.Repeat([]byte("x"), 1000<<10)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	logger, logs := observed()
	s.dead.log = logger
	var seq uint64
	for ; seq < 14; seq++ {
		require.NoError(t, s.DeadLetters().Put(ctx, pointers(poisonEvent(seq+1, big, nil))))
	}
	done := make(chan error, 1)
	go func() {
		done <- s.DeadLetters().Put(ctx, pointers(poisonEvent(15, big, nil), poisonEvent(16, big, nil), poisonEvent(17, big, nil)))
	}()
	require.Eventually(t, func() bool { return logs.FilterMessage("keep dead letter: try again").Len() > 1 }, time.Minute, 10*time.Millisecond)
	require.Contains(t, logs.All()[0].ContextMap()["error"].(string), "maximum bytes exceeded", "%v", logs.All()[0])
	fill, err := s.DeadLetters().Fill(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 16<<20, fill.MaxBytes)
	require.Greater(t, fill.Bytes, fill.MaxBytes*9/10)
	_, found, err := s.DeadLetters().DeadLetter(ctx, 3, 1)
	require.NoError(t, err)
	require.True(t, found, "the oldest letter stays")

	dlq, err := js.Stream(ctx, "PERSISTD_DLQ")
	require.NoError(t, err)
	require.NoError(t, dlq.Purge(ctx)) // somebody dealt with them
	require.NoError(t, <-done)

	go func() {
		for err == nil {
			seq++
			err = s.DeadLetters().Put(ctx, pointers(poisonEvent(seq+100, big, nil)))
		}
		done <- err
	}()
	before := logs.Len()
	require.Eventually(t, func() bool { return logs.Len() > before }, time.Minute, 10*time.Millisecond)
	cancel()
	err = <-done
	require.ErrorIs(t, err, context.Canceled)
}

func TestEnsureRefusesAnUnsafeStreamOfDeadLetters(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "PERSISTD_DLQ", Subjects: []string{"persistd.dlq.*.*"}, MaxAge: time.Hour, MaxBytes: 1 << 20})
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	var broken *ConfigError
	require.ErrorAs(t, err, &broken)
	require.Equal(t, "PERSISTD_DLQ", broken.Stream)
	require.Len(t, broken.Violations, 2)
	require.ErrorContains(t, err, "nats stream edit PERSISTD_DLQ --max-age 0")
	require.ErrorContains(t, err, "nats stream edit PERSISTD_DLQ --discard new")
}

// The letters of the largest transaction fit where nothing else is; so a stream that an earlier version made is raised.
func TestTheSmallestStreamHoldsTheLettersOfTheLargestTransaction(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{
		Name: "PERSISTD_DLQ", Subjects: []string{"persistd.dlq.*.*"}, MaxBytes: 16 << 20, Discard: jetstream.DiscardNew, AllowDirect: true,
	})
	require.NoError(t, err)
	s := ensure(t, js, Config{MaxBytes: 64 << 20})
	require.EqualValues(t, minDeadLetterBytes, info(t, js, "PERSISTD_DLQ").Config.MaxBytes)
	ev := poisonEvent(wire.MaxParts, nil, nil)
	ev.Poison.Reason = string(bytes.Repeat([]byte("r"), 4<<10))
	body := bytes.Repeat([]byte("x"), wire.MaxTransaction/wire.MaxParts)
	for i := range wire.MaxParts {
		m := ev.Message
		m.Sequence, m.Body, m.Header = uint64(i+1), body, wire.Header{"Trace": {string(bytes.Repeat([]byte("t"), 8<<10))}}
		ev.Parts = append(ev.Parts, m)
	}
	ev.Message = ev.Parts[wire.MaxParts-1]
	require.NoError(t, s.DeadLetters().Put(within(t), pointers(ev)))
	_, found, err := s.DeadLetters().DeadLetter(within(t), 3, wire.MaxParts)
	require.NoError(t, err)
	require.True(t, found)
}
