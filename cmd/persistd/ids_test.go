package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// named is a state that tells of which run it is.
type named struct {
	Run string `json:"run"`
	N   int64  `json:"n"`
}

// hostileIDs are runs that something on the way might take for another one, or for something else.
var hostileIDs = []string{
	"a", "A", "b", " a", "a\t", "a\n", "a\x00", "\x00", "a\u00a0", "a\u3000", "a b", "a  b", // blanks; trailing ones that are no space
	".", "..", "a.b", "a.b.", ".a", "*", ">", "a.*", "a.>", "persistd.write.default.run.a", "$JS.API.STREAM.PURGE.PERSISTD", // subjects
	"/", "a/b", "../../etc/passwd", "%", "%41", "%2E", "%%", "%s", "a%", "a_", "_", "-", "+", // paths, encodings, formats, LIKE
	"~", "~a", "~" + strings.Repeat("0", 64), wire.Token(strings.Repeat("é", 255)), // what looks like a token
	`'`, `"`, "`", `\`, `\\`, `\'`, `\"`, `\0`, `\u0041`, `''`, `' OR '1'='1`, `'; DROP TABLE workflow_steps; --`, // literals
	"?", ":id", "{{partition(8,1,3)}}", "${jndi:ldap://x}", "<script>", "&amp;", `{"run_id":"a"}`, "null", "NULL", "0", "-1", "1e3", "true",
	"\n", "\r\n", "\x1a", "\x7f", "\x1b[31m", "a\u2028b", "\ufeffa", "a\u200bb", "a\u200db", "\u202eabc", "\ufffd", "\U0010ffff", // controls
	"é", "e\u0301", "e", "E", "É", "ß", "ss", "ẞ", "ı", "i", "I", "İ", "Å", "\u212b", "A\u030a", "ﬁ", "fi", "Ａ", "ａ", "α", "а", // folding
	"🦊", "🦊🦊", "👩‍👩‍👧‍👦", "👍", "👍🏽", "日本", "नमस्ते", "مرحبا", // scripts
	strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 255), // where tokens become hashes
	strings.Repeat("é", 255), strings.Repeat("𝄞", 255), strings.Repeat("𝄞", 254) + "🦊", strings.Repeat("%", 255), strings.Repeat("'", 255),
}

func TestHostileIDsAreDistinctRunsAndComeBackExactly(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	g := newGate(t)
	var cases readCases
	s.serveHere(cases.count(g.hooks()))
	st, err := client.Open[named](t.Context(), s.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	for i, id := range hostileIDs {
		require.NoError(t, st.SaveStep(t.Context(), id, 1, id, named{Run: id, N: int64(i)}), "%q", id)
	}
	total := len(hostileIDs)
	requireAll := func() {
		for i, id := range hostileIDs {
			got, step, err := st.LoadLatest(t.Context(), id)
			require.NoError(t, err, "%q", id)
			require.Equal(t, 1, step)
			require.Equal(t, named{Run: id, N: int64(i)}, got)
		}
	}
	requireAll()
	require.EqualValues(t, total, cases.tail.Load(), "all were read from the log")
	require.Zero(t, s.rows("TRUE"))

	g.open()
	s.eventually("all are rows", func() bool { return s.rows("TRUE") == total })
	requireAll()
	require.EqualValues(t, total, cases.row.Load()+cases.overtaken.Load(), "all were read from MySQL")
	for i, id := range hostileIDs {
		require.Equal(t, 1, s.rows("HEX(run_id) = ? AND HEX(node_id) = ?", fmt.Sprintf("%X", id), fmt.Sprintf("%X", id)), "%q", id)
		var text []byte
		require.NoError(t, s.db.QueryRow("SELECT state FROM workflow_steps WHERE run_id = ?", id).Scan(&text))
		var got named
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, named{Run: id, N: int64(i)}, got)
	}
}

func TestIDsThatCannotBeStoredAreRefusedAtTheClientAndAtIngest(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open()
	for _, row := range []struct{ name, id, client, code, ingest string }{
		{"an empty id", "", "id is empty", wire.CodeID, "id is empty"},
		{"a trailing space", "a ", "id ends in a space", wire.CodeID, "id ends in a space"},
		{"256 characters", strings.Repeat("é", 256), "id has 256 characters, more than the 255", wire.CodeID, "id has 256 characters, more than the 255"},
		{"a byte that is not UTF-8", "a\xff", "id is not valid UTF-8", wire.CodeNotJSON, "invalid UTF-8"},
		{"a surrogate as bytes", "a\xed\xa0\x80", "id is not valid UTF-8", wire.CodeNotJSON, "invalid UTF-8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := st.SaveStep(t.Context(), row.id, 1, "n", json.RawMessage(`{}`))
			require.ErrorIs(t, err, client.ErrInvalidID)
			require.ErrorContains(t, err, row.client)
			_, _, err = st.LoadLatest(t.Context(), row.id)
			require.ErrorIs(t, err, client.ErrInvalidID)
			require.ErrorContains(t, err, row.client)

			// As a client of another make might: the id in the body, under whatever token.
			token := wire.Token(row.id)
			if token == "" {
				token = "empty"
			}
			body := fmt.Sprintf(`{"run_id":"%s","step":1,"node_id":"raw","state":{}}`, row.id)
			ack, err := s.js.PublishMsg(t.Context(), &nats.Msg{Subject: "persistd.write.default.run." + token, Data: []byte(body)})
			require.NoError(t, err)
			p := s.partitionOf(token)
			require.GreaterOrEqual(t, p, 0)
			s.eventually("dead letter is kept", func() bool {
				why, found, err := d.stream.DeadLetters().DeadLetter(t.Context(), p, ack.Sequence)
				return err == nil && found && why.Code == row.code && strings.Contains(why.Reason, row.ingest)
			})
		})
	}
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "good", 1, "n", json.RawMessage(`{}`)))
	require.Equal(t, 1, s.rows("TRUE"), "nothing but what could be stored was")
}

// partitionOf is where the server put the last event under the token; -1 when that is not known.
func (s *stack) partitionOf(token string) int {
	st, err := s.js.Stream(s.t.Context(), "PERSISTD")
	if err != nil {
		return -1
	}
	m, err := st.GetLastMsgForSubject(s.t.Context(), "persistd.log.*.default.run."+token)
	if err != nil {
		return -1
	}
	address, err := wire.Subjects{Prefix: "persistd"}.ParseLog(m.Subject)
	if err != nil {
		return -1
	}
	return address.Partition
}

func TestAnyIDComesBackFromThePartitionThatTheServerChose(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st, err := client.Open[named](t.Context(), s.url)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	anyID := rapid.StringN(1, wire.MaxID, -1).Filter(func(id string) bool { return wire.CheckID(id) == nil })
	var step atomic.Int64 // rises, so that what is saved now is what LoadLatest returns, whatever was saved before
	comesBack := func(ctx context.Context, id string) error {
		n := step.Add(1)
		if err := st.SaveStep(ctx, id, int(n), "n", named{id, n}); err != nil {
			return err
		}
		got, _, err := st.LoadLatest(ctx, id)
		switch {
		case err != nil:
			return err
		case got != named{id, n}:
			return fmt.Errorf("saved %q, got %+v", id, got)
		case s.partitionOf(wire.Token(id)) != wire.Partition(wire.DefaultNamespace, id, 8):
			return fmt.Errorf("%q is in another partition than the one it is looked for in", id)
		case s.rows("HEX(run_id) = ? AND step = ?", fmt.Sprintf("%X", id), n) != 1:
			return fmt.Errorf("%q has no row", id)
		}
		return nil
	}
	rapid.Check(t, func(rt *rapid.T) {
		ids := rapid.SliceOfNDistinct(anyID, 4, 4, rapid.ID).Draw(rt, "ids")
		ctx := client.ContextWithDurability(t.Context(), client.Committed)
		var all errgroup.Group
		for _, id := range ids {
			all.Go(func() error { return comesBack(ctx, id) })
		}
		if err := all.Wait(); err != nil {
			rt.Fatal(err)
		}
	})
}
