package mysqlstore

import (
	"database/sql"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// putV2 writes a row of workflow_checkpoints_v2, whose JSON is of about size bytes each.
func putV2(t testing.TB, db *sql.DB, run string, step int, label string, size int) {
	t.Helper()
	exec(t, db, "INSERT INTO workflow_checkpoints_v2 (run_id, step_id, state, frontier, rng_seed, recorded_ios, idempotency_key, timestamp, label,"+
		" attempt, log_gen, log_seq) VALUES (?, ?, ?, ?, ?, ?, ?, '2020-01-01 00:00:00.000001', ?, 3, 1, ?)", run, step, long(size), long(size), math.MinInt64,
		long(size), fmt.Sprint("key", step), label, step+100)
}

func TestAV2CheckpointIsReadByStepByLabelOrAsTheHighest(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for _, step := range []int{7, -1, 3, 5} {
		putV2(t, look, "run", step, map[int]string{7: "", 3: "label", 5: "label", -1: "Label"}[step], 10)
	}
	putV2(t, look, "Run", 9, "label", 10)
	exec(t, look, "UPDATE workflow_checkpoints_v2 SET label=NULL, log_gen=9, frontier='{\"f\": [1]}', created_at='2021-01-01 00:00:00.000009' WHERE step_id=7")
	read := func(q wire.V2Request) *wire.V2Record {
		q.RunID = "run"
		cp, err := s.CheckpointV2(t.Context(), q)
		require.NoError(t, err)
		return cp
	}
	three, four := int32(3), int32(4)
	got := read(wire.V2Request{})
	require.JSONEq(t, `{"f": [1]}`, string(got.Frontier))
	got.Frontier = nil
	require.Equal(t, &wire.V2Record{
		StepID: 7, RNGSeed: math.MinInt64, IdempotencyKey: "key7", Timestamp: time.Date(2020, 1, 1, 0, 0, 0, 1000, time.UTC), Attempt: 3,
		SavedAt: time.Date(2021, 1, 1, 0, 0, 0, 9000, time.UTC), State: []byte(long(10)), RecordedIOs: []byte(long(10)),
	}, got)
	require.EqualValues(t, 103, read(wire.V2Request{StepID: &three}).Sequence)
	require.EqualValues(t, 5, read(wire.V2Request{Label: "label"}).StepID, "the highest step of the label")
	require.EqualValues(t, -1, read(wire.V2Request{Label: "Label"}).StepID)
	require.Nil(t, read(wire.V2Request{StepID: &four}))
	require.Nil(t, read(wire.V2Request{Label: "none"}))
	require.Nil(t, read(wire.V2Request{Label: "label "}), "the database does not tell it from the one without the space")
	require.Nil(t, read(wire.V2Request{Label: "\xff"}))
	none, err := s.CheckpointV2(t.Context(), wire.V2Request{RunID: "nobody"})
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestV2CheckpointsAreListedInPagesOfTheirBytes(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for step := range 9 {
		putV2(t, look, "run", step, "", pageBytes/6) // three of them make half a page
	}
	putV2(t, look, "run", 9, "", pageBytes)
	putV2(t, look, "run", math.MaxInt32, "", 10)
	var all []int
	var sizes []int
	for next := new(int32); next != nil; {
		page, err := s.CheckpointsV2(t.Context(), wire.V2ListRequest{RunID: "run", From: *next})
		require.NoError(t, err)
		for _, cp := range page.Checkpoints {
			all = append(all, int(cp.StepID))
		}
		sizes = append(sizes, len(page.Checkpoints))
		next = page.Next
	}
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, math.MaxInt32}, all)
	require.Equal(t, []int{2, 2, 2, 2, 1, 1, 1}, sizes)
	page, err := s.CheckpointsV2(t.Context(), wire.V2ListRequest{RunID: "run", From: 4, Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.Checkpoints, 1)
	require.EqualValues(t, 5, *page.Next)
}

func TestAV2CheckpointIsFoundByItsKeys(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	for i := range 400 {
		putV2(t, look, fmt.Sprint("run", i%20), i, fmt.Sprint("label", i/100), 10)
	}
	s, cost := counting(t, dsn)
	for _, q := range []wire.V2Request{{RunID: "run3"}, {RunID: "run3", StepID: new(int32)}, {RunID: "run3", Label: "label1"}} {
		if q.StepID != nil {
			*q.StepID = 203
		}
		c := cost(func() {
			cp, err := s.CheckpointV2(t.Context(), q)
			require.NoError(t, err)
			require.NotNil(t, cp)
		})
		require.LessOrEqual(t, looked(c), 10, "%+v: %v", q, c) // by label: the 5 checkpoints of the label
	}
}

func TestKeysAndAttemptsAreReadAsTheyStand(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	exec(t, look, "INSERT INTO idempotency_keys (key_value) VALUES ('foreign')")
	exec(t, look, "INSERT INTO idempotency_keys (key_value, run_id, content_hash, log_gen, log_seq) VALUES ('ours', 'run', REPEAT('h', 32), 1, 7), ('other', 'run', REPEAT('o', 32), 9, 7)")
	keys, err := s.Keys(t.Context(), []string{"ours", "none", "foreign", "Ours", "other"})
	require.NoError(t, err)
	hash := func(c byte) (h [32]byte) {
		for i := range h {
			h[i] = c
		}
		return h
	}
	require.ElementsMatch(t, []readpath.Key{
		{Key: "foreign"}, {Key: "ours", ContentHash: hash('h'), Sequence: 7}, {Key: "other", ContentHash: hash('o')},
	}, keys)
	keys, err = s.Keys(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, keys)

	putRun(t, look, "run", 4, 2)
	for run, want := range map[string]uint32{"run": 4, "Run": 0} {
		n, err := s.Attempt(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
}

func TestAStoreWithoutALogReadsNothingOfIt(t *testing.T) {
	t.Parallel()
	_, dsn, _ := ready(t)
	s := open(t, dsn)
	_, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run"})
	require.ErrorIs(t, err, errNotRegistered)
	_, err = s.Changes(t.Context(), "run", 0, readpath.Cursor{})
	require.ErrorIs(t, err, errNotRegistered)
	_, err = s.CheckpointV2(t.Context(), wire.V2Request{RunID: "run"})
	require.ErrorIs(t, err, errNotRegistered)
	_, err = s.CheckpointsV2(t.Context(), wire.V2ListRequest{RunID: "run"})
	require.ErrorIs(t, err, errNotRegistered)
	_, err = s.Keys(t.Context(), []string{"key"})
	require.ErrorIs(t, err, errNotRegistered)
}
