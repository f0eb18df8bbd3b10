package storetest

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var noon = time.Date(2024, 2, 29, 12, 0, 0, 123456000, time.UTC)

var checkpointsV2 = []sentence{
	{"a V2 checkpoint comes back with all that it has", func(t *testing.T, s *suite) {
		saved := client.CheckpointV2[State]{
			RunID: unique("run"), StepID: 3, State: State{N: 7, Text: "x"}, Frontier: []any{"a", map[string]any{"node": "b", "n": 1.5}},
			RecordedIOs: map[string]any{"GET /": []any{"200", nil, true}}, RNGSeed: -6148914691236517206, IdempotencyKey: unique("key"),
			Timestamp: noon, Label: "after validation",
		}
		saveV2(t, s.st, saved)
		got, err := s.another(t).LoadCheckpointV2(t.Context(), saved.RunID, 3)
		require.NoError(t, err)
		requireV2(t, saved, got)
	}},
	{"what a V2 checkpoint was not given is empty", func(t *testing.T, s *suite) {
		run := unique("run")
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, Timestamp: noon})
		got, err := s.st.LoadCheckpointV2(t.Context(), run, 0)
		require.NoError(t, err)
		requireV2(t, client.CheckpointV2[State]{RunID: run, Timestamp: noon}, got)
		require.Nil(t, got.Frontier)
		require.Nil(t, got.RecordedIOs)
	}},
	{"a V2 checkpoint that was never saved is not found", func(t *testing.T, s *suite) {
		run := unique("run")
		for range 2 {
			_, err := s.st.LoadCheckpointV2(t.Context(), run, 4)
			require.ErrorIs(t, err, client.ErrNotFound)
			_, err = s.st.LoadCheckpointV2ByLabel(t.Context(), run, "b")
			require.ErrorIs(t, err, client.ErrNotFound)
			_, err = s.st.LoadCheckpointV2ByLabel(t.Context(), run, "")
			require.ErrorIs(t, err, client.ErrNotFound, "no label is not a label")
			_, err = s.st.LoadLatestCheckpointV2(t.Context(), unique("run"))
			require.ErrorIs(t, err, client.ErrNotFound)
			require.Empty(t, all(t, s.st.ListCheckpointsV2(t.Context(), unique("run"))))
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 3, Label: "a"})
		}
	}},
	{"of several V2 checkpoints the one with the highest step is the latest, and that of a label", func(t *testing.T, s *suite) {
		run := unique("run")
		for step, label := range map[int]string{2: "draft", 10: "draft", 9: "final", 11: "", -1: "draft"} {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: step, Label: label, State: State{N: int64(step)}})
		}
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, 11, got.StepID)
		require.Equal(t, int64(11), got.State.N)
		got, err = s.st.LoadCheckpointV2ByLabel(t.Context(), run, "draft")
		require.NoError(t, err)
		require.Equal(t, 10, got.StepID)
		got, err = s.st.LoadCheckpointV2ByLabel(t.Context(), run, "final")
		require.NoError(t, err)
		require.Equal(t, 9, got.StepID)
	}},
	{"V2 checkpoints are listed by rising step, however many", func(t *testing.T, s *suite) {
		run, count := unique("run"), 1100
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			for n := count; n > 0; n-- {
				if err := tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: n - 10, State: State{N: int64(n)}}); err != nil {
					return err
				}
			}
			return nil
		}))
		list := all(t, s.st.ListCheckpointsV2(t.Context(), run))
		require.Len(t, list, count)
		for n, cp := range list {
			require.Equal(t, n-9, cp.StepID)
			require.Equal(t, int64(n+1), cp.State.N)
			require.Equal(t, run, cp.RunID)
		}
		for cp, err := range s.st.ListCheckpointsV2(t.Context(), run) {
			require.NoError(t, err)
			if cp.StepID == 0 {
				break
			}
		}
	}},
	{"the same run and step again replaces all of a V2 checkpoint", func(t *testing.T, s *suite) {
		first := client.CheckpointV2[State]{
			RunID: unique("run"), StepID: 1, State: State{N: 1, Text: "x"}, Frontier: "f", RecordedIOs: "r", RNGSeed: 1, IdempotencyKey: unique("key"),
			Timestamp: noon, Label: "first",
		}
		saveV2(t, s.st, first)
		second := client.CheckpointV2[State]{RunID: first.RunID, StepID: 1, State: State{N: 2}, Timestamp: noon.Add(time.Hour), Label: "second", RNGSeed: 2}
		saveV2(t, s.another(t), second)
		got, err := s.st.LoadCheckpointV2(t.Context(), first.RunID, 1)
		require.NoError(t, err)
		requireV2(t, second, got)
		_, err = s.st.LoadCheckpointV2ByLabel(t.Context(), first.RunID, "first")
		require.ErrorIs(t, err, client.ErrNotFound)
		require.Len(t, all(t, s.st.ListCheckpointsV2(t.Context(), first.RunID)), 1)
	}},
	{"a V2 checkpoint is no step, and no named checkpoint", func(t *testing.T, s *suite) {
		run := unique("run")
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 1, Label: run})
		requireNoRun(t, s.st, run)
		_, _, err := s.st.LoadCheckpoint(t.Context(), run)
		require.ErrorIs(t, err, client.ErrNotFound)
	}},
	{"timestamps are kept to the microsecond, in UTC", func(t *testing.T, s *suite) {
		run := unique("run")
		for n, at := range []time.Time{
			noon, noon.Add(999 * time.Nanosecond), noon.In(time.FixedZone("", 5*3600+30*60)), time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC),
		} {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, Timestamp: at})
			got, err := s.st.LoadCheckpointV2(t.Context(), run, n)
			require.NoError(t, err)
			require.Equal(t, at.UTC().Truncate(time.Microsecond), got.Timestamp)
			require.Equal(t, time.UTC, got.Timestamp.Location())
		}
	}},
	{"a V2 checkpoint without a timestamp has that of its saving", func(t *testing.T, s *suite) {
		run, before := unique("run"), time.Now()
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run})
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.WithinRange(t, got.Timestamp, before.Add(-time.Minute), time.Now().Add(time.Minute))
	}},
	{"a timestamp that no database holds is refused", func(t *testing.T, s *suite) {
		for _, at := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)} {
			err := s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: unique("run"), Timestamp: at})
			require.ErrorIs(t, err, client.ErrInvalidState)
		}
	}},
	{"all 64 bits of a seed are kept", func(t *testing.T, s *suite) {
		run := unique("run")
		for n, seed := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1<<53 + 1} {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, RNGSeed: seed})
			got, err := s.st.LoadCheckpointV2(t.Context(), run, n)
			require.NoError(t, err)
			require.Equal(t, seed, got.RNGSeed)
		}
	}},
	{"step ids are any number of 32 bits", func(t *testing.T, s *suite) {
		run := unique("run")
		for _, step := range []int{math.MaxInt32, 0, math.MinInt32, -1} {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: step})
		}
		var found []int
		for _, cp := range all(t, s.st.ListCheckpointsV2(t.Context(), run)) {
			found = append(found, cp.StepID)
		}
		require.Equal(t, []int{math.MinInt32, -1, 0, math.MaxInt32}, found)
	}},
	{"frontier and recorded I/O are any JSON", func(t *testing.T, s *suite) {
		run := unique("run")
		values := []any{nil, true, 1.5, "text", "", []any{}, map[string]any{}, []any{nil, []any{map[string]any{"a": "é<😀>\u0000"}}}}
		for n, v := range values {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, Frontier: v, RecordedIOs: values[len(values)-1-n]})
			got, err := s.st.LoadCheckpointV2(t.Context(), run, n)
			require.NoError(t, err)
			require.Equal(t, v, got.Frontier)
			require.Equal(t, values[len(values)-1-n], got.RecordedIOs)
		}
		type item struct{ Node string }
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 100, Frontier: []item{{"a"}}, RecordedIOs: json.RawMessage(`{"n":1}`)})
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, []any{map[string]any{"Node": "a"}}, got.Frontier)
		require.Equal(t, map[string]any{"n": 1.0}, got.RecordedIOs)
	}},
	{"a V2 checkpoint is committed when it is saved, whatever the durability", func(t *testing.T, s *suite) {
		run, key := unique("run"), unique("key")
		require.NoError(t, s.st.SaveCheckpointV2(async(t), client.CheckpointV2[State]{RunID: run, StepID: 1, IdempotencyKey: key}))
		got, err := s.another(t).LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, 1, got.StepID)
		err = s.st.SaveCheckpointV2(async(t), client.CheckpointV2[State]{RunID: run, StepID: 2, IdempotencyKey: key})
		require.ErrorIs(t, err, client.ErrDuplicate)
	}},
}

func requireV2(t *testing.T, want, got client.CheckpointV2[State]) {
	t.Helper()
	requireState(t, want.State, got.State)
	want.State, got.State = State{}, State{}
	require.Equal(t, want, got)
}
