package stream

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/wire"
)

// hostile are ids that want to be subjects, wildcards, separators or each other.
var hostile = []string{
	"run-001", "a.b.c", "*", ">", "a.>", " .", " x", "a/b", "100%", "%41", "~", "~abc", `"quoted"`, "line\nbreak", "tab\t", "nul\x00", "$JS.API.INFO",
	"run", "Run", "rün", "ru\u0308n", "\U0001F680", "{{partition(1,1)}}", "persistd.log.0.default.run.x",
	string(make([]byte, 255)), fmt.Sprintf("%0255d", 7),
}

// What a worker publishes by hand is moved into its partition by the server itself.
func TestTheServerPutsWritesIntoPartitions(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 8})
	nc := js.Conn()
	reply, err := nc.Request("persistd.write.default.run.run-001", []byte(`{"step":1,"node_id":"start","state":{"n":1}}`), s.cfg.RequestTimeout)
	require.NoError(t, err)
	require.JSONEq(t, `{"stream":"PERSISTD","seq":1}`, string(reply.Data))
	m, err := s.get.next(within(t), "persistd.log.>", 1)
	require.NoError(t, err)
	p := wire.Partition("default", "run-001", 8)
	require.Equal(t, fmt.Sprintf("persistd.log.%d.default.run.run-001", p), m.Subject)
	ev := subjects.Decode(m)
	require.Nil(t, ev.Poison)
	require.Equal(t, "run-001", ev.RunID)
	require.Equal(t, p, ev.Partition)

	for i, id := range hostile {
		ack, err := js.Publish(within(t), subjects.Write("default", wire.KindRun, id), wire.AppendEvent(nil, wire.KindRun, id, 0, nil, []wire.Op{{Type: wire.OpStep, Step: int32(i), NodeID: "n", State: []byte(`{}`)}}))
		require.NoError(t, err, "%q", id)
		events, err := collect(t, s, wire.Partition("default", id, 8), id, 0)
		require.NoError(t, err, "%q", id)
		if id == "run-001" {
			events = events[1:]
		}
		require.Len(t, events, 1, "%q", id)
		require.Equal(t, ack.Sequence, events[0].Message.Sequence)
		require.Nil(t, events[0].Poison, "%q: %v", id, events[0].Poison)
		require.Equal(t, id, events[0].RunID)
	}
}

// wire.Partition is what the server computes, for every id and any number of partitions.
func TestPartitionAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, maxPartitions).Draw(t, "partitions")
		ns := rapid.StringMatching(`[a-z][a-z0-9_-]{0,15}`).Draw(t, "namespace")
		id := rapid.StringN(1, 300, -1).Draw(t, "id")
		source, destination := subjects.Transform(n)
		tr, err := server.NewSubjectTransform(source, destination)
		require.NoError(t, err)
		got, err := tr.Match(subjects.Write(ns, wire.KindRun, id))
		require.NoError(t, err)
		require.Equal(t, subjects.Log(wire.Partition(ns, id, n), ns, wire.KindRun, id), got)
	})
}

// An account without a limit tells nothing, and refuses: whatever it has, the log leaves room for what stands beside it.
func TestEnsureFindsASizeThatTheServerTakes(t *testing.T) {
	t.Parallel()
	const beside = minDeadLetterBytes + marksBytes
	for name, row := range map[string]struct{ all, log, letters int64 }{
		"much":                          {1 << 40, defaultMaxBytes, defaultMaxBytes / 16},
		"some":                          {1 << 30, defaultMaxBytes >> 4, minDeadLetterBytes},
		"room for the log alone":        {defaultMaxBytes + 1, defaultMaxBytes >> 1, defaultMaxBytes >> 5},
		"room for what is beside it":    {defaultMaxBytes + beside, defaultMaxBytes, minDeadLetterBytes},
		"room for half the log alone":   {defaultMaxBytes>>1 + beside - 1, defaultMaxBytes >> 2, defaultMaxBytes >> 6},
		"hardly enough for the letters": {minDeadLetterBytes + marksBytes + defaultMaxBytes>>7, defaultMaxBytes >> 7, minDeadLetterBytes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := connectTo(t, startNATS(t, row.all).URL())
			ensure(t, js, Config{})
			require.Equal(t, row.log, info(t, js, "PERSISTD").Config.MaxBytes)
			require.Equal(t, row.letters, info(t, js, "PERSISTD_DLQ").Config.MaxBytes)
			require.EqualValues(t, marksBytes, info(t, js, "PERSISTD_MARKS").Config.MaxBytes)
			ensure(t, js, Config{})
			require.Equal(t, row.letters, info(t, js, "PERSISTD_DLQ").Config.MaxBytes, "only the letters of a new log grow")
		})
	}
}

