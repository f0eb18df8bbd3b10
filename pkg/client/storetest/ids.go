package storetest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// hostile are ids that somebody's log, database or file system would confuse.
var hostile = []string{
	"a", "A", "á", "a\u0301", "à", "ä", "ss", "ß", "ı", "i", "I", "ﬁ", "fi", "１", "1", "01", " a", "  a", "a b", "a  b", "a\tb", "a\nb", "a\x00b", "\x00",
	".", "..", "a.b", "a..b", "*", ">", "a.*", "%", "_", "a%", "a_", "%41", "%2E", "~", "~" + strings.Repeat("a", 64), "/", "a/b", `\`, `\\`, "'", "''", `"`,
	"`", ";--", "$SYS", "{}", "<a>", "&amp;", "null", "NULL", "0", "-", "😀", "😁", "日本語", "\u00a0", "a\u00a0", "a\u200b", "\u202eabc", "\ufeffa",
	strings.Repeat("x", 255), strings.Repeat("x", 254) + "y", strings.Repeat("é", 255), strings.Repeat("𝄞", 255), strings.Repeat("𝄞", 254) + "é",
}

// refused are ids that nothing can have.
var refused = map[string]string{
	"empty": "", "a trailing space": "a ", "only a space": " ", "256 characters": strings.Repeat("é", 256), "not UTF-8": "a\xff",
}

var ids = []sentence{
	{"runs whose ids differ in anything are different runs", func(t *testing.T, s *suite) {
		// The ids are as they are, and so the tests' own for no longer than this one.
		requireHostile(t, func(n int, id string) {
			save(t, s.st, id, n, State{N: int64(n), Text: id})
		}, func(n int, id string) {
			requireLatest(t, s.st, id, n, State{N: int64(n), Text: id})
		})
		for _, id := range hostile {
			require.NoError(t, s.st.DeleteRun(t.Context(), id))
		}
	}},
	{"named checkpoints whose ids differ in anything are different", func(t *testing.T, s *suite) {
		requireHostile(t, func(n int, id string) {
			require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, State{N: int64(n), Text: id}, n))
		}, func(n int, id string) {
			got, step, err := s.st.LoadCheckpoint(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, n, step)
			requireState(t, State{N: int64(n), Text: id}, got)
		})
	}},
	{"labels that differ in anything are different labels", func(t *testing.T, s *suite) {
		run := unique("run")
		requireHostile(t, func(n int, id string) {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, Label: id})
		}, func(n int, id string) {
			got, err := s.st.LoadCheckpointV2ByLabel(t.Context(), run, id)
			require.NoError(t, err)
			require.Equal(t, n, got.StepID)
			require.Equal(t, id, got.Label)
		})
	}},
	{"idempotency keys that differ in anything are different keys", func(t *testing.T, s *suite) {
		run := unique("run")
		requireHostile(t, func(n int, id string) {
			used, err := s.st.CheckIdempotency(t.Context(), id)
			require.NoError(t, err)
			require.False(t, used)
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, IdempotencyKey: id})
		}, func(n int, id string) {
			used, err := s.st.CheckIdempotency(t.Context(), id)
			require.NoError(t, err)
			require.True(t, used)
			got, err := s.st.LoadCheckpointV2(t.Context(), run, n)
			require.NoError(t, err)
			require.Equal(t, id, got.IdempotencyKey)
		})
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
	}},
	{"node ids are kept as they are", func(t *testing.T, s *suite) {
		run := unique("run")
		nodes := append([]string{"", " ", "a "}, hostile...)
		for n, id := range nodes {
			require.NoError(t, s.st.SaveStep(t.Context(), run, n, id, State{}))
		}
		for n, step := range all(t, s.st.Steps(t.Context(), run, 0, 0)) {
			require.Equal(t, nodes[n], step.NodeID)
		}
	}},
	{"node ids that cannot be stored are refused", func(t *testing.T, s *suite) {
		for _, id := range []string{strings.Repeat("é", 256), "a\xff"} {
			require.ErrorIs(t, s.st.SaveStep(t.Context(), unique("run"), 1, id, State{}), client.ErrInvalidID)
		}
	}},
	{"ids that nothing can have are refused by whatever takes one", func(t *testing.T, s *suite) {
		for why, id := range refused {
			for name, call := range callsWithRun(s.st) {
				require.ErrorIs(t, call(t.Context(), id), client.ErrInvalidID, "%s of an id that is %s", name, why)
			}
			require.ErrorIs(t, s.st.CopyRun(t.Context(), unique("run"), 1, id), client.ErrInvalidID, why)
			require.ErrorIs(t, s.st.SaveCheckpoint(t.Context(), id, State{}, 1), client.ErrInvalidID, why)
			_, _, err := s.st.LoadCheckpoint(t.Context(), id)
			require.ErrorIs(t, err, client.ErrInvalidID, why)
			err = s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: unique("run")}, client.WithEvents(event(id)))
			require.ErrorIs(t, err, client.ErrInvalidID, why)
			if id == "" { // none at all, of a label and a key
				continue
			}
			err = s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: unique("run"), Label: id})
			require.ErrorIs(t, err, client.ErrInvalidID, why)
			err = s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: unique("run"), IdempotencyKey: id})
			require.ErrorIs(t, err, client.ErrInvalidID, why)
			_, err = s.st.LoadCheckpointV2ByLabel(t.Context(), unique("run"), id)
			require.ErrorIs(t, err, client.ErrInvalidID, why)
			_, err = s.st.CheckIdempotency(t.Context(), id)
			require.ErrorIs(t, err, client.ErrInvalidID, why)
		}
	}},
	{"an event's id is a string", func(t *testing.T, s *suite) {
		ev := client.Event{Meta: map[string]any{client.MetaEventID: 7}}
		err := s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: unique("run")}, client.WithEvents(ev))
		require.ErrorIs(t, err, client.ErrInvalidID)
	}},
}

// requireHostile saves something under every hostile id before it looks at any.
func requireHostile(t *testing.T, save, check func(n int, id string)) {
	t.Helper()
	for n, id := range hostile {
		save(n, id)
	}
	for n, id := range hostile {
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("the id is %q", id)
				}
			}()
			check(n, id)
		}()
	}
}
