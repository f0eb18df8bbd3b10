package langgraphgo_test

import (
	"testing"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// inMySQL is a store of this package on one without a log.
func inMySQL(t *testing.T, dsn string) *langgraphgo.Store[state] {
	t.Helper()
	mysql, err := client.NewMySQLStore[state](dsn)
	require.NoError(t, err)
	st := langgraphgo.New(mysql)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func TestTheContractHoldsInMySQL(t *testing.T) {
	t.Parallel()
	st := inMySQL(t, stacktest.Database(t))
	contract(t, func(*testing.T) store.Store[state] { return st })
}

func TestTheEngineRunsInMySQL(t *testing.T) {
	t.Parallel()
	st := inMySQL(t, stacktest.Database(t))
	for name, run := range engineCases {
		t.Run(name, func(t *testing.T) { run(t, st, t.Name()) })
	}
}

// A fleet is changed over worker by worker: LangGraph-Go's own store makes the tables, and goes on using them beside ours.
func TestLangGraphGosOwnMySQLStoreSharesTheDatabase(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	theirs, err := store.NewMySQLStore[state](dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, theirs.Close()) })
	write := func(st store.Store[state], who string) {
		t.Helper()
		require.NoError(t, st.SaveStep(t.Context(), who, 3, "node", state{Text: who}))
		require.NoError(t, st.SaveCheckpoint(t.Context(), who, state{Text: who}, 4))
		require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{
			RunID: who, StepID: 5, State: state{Text: who}, IdempotencyKey: key(who), Timestamp: time.Now(), Label: "label",
		}))
	}
	write(theirs, "theirs")
	ours := inMySQL(t, dsn)
	write(ours, "ours")
	write(theirs, "theirs, on the tables as ours has them")
	for _, st := range []store.Store[state]{theirs, ours} {
		for _, who := range []string{"theirs", "ours", "theirs, on the tables as ours has them"} {
			requireLatest(t, st, who, 3, state{Text: who})
			got, step, err := st.LoadCheckpoint(t.Context(), who)
			require.NoError(t, err)
			require.Equal(t, 4, step)
			require.Equal(t, state{Text: who}, got)
			requireV2(t, st, who, 5, who)
			requireKey(t, st, key(who), true)
			require.Error(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{
				RunID: who, StepID: 6, IdempotencyKey: key(who), Timestamp: time.Now(),
			}), "a key is used once, by whomever")
		}
	}
	final, err := engine(t, theirs, nil, graph.Options{}, abc()).Run(t.Context(), "run", state{})
	require.NoError(t, err)
	require.NoError(t, engine(t, theirs, nil, graph.Options{}, abc()).SaveCheckpoint(t.Context(), "run", "cp"))
	resumed, err := engine(t, ours, nil, graph.Options{}, abc()).ResumeFromCheckpoint(t.Context(), "cp", "run/2", "c")
	require.NoError(t, err)
	require.Equal(t, append1(final, state{Done: []int{3}}), resumed)
	requireLatest(t, theirs, "run/2", 1, resumed)
}
