package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// withRuns is a stack with three runs of three steps.
func withRuns(t *testing.T) (*stack, client.Store[json.RawMessage]) {
	t.Helper()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st := s.open(client.WithDurability(client.Committed))
	for _, run := range []string{"a-1", "a-2", "b-1"} {
		for step := 1; step <= 3; step++ {
			require.NoError(t, st.SaveStep(t.Context(), run, step, "think", json.RawMessage(fmt.Sprintf(`{"n":%d}`, step))))
		}
	}
	return s, st
}

func (s *stack) runs(args ...string) (string, error) {
	return persistd(s.t.Context(), map[string]string{"PERSISTD_NATS_URL": s.url}, append([]string{"runs"}, args...)...)
}

func (s *stack) mustRuns(args ...string) string {
	s.t.Helper()
	out, err := s.runs(args...)
	require.NoError(s.t, err)
	return out
}

func TestRunsAreListedAndShown(t *testing.T) {
	t.Parallel()
	s, _ := withRuns(t)
	require.Regexp(t, `a-1 +│ – +│ +3 │ think │ .*\n.*a-2 .*\n.*b-1 `, s.mustRuns("ls"))
	out := s.mustRuns("ls", "--prefix=a-", "-o", "json")
	require.Equal(t, 2, strings.Count(out, "\n"))
	var line runLine
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &line))
	require.WithinDuration(t, time.Now(), line.UpdatedAt, time.Minute)
	line.UpdatedAt = time.Time{}
	require.Equal(t, runLine{RunID: "a-1", LastStep: 3, NodeID: "think"}, line)
	require.NotContains(t, s.mustRuns("ls", "--limit=1"), "a-2")
	require.Contains(t, s.mustRuns("ls", "--since=1h"), "b-1")

	require.Regexp(t, `(?s)1 │ think .*2 │ think .*3 │ think `, s.mustRuns("show", "a-1"))
	out = s.mustRuns("show", "a-1", "--from=2", "--limit=1", "-o", "json")
	var step stepLine
	require.NoError(t, json.Unmarshal([]byte(out), &step))
	require.Equal(t, 2, step.Step)
	require.JSONEq(t, `{"n":2}`, string(step.State))
	_, err := s.runs("show", "nobody")
	require.ErrorIs(t, err, client.ErrNotFound)
}

func TestARunIsCopiedUpToAStep(t *testing.T) {
	t.Parallel()
	s, st := withRuns(t)
	require.Equal(t, "copied a-1 to fork\n", s.mustRuns("copy", "a-1", "fork", "--upto=2"))
	_, step, err := st.LoadLatest(t.Context(), "fork")
	require.NoError(t, err)
	require.Equal(t, 2, step)
	_, err = s.runs("copy", "a-1", "fork")
	require.ErrorIs(t, err, client.ErrExists)
}

func TestRunsAreDeletedByIDOrByAgeAndADryRunOnlySaysWhich(t *testing.T) {
	t.Parallel()
	s, st := withRuns(t)
	s.exec("UPDATE workflow_steps SET created_at = created_at - INTERVAL 2 HOUR, updated_at = updated_at - INTERVAL 2 HOUR WHERE run_id LIKE 'a-%'")
	for _, args := range [][]string{{"delete"}, {"delete", "a-1", "--older-than=1h"}, {"delete", "--prefix=a"}} {
		_, err := s.runs(args...)
		require.ErrorContains(t, err, "delete runs: give", args)
	}
	out := s.mustRuns("delete", "--older-than=1h", "--dry-run")
	require.Regexp(t, `^a-1\tstep 3\t.*\na-2\tstep 3\t.*\nwould delete 2 runs last saved longer ago than 1h0m0s\n$`, out)
	require.Equal(t, "would delete run b-1, whose last step is 3\n", s.mustRuns("delete", "b-1", "--dry-run"))
	for _, args := range [][]string{{"delete", "--older-than=1h"}, {"delete", "b-1"}} {
		_, err := s.runs(args...)
		require.ErrorIs(t, err, errNotConfirmed, "nobody answers")
	}
	require.Equal(t, 9, s.rows("TRUE"))
	require.Equal(t, "deleted 1 run last saved longer ago than 1h0m0s\n", s.mustRuns("delete", "--older-than=1h", "--prefix=a-2", "--yes"))
	require.Equal(t, 6, s.rows("TRUE"))
	require.Equal(t, "deleted run b-1, whose last step is 3\n", s.mustRuns("delete", "b-1", "-y"))
	_, err := s.runs("delete", "b-1", "--yes")
	require.ErrorIs(t, err, client.ErrNotFound)
	require.ErrorContains(t, err, `delete run "b-1": not found`)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), client.CheckpointV2[json.RawMessage]{RunID: "v2", StepID: 1, State: json.RawMessage(`1`)}))
	require.Equal(t, "deleted run v2, which has V2 checkpoints and no steps\n", s.mustRuns("delete", "v2", "-y"))
	require.Equal(t, "deleted 1 run last saved longer ago than 1h0m0s\n", s.mustRuns("delete", "--older-than=1h", "-y"))
	require.Equal(t, "deleted 0 runs last saved longer ago than 1h0m0s\n", s.mustRuns("delete", "--older-than=1h"), "there is nothing to ask")
	require.Equal(t, 0, s.rows("TRUE"))
}