func TestEnsureSaysWhatToDoAboutALogThatDoesNotFit(t *testing.T) {
	t.Parallel()
	js := connectTo(t, startNATS(t, 1<<30).URL())
	_, err := Ensure(within(t), js, Config{Name: "OTHER", Subjects: wire.Subjects{Prefix: "other"}, MaxBytes: 2 << 30}, zap.NewNop())
	require.ErrorContains(t, err, "raise max_file_store")
}

// A log that was made before there were marks, or by hand, may have reserved all that the account may store.
func TestMarksAreMadeInWhatTheLogLeft(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		left int64
		err  string
	}{
		"plenty":            {100 << 20, ""},
		"hardly anything":   {2 << 20, ""},
		"nothing":           {0, "make stream PERSISTD_MARKS: all storage of the account is reserved by other streams (it needs 1 MiB: "},
		"less than is used": {1 << 19, "nats stream edit PERSISTD --max-bytes="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const all = 512 << 20
			js := connectTo(t, startNATS(t, all).URL())
			const letters = 100 << 20
			cfg := Config{MaxBytes: all - letters - row.left, DeadLetterBytes: letters}.WithDefaults()
			log := (&ensurer{cfg: cfg}).logConfig()
			log.MaxBytes = cfg.MaxBytes
			_, err := js.CreateStream(within(t), log)
			require.NoError(t, err)
			s, err := Ensure(within(t), js, cfg, zap.NewNop())
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				return
			}
			require.NoError(t, err)
			marks := info(t, js, s.Marks().Name()).Config
			require.GreaterOrEqual(t, marks.MaxBytes, int64(leastMarksBytes))
			require.LessOrEqual(t, marks.MaxBytes, row.left)
			_, err = Ensure(within(t), js, cfg, zap.NewNop())
			require.NoError(t, err, "nor does the next start want more")
			require.Equal(t, marks.MaxBytes, info(t, js, s.Marks().Name()).Config.MaxBytes)
		})
	}
}

// startNATS starts a server whose streams may take all bytes.
func startNATS(t *testing.T, all int64) *devstack.NATS {
	t.Helper()
	n, err := devstack.StartNATS(within(t), devstack.NATSOptions{Dir: t.TempDir(), MaxStore: all})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Stop()) })
	return n
}

func TestFreeBytesIsWhatTheAccountMayStillStore(t *testing.T) {
	t.Parallel()
	limits := func(store, stream int64) jetstream.AccountLimits {
		return jetstream.AccountLimits{MaxStore: store, StoreMaxStreamBytes: stream}
	}
	tests := []struct {
		name     string
		info     jetstream.AccountInfo
		replicas int
		free     int64
		known    bool
	}{
		{"no limit", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(-1, -1)}}, 1, 0, false},
		{"a limit", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(100, -1)}}, 1, 100, true},
		{"half is reserved", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(100, -1), ReservedStore: 50, Store: 10}}, 1, 50, true},
		{"all is taken", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(100, -1), Store: 120}}, 1, 0, true},
		{"each copy counts", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(90, -1)}}, 3, 30, true},
		{"a stream has a limit of its own", jetstream.AccountInfo{Tier: jetstream.Tier{Limits: limits(100, 20)}}, 1, 20, true},
		{"a tier has its own limit", jetstream.AccountInfo{
			Tier: jetstream.Tier{Limits: limits(-1, -1)}, Tiers: map[string]jetstream.Tier{"R3": {Limits: limits(60, -1)}},
		}, 3, 60, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			free, known := freeBytes(&test.info, test.replicas)
			require.Equal(t, test.free, free)
			require.Equal(t, test.known, known)
		})
	}
}
