package mysqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestAnyBytesRoundTripThroughALiteral(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	_, err := look.ExecContext(t.Context(), "CREATE TABLE bytes (n INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB, rest VARCHAR(10))")
	require.NoError(t, err)
	ctx := t.Context()
	roundTrip := func(t require.TestingT, in []byte) {
		q := appendString([]byte("INSERT INTO bytes (b, rest) VALUES ("), in)
		q = append(q, ", 'rest')"...)
		res, err := s.readers.ExecContext(ctx, string(q)) // the same session settings as the writers', with autocommit
		require.NoError(t, err)
		id, err := res.LastInsertId()
		require.NoError(t, err)
		var (
			out  []byte
			rest string
		)
		require.NoError(t, look.QueryRowContext(ctx, "SELECT b, rest FROM bytes WHERE n=?", id).Scan(&out, &rest))
		require.Equal(t, append([]byte{}, in...), append([]byte{}, out...))
		require.Equal(t, "rest", rest)
	}
	every := make([]byte, 0, 3*256)
	for b := range 256 {
		every = append(every, byte(b), '\'', byte(b))
	}
	roundTrip(t, every)
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }),
			// Leading bytes of characters that do not go on, before bytes that need escaping.
			rapid.SampledFrom([][]byte{{0xc3}, {0xe5, 0x5c}, {0xf0, 0x9f, '\''}, {0x81, 0x5c, '\''}, []byte(`\`), []byte(`'`), []byte(`\'`), []byte("--"), {0x1a}}),
		)
		var in []byte
		for _, p := range rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces") {
			in = append(in, p...)
		}
		roundTrip(t, in)
	})
}

func TestHostileIDsAreRunsOfTheirOwnAndRoundTrip(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	ids := []string{
		"a.b.c", "*", ">", "a b", "/", "%", "_", `'`, `"`, `\`, `\\`, `\'`, `';DROP TABLE workflow_steps;--`, "\n", "\r\n", "\t", "\x00", "\x1a",
		"`", "?", "#", "-- ", "/*", " leading", "😀", strings.Repeat("😀", 255), strings.Repeat("'", 255), "run", "Run", "RUN", "rún", "ru\u0301n",
		"ß", "ss", "ÿ", "\ufeff", "\u200b", "\u202e", "{{wildcard(1)}}", "${x}", "NULL", "0", "0x61", "\u00a0", "\U0010ffff",
	}
	term := acquire(t, s, 0)
	var events []wire.Event
	for i, id := range ids {
		if poison := wire.CheckID(id); poison != nil {
			ids[i] = id + "."
		}
		e := save(uint64(i+1), ids[i], 1, fmt.Sprint(i))
		e.Ops[0].NodeID = id
		events = append(events, e)
	}
	commit(t, s, &term, events...)
	for i, id := range ids {
		step, _, _, err := s.Latest(t.Context(), 0, id)
		require.NoError(t, err)
		require.NotNil(t, step, "%q", id)
		require.Equal(t, fmt.Sprint(i), string(step.State), "%q", id)
		require.Equal(t, events[i].Ops[0].NodeID, step.NodeID)
		var hex string
		require.NoError(t, look.QueryRowContext(t.Context(), "SELECT HEX(run_id) FROM workflow_steps WHERE log_seq=?", i+1).Scan(&hex))
		require.Equal(t, fmt.Sprintf("%X", id), hex)
	}
}

