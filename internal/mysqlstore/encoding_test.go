package mysqlstore

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// scripts are of characters of one to four bytes, and of what means something in SQL, in patterns and in JSON.
var scripts = []string{
	"a", "é", "€", "🦊", "é🦊€", "e\u0301", "\U0010ffff", "\u2028", "\ufeff", `'`, `"`, `\`, `\'`, `\"`, `é\'é"`, "%", "_", "\x00", "\x1a\n\r\t",
	strings.Repeat("🦊", 255), strings.Repeat(`"`, 255), "--", "/*M! é */", "?",
}

// brief leaves room for a word before text in what takes 255 characters.
func brief(text string) string { return string([]rune(text)[:min(utf8.RuneCountInString(text), 250)]) }

// As literals of a text and as values of a prepared statement, by one connection.
func TestTextIsKeptByteForByteHoweverItIsSent(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	s := open(t, dsn, func(c *Config) { c.Owner, c.Writers = "two", 1 })
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	state := func(text string) string {
		inner, err := json.Marshal(text)
		require.NoError(t, err)
		return `{"text":` + string(inner) + `}`
	}
	seq := uint64(0)
	next := func(text string, ops ...wire.Op) wire.Event {
		seq++
		return decoded(eventOf(seq, "run "+brief(text), ops...))
	}
	step := func(n int, text string) wire.Op {
		op := stepOp(int32(n), state(text))
		op.NodeID = text
		return op
	}
	var prepared, literal []wire.Event
	for n := range 2 * bulkSizes[len(bulkSizes)-3] {
		text := scripts[n%len(scripts)]
		prepared = append(prepared, next(text, step(n, text)))
	}
	large := prepared[len(prepared)-1].Ops[0]
	large.State = []byte(state(strings.Repeat(`é"🦊`, 30_000))) // the driver sends it before the others
	prepared[len(prepared)-1].Ops[0] = decoded(wire.Event{Ops: []wire.Op{large}}).Ops[0]
	for n, text := range scripts {
		v2 := v2Op(int32(n), "key "+brief(text), state(text))
		v2.V2.Label, v2.V2.Frontier, v2.V2.RecordedIOs = text, []byte(state(text)), []byte(state(text))
		literal = append(literal, next(text, step(1000+n, text), checkpointOp("c "+brief(text), 1, state(text)), v2, outboxOp("o "+brief(text), state(text))))
	}
	before := prepares(t, s)
	commit(t, s, &term, prepared...)
	require.Greater(t, prepares(t, s), before, "statements were prepared")
	commit(t, s, &term, literal...)

	same := func(want, column, table string, seq uint64) {
		t.Helper()
		var got string
		query := fmt.Sprintf("SELECT HEX(CONVERT(%s USING utf8mb4)) FROM %s WHERE log_seq=?", column, table)
		require.NoError(t, look.QueryRowContext(t.Context(), query, seq).Scan(&got))
		require.Equal(t, strings.ToUpper(hex.EncodeToString([]byte(want))), got, "%s of %s: %.40q", column, table, want)
	}
	sameJSON := func(want []byte, column, table string, seq uint64) {
		t.Helper()
		var got string
		require.NoError(t, look.QueryRowContext(t.Context(), fmt.Sprintf("SELECT CONVERT(%s USING utf8mb4) FROM %s WHERE log_seq=?", column, table), seq).Scan(&got))
		require.JSONEq(t, string(want), got)
		if stacktest.Engine(t) == devstack.MariaDB {
			require.Equal(t, string(want), got, "MariaDB keeps JSON as it is sent")
		}
	}
	for _, ev := range slices.Concat(prepared, literal) {
		at := ev.Message.Sequence
		same(ev.RunID, "run_id", "workflow_steps", at)
		same(ev.Ops[0].NodeID, "node_id", "workflow_steps", at)
		sameJSON(ev.Ops[0].State, "state", "workflow_steps", at)
		if len(ev.Ops) == 1 {
			continue
		}
		same(ev.Ops[1].ID, "checkpoint_id", "workflow_checkpoints", at)
		sameJSON(ev.Ops[1].State, "state", "workflow_checkpoints", at)
		same(ev.RunID, "run_id", "workflow_checkpoints_v2", at)
		same(ev.Ops[2].V2.Label, "label", "workflow_checkpoints_v2", at)
		same(ev.Ops[2].V2.Key, "idempotency_key", "workflow_checkpoints_v2", at)
		for column, want := range map[string][]byte{"state": ev.Ops[2].State, "frontier": ev.Ops[2].V2.Frontier, "recorded_ios": ev.Ops[2].V2.RecordedIOs} {
			sameJSON(want, column, "workflow_checkpoints_v2", at)
		}
		same(ev.Ops[2].V2.Key, "key_value", "idempotency_keys", at)
		same(ev.Ops[3].ID, "id", "events_outbox", at)
		sameJSON(ev.Ops[3].State, "event_data", "events_outbox", at)
	}
}