func TestCreatedAtIsWhenTheStepWasLoggedToTheMicrosecondInAnyTimeZone(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	_, err := plain(t, server.DSN("")).ExecContext(t.Context(), "SET GLOBAL time_zone='+09:30'")
	require.NoError(t, err)
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	look := plain(t, dsn)
	term := acquire(t, s, 0)
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.InDelta(t, leased, rows[0].LeaseFor, float64(leased/2))
	require.WithinDuration(t, time.Now(), rows[0].UpdatedAt, time.Minute)

	tokyo := time.FixedZone("Tokyo", 9*3600)
	for i, tt := range []struct{ logged, want time.Time }{
		{time.Date(2026, 3, 29, 1, 30, 0, 123456999, time.UTC), time.Date(2026, 3, 29, 1, 30, 0, 123456000, time.UTC)},
		{time.Date(2026, 3, 29, 1, 30, 0, 999999999, tokyo), time.Date(2026, 3, 28, 16, 30, 0, 999999000, time.UTC)},
		{time.Date(2026, 10, 25, 2, 30, 0, 1000, time.UTC), time.Date(2026, 10, 25, 2, 30, 0, 1000, time.UTC)},
		{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		{time.Unix(0, 0), firstTime},
		{time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), lastTime},
	} {
		e := save(uint64(i+1), "run", int32(i), `1`)
		e.Message.Logged = tt.logged
		commit(t, s, &term, e)
		step, _, _, err := s.Latest(t.Context(), 0, "run")
		require.NoError(t, err)
		require.Equal(t, tt.want, step.SavedAt)
		var unix string // what a session of any time zone sees
		require.NoError(t, look.QueryRowContext(t.Context(), "SELECT UNIX_TIMESTAMP(created_at) FROM workflow_steps WHERE step=?", i).Scan(&unix))
		require.Equal(t, fmt.Sprintf("%d.%06d", tt.want.Unix(), tt.want.Nanosecond()/1000), unix)
	}
	commit(t, s, &term, save(100, "run", 0, `2`))
	var unix string
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT UNIX_TIMESTAMP(created_at) FROM workflow_steps WHERE log_seq=100").Scan(&unix))
	require.Equal(t, "1774747800.123456", unix, "a later save of the step leaves created_at")
}

// states draws JSON states: any strings, numbers that a double holds, nested as deep as every server takes.
func states() *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), toAny), rapid.Map(rapid.String(), toAny), rapid.Map(rapid.Int32(), toAny),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), toAny),
		rapid.Map(rapid.SampledFrom([]string{"", "\x00", "'", `\`, `"`, "\u2028", "😀", "</script>", "\x7f"}), toAny),
	)
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return scalar
		}
		inner := rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) })
		return rapid.OneOf(scalar,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(v []any) any { return append([]any{}, v...) }),
			rapid.Map(rapid.MapOfN(rapid.String(), inner, 0, 4), func(v map[string]any) any { return v }))
	}
	return value(5)
}

func toAny[T any](v T) any { return v }

func TestStatesRoundTripWithTheSameMeaning(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	ctx := context.WithoutCancel(t.Context())
	rapid.Check(t, func(t *rapid.T) {
		in, err := json.Marshal(states().Draw(t, "state"))
		require.NoError(t, err)
		b := batch(term, save(term.Position+1, "run", 1, string(in)))
		require.NoError(t, s.Commit(ctx, b), "%s", in)
		term.Position = b.Last()
		step, _, _, err := s.Latest(ctx, 0, "run")
		require.NoError(t, err)
		var want, got any
		require.NoError(t, json.Unmarshal(in, &want))
		require.NoError(t, json.Unmarshal(step.State, &got), "%s", step.State)
		require.Equal(t, want, got)
	})
}

func TestTheDeepestStateThatEveryServerTakes(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	depth := wire.MaxDepthPortable
	commit(t, s, &term, save(1, "run", 1, strings.Repeat("[", depth)+strings.Repeat("]", depth)))
	step, _, _, err := s.Latest(t.Context(), 0, "run")
	require.NoError(t, err)
	require.Equal(t, depth, wire.Depth(step.State))
}

func TestADateTimeIsAsItsLayoutHasIt(t *testing.T) {
	t.Parallel()
	first := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	rapid.Check(t, func(r *rapid.T) {
		at := time.Unix(rapid.Int64Range(first, last).Draw(r, "second"), rapid.Int64Range(0, 999_999_999).Draw(r, "nanosecond"))
		require.Equal(r, at.UTC().Format("'2006-01-02 15:04:05.000000'"), string(appendDateTime(nil, at)))
	})
}