// What the writers' literals are, compare as and say is what those of the readers do, whose session says what it sends.
func TestTheWritersLiteralsAreTextAsTheReadersAre(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "é🦊", 1, `"é"`), save(2, "%_", 1, `1`))
	ask := func(db *sql.DB, q string) string {
		var got sql.NullString
		err := db.QueryRowContext(t.Context(), q).Scan(&got)
		return fmt.Sprint(got, err)
	}
	for q, want := range map[string]string{
		"SELECT COLLATION('x')": "utf8mb4_bin", "SELECT COLLATION('é')": "utf8mb4_bin", "SELECT CHAR_LENGTH('é🦊')": "2", "SELECT 'é' LIKE '_'": "1",
		"SELECT 'a'='A'": "0", "SELECT 'a'='a '": "1", "SELECT 'é'='e'": "0", "SELECT HEX(UPPER('é'))": "C389", `SELECT JSON_VALID('{"é":"🦊\\n"}')`: "1",
		`SELECT 'a"b'`: `a"b`, `SELECT 'a\"b'`: `a"b`, `SELECT "a'b"`: `a'b`, "SELECT COUNT(*) FROM workflow_steps WHERE run_id='é🦊'": "1",
		"SELECT COUNT(*) FROM workflow_steps WHERE run_id='é🦊 '": "1", "SELECT COUNT(*) FROM workflow_steps WHERE run_id LIKE '__'": "2",
		"SELECT COUNT(*) FROM workflow_steps WHERE run_id IN ('é🦊','%_')": "2", "SELECT 'é' AS `ü`": "é", "SELECT HEX(SUBSTRING('é🦊', 2))": "F09FA68A",
		"SELECT run_id FROM workflow_steps WHERE run_id>'%_'": "é🦊", "SELECT CONCAT_WS('', 'é', (SELECT run_id FROM workflow_steps WHERE log_seq=1))": "éé🦊",
	} {
		require.Equal(t, fmt.Sprint(sql.NullString{String: want, Valid: true}, nil), ask(s.writers, q), q)
		require.Equal(t, ask(s.readers, q), ask(s.writers, q), q)
	}
	for _, q := range []string{"SELECT JSON_VALID('\"\xff\"')", "SELECT CHAR_LENGTH('\xff')", "SELECT HEX('\xc3\\'\xff')", "SELECT * FROM nothing"} {
		require.Equal(t, ask(s.readers, q), ask(s.writers, q), q)
	}
}

// What is no text is refused as it is by a session that says what it sends, whether it is a literal or a value. MySQL takes any bytes in a
// string of JSON, with either: there it is ingest that has refused them.
func TestI7WhatIsNoTextIsRefusedHoweverItIsSent(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	onMySQL := stacktest.Engine(t) == devstack.MySQL
	const head, into = "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES ", "(?,1,?,?)"
	number := func(db *sql.DB, q string, args ...any) uint16 {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback()) }()
		if args == nil {
			_, err = tx.ExecContext(t.Context(), q)
		} else {
			st, failed := tx.PrepareContext(t.Context(), q)
			require.NoError(t, failed)
			defer func() { require.NoError(t, st.Close()) }()
			_, err = st.ExecContext(t.Context(), args...)
		}
		answer := new(mysql.MySQLError)
		require.ErrorAs(t, err, &answer, "%q %q", q, args)
		require.Equal(t, batcher.Never, Classify(err).Class, "%q %q", q, args)
		return answer.Number
	}
	for _, broken := range []string{"\xff", "\xc3", "é\xc3", "\xf4\x90\x80\x80", "\xc0\xaf", "\x80", "🦊\xf0\x9f\xa6"} {
		for i := range 3 {
			if i == 2 && onMySQL {
				continue
			}
			args := []any{"run", "node", []byte("1")}
			args[i] = map[bool]any{true: []byte(`"` + broken + `"`), false: broken}[i == 2]
			text := fmt.Sprintf("%s(%s,1,%s,%s)", head, appendString(nil, args[0].(string)), appendString(nil, args[1].(string)), appendString(nil, args[2].([]byte)))
			require.Equal(t, number(s.readers, text), number(s.writers, text), "%q", text)
			require.Equal(t, number(s.readers, head+into, args...), number(s.writers, head+into, args...), "%q as a value", broken)
		}
	}
	term := acquire(t, s, 0)
	for name, edit := range map[string]func(*wire.Event){
		"run":   func(ev *wire.Event) { ev.RunID = "\xff" },
		"node":  func(ev *wire.Event) { ev.Ops[0].NodeID = "é\xc3" },
		"state": func(ev *wire.Event) { ev.Ops[0].State = []byte("\"\xf0\x9f\"") },
		"id":    func(ev *wire.Event) { ev.Ops = append(ev.Ops, checkpointOp("\xff", 1, "1")) },
		"event": func(ev *wire.Event) { ev.Ops = append(ev.Ops, outboxOp("o", "\"\xff\"")) },
		"key":   func(ev *wire.Event) { ev.Ops = append(ev.Ops, v2Op(1, "\xff", "1")) },
		"label": func(ev *wire.Event) {
			op := v2Op(1, "", "1")
			op.V2.Label = "\xc3"
			ev.Ops = append(ev.Ops, op)
		},
	} {
		if onMySQL && (name == "state" || name == "event") {
			continue
		}
		for _, n := range []int{10, 300} { // as text, and as values
			events := many(1, n)
			bad := decoded(eventOf(uint64(n+1), "bad", stepOp(1, "1")))
			bad.Ops[0].Shallow = true // it was taken for valid
			edit(&bad)
			refused := named(t, s.Commit(t.Context(), batch(term, append(events, bad)...)))
			require.Equal(t, []uint64{uint64(n + 1)}, slices.Collect(maps.Keys(refused)), "%s, among %d", name, n)
			require.EqualValues(t, 1366, refused[uint64(n+1)].ErrorNumber, "%s, among %d", name, n)
		}
	}
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps"))
}

// A table that was taken over may keep its states in another character set: they are converted, not taken byte for byte.
func TestColumnsOfAnotherCharacterSetAreConvertedTo(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"state LONGTEXT CHARACTER SET latin1", "state JSON", "node_id VARCHAR(255) CHARACTER SET latin1"} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			exec(t, look, "ALTER TABLE workflow_steps MODIFY "+column+" NOT NULL")
			term := acquire(t, s, 0)
			var events []wire.Event
			for seq := range uint64(100) {
				ev := decoded(save(seq+1, "run", int32(seq), `"é"`))
				ev.Ops[0].NodeID = "é"
				events = append(events, ev)
			}
			commit(t, s, &term, events...)
			require.Equal(t, 100, one[int](t, look, `SELECT COUNT(*) FROM workflow_steps WHERE CAST(state AS CHAR)='"é"' AND node_id='é' AND CHAR_LENGTH(CAST(state AS CHAR))=3`))
		})
	}
}

// The operator gives a column another character set while persistd runs: its connections notice at once.
func TestACharacterSetThatChangesIsNoticedByTheConnectionsThatAreOpen(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	s := open(t, dsn, func(c *Config) { c.Owner, c.Writers = "two", 1 })
	require.NoError(t, s.Register(t.Context(), testLog))
	term, seq := acquire(t, s, 0), uint64(0)
	prepared := func() (is bool) {
		raw, err := s.writers.Conn(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, raw.Close()) }()
		require.NoError(t, raw.Raw(func(it any) error {
			is = len(it.(*conn).statements) > 0
			return nil
		}))
		return is
	}
	for i, alter := range []string{
		"COMMENT='the same'", "MODIFY node_id VARCHAR(255) CHARACTER SET latin1 NOT NULL", "MODIFY node_id VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL",
		"MODIFY run_id VARCHAR(255) CHARACTER SET latin1 NOT NULL", "MODIFY run_id VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL",
		"MODIFY state LONGTEXT CHARACTER SET latin1 NOT NULL",
	} {
		exec(t, look, "ALTER TABLE workflow_steps "+alter)
		var events []wire.Event
		for range 100 {
			seq++
			ev := decoded(save(seq, "rün", int32(seq), `"é"`))
			ev.Ops[0].NodeID = "é"
			events = append(events, ev)
		}
		commit(t, s, &term, events...)
		require.EqualValues(t, seq, one[int](t, look, `SELECT COUNT(*) FROM workflow_steps WHERE run_id='rün' AND node_id='é' AND CAST(state AS CHAR)='"é"'`), alter)
		require.True(t, i > 0 || prepared(), "rows go as values, where they can")
		if stacktest.Engine(t) == devstack.MariaDB {
			require.Equal(t, i%2 == 0, prepared(), alter)
		}
	}
}
