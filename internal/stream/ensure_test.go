package stream

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

func TestEnsureMakesExactlyTheLog(t *testing.T) {
	t.Parallel()
	js := connect(t)
	s := ensure(t, js, Config{Partitions: 5, MaxBytes: 64 << 20, DuplicateWindow: time.Minute})
	si := info(t, js, "PERSISTD")
	want := jetstream.StreamConfig{
		Name: "PERSISTD", Description: si.Config.Description,
		Subjects:  []string{"persistd.write.*.run.*", "persistd.write.*.checkpoint.*", "persistd.write.*.attempt.*"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: 1,
		MaxBytes: 64 << 20, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowDirect: true, AllowAtomicPublish: true, Duplicates: time.Minute,
		SubjectTransform: &jetstream.SubjectTransformConfig{
			Source: "persistd.write.*.*.*", Destination: "persistd.log.{{partition(5,1,3)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
		},
		Metadata: si.Config.Metadata, // the server adds its own
	}
	require.Equal(t, want, si.Config)
	require.Equal(t, "5", si.Config.Metadata["persistd.partitions"])
	require.Equal(t, "1", si.Config.Metadata["persistd.format"])

	require.Equal(t, 5, s.Partitions())
	require.Equal(t, si.Created.UTC().Truncate(time.Microsecond), s.Created())
	save(t, js, "run-001", 1)
	got, err := s.Info(within(t))
	require.NoError(t, err)
	require.Equal(t, uint64(1), got.Events)
	require.Equal(t, uint64(1), got.Last)
	require.Equal(t, uint64(64<<20), got.MaxBytes)

	dead := info(t, js, "PERSISTD_DLQ").Config
	require.Equal(t, []string{"persistd.dlq.*.*"}, dead.Subjects)
	require.Equal(t, jetstream.DiscardNew, dead.Discard)
	require.Equal(t, time.Duration(0), dead.MaxAge)
	require.Equal(t, int64(minDeadLetterBytes), dead.MaxBytes)
}

func TestEnsureFindsItsLogAgain(t *testing.T) {
	t.Parallel()
	js := connect(t)
	first := ensure(t, js, Config{Partitions: 3})
	logger, logs := observed()
	again, err := Ensure(within(t), js, Config{Partitions: 8}, logger)
	require.NoError(t, err)
	require.Equal(t, 3, again.Partitions(), "a log keeps the partitions it was made with")
	require.Equal(t, first.Created(), again.Created())
	require.Equal(t, 1, logs.FilterMessage("keep the partition count that the log was made with").Len())
	require.Equal(t, int64(10<<30), info(t, js, "PERSISTD").Config.MaxBytes, "10 GiB where nothing is known to be less")
}

func TestEnsureRaisesAndNeverLowers(t *testing.T) {
	t.Parallel()
	js := connect(t)
	ensure(t, js, Config{MaxBytes: 128 << 20, DuplicateWindow: time.Minute})
	ensure(t, js, Config{MaxBytes: 256 << 20, DuplicateWindow: 2 * time.Minute})
	c := info(t, js, "PERSISTD").Config
	require.Equal(t, int64(256<<20), c.MaxBytes)
	require.Equal(t, 2*time.Minute, c.Duplicates)

	logger, logs := observed()
	_, err := Ensure(within(t), js, Config{MaxBytes: 64 << 20, DuplicateWindow: time.Second}, logger)
	require.NoError(t, err)
	require.Equal(t, c, info(t, js, "PERSISTD").Config)
	require.Equal(t, 1, logs.FilterMessage("keep the larger size of the stream").Len())

	c.Subjects = []string{"persistd.write.other.run.*"}
	require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
	_, err = js.CreateStream(within(t), c)
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	require.ErrorContains(t, err, `subjects is "persistd.write.other.run.*"`)
}

// Any number of daemons start at once on an empty server.
func TestEnsureIsForManyAtOnce(t *testing.T) {
	t.Parallel()
	js := connect(t)
	ctx := within(t)
	var (
		wg   sync.WaitGroup
		all  [8]*Stream
		errs [8]error
	)
	for i := range all {
		wg.Go(func() {
			// Every other one is configured differently, so that the server calls it a conflict.
			all[i], errs[i] = Ensure(ctx, js, Config{MaxBytes: int64(64+64*(i%2)) << 20}, zap.NewNop())
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	for _, s := range all {
		require.Equal(t, all[0].Created(), s.Created())
	}
	require.Equal(t, int64(128<<20), info(t, js, "PERSISTD").Config.MaxBytes)
}

func TestEnsureNamesEverySettingThatBreaksAnInvariant(t *testing.T) {
	t.Parallel()
	js := connect(t)
	good := (&ensurer{cfg: Config{}.WithDefaults()}).logConfig()
	good.MaxBytes = 64 << 20
	tests := []struct {
		name    string
		change  func(*jetstream.StreamConfig)
		setting string
		fix     string
	}{
		{"interest drops what nobody reads", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention", "nats stream edit PERSISTD --retention limits"},
		{"a work queue cannot be replayed", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention", "nats stream rm PERSISTD"},
		{"memory dies with the process", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage", "nats stream rm PERSISTD"},
		{"old events make room", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard", "--discard new"},
		{"the disk is the only bound", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 }, "max_bytes", "--max-bytes"},
		{"events expire", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age", "--max-age 0"},
		{"events are counted", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }, "max_msgs", "--max-msgs=-1"},
		{"events of a run are counted", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 }, "max_msgs_per_subject", "--max-msgs-per-subject=-1"},
		{"a header may delete events", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, "allow_rollup_hdrs", "--no-allow-rollup"},
		{"a header may age events", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl", "nats stream rm PERSISTD"},
		{"nothing can be trimmed", func(c *jetstream.StreamConfig) { c.DenyPurge = true }, "deny_purge", "nats stream rm PERSISTD"},
		{"writes are not acknowledged", func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack", "--ack"},
		{"no direct get", func(c *jetstream.StreamConfig) { c.AllowDirect = false }, "allow_direct", "--allow-direct"},
		{"no atomic batches", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "allow_atomic", "--allow-batch"},
		{"messages are small", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "max_msg_size", "--max-msg-size=-1"},
		{"there are too few consumers", func(c *jetstream.StreamConfig) { c.MaxConsumers = 3 }, "max_consumers", "nats stream rm PERSISTD"},
		{"others may write", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "orders.>") }, "subjects", "--subjects 'persistd.write.*.run.*,persistd.write.*.checkpoint.*,persistd.write.*.attempt.*'"},
		{"nothing is partitioned", func(c *jetstream.StreamConfig) { c.SubjectTransform = nil }, "subject_transform", "--transform-source 'persistd.write.*.*.*'"},
		{"the transform is of other partitions", func(c *jetstream.StreamConfig) {
			_, c.SubjectTransform.Destination = subjects.Transform(4)
		}, "subject_transform", "If the stream is still empty"},
		{"the partitions are not told", func(c *jetstream.StreamConfig) { delete(c.Metadata, metaPartitions) }, "metadata persistd.partitions", "--metadata persistd.partitions=8"},
		{"the partitions are no number", func(c *jetstream.StreamConfig) { c.Metadata[metaPartitions] = "eight" }, "metadata persistd.partitions", "--metadata persistd.partitions=8"},
		{"there are no partitions", func(c *jetstream.StreamConfig) { c.Metadata[metaPartitions] = "0" }, "metadata persistd.partitions", "--metadata persistd.partitions=8"},
		{"the format is of the future", func(c *jetstream.StreamConfig) { c.Metadata[metaFormat] = "2" }, "metadata persistd.format", "Run the persistd that made it"},
		{"writes are not flushed", func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		}, "persist_mode", "nats stream rm PERSISTD"},
		{"another stream is mirrored", func(c *jetstream.StreamConfig) {
			c.Mirror, c.Subjects, c.SubjectTransform = &jetstream.StreamSource{Name: "SOURCE"}, nil, nil
			c.AllowAtomicPublish = false
		}, "mirror", "--no-mirror"},
		{"other streams flow in", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "SOURCE"}} }, "sources", "take out sources"},
		{"counters are kept", func(c *jetstream.StreamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }, "allow_msg_counter", "nats stream rm PERSISTD"},
		{"messages are scheduled", func(c *jetstream.StreamConfig) { c.AllowMsgSchedules, c.Discard = true, jetstream.DiscardOld }, "allow_msg_schedules", "nats stream rm PERSISTD"},
	}
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "SOURCE", Subjects: []string{"source"}})
	require.NoError(t, err)
	for _, test := range tests { // one after another: they share the name
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // as above.
			c := good
			c.Metadata = map[string]string{metaPartitions: "8", metaFormat: "1"}
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: good.SubjectTransform.Source, Destination: good.SubjectTransform.Destination}
			c.Subjects = append([]string(nil), good.Subjects...)
			test.change(&c)
			_, err := js.CreateStream(within(t), c)
			require.NoError(t, err)
			before := info(t, js, "PERSISTD").Config
			_, err = Ensure(within(t), js, Config{}, zap.NewNop())
			var broken *ConfigError
			require.ErrorAs(t, err, &broken)
			var found *Violation
			for i := range broken.Violations {
				if broken.Violations[i].Setting == test.setting {
					found = &broken.Violations[i]
				}
			}
			require.NotNil(t, found, "%v", err)
			require.Contains(t, found.Fix, test.fix)
			require.NotEmpty(t, found.Why)
			require.NotEqual(t, found.Found, found.Needed)
			require.ErrorContains(t, err, test.fix)
			require.Equal(t, before, info(t, js, "PERSISTD").Config, "a stream that is refused is left alone")
			require.NoError(t, js.DeleteStream(within(t), "PERSISTD"))
		})
	}
}

func TestEnsureListsAllViolationsAtOnce(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "PERSISTD", Subjects: []string{"persistd.>"}, MaxAge: time.Hour, Storage: jetstream.MemoryStorage})
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	var broken *ConfigError
	require.ErrorAs(t, err, &broken)
	var settings []string
	for _, v := range broken.Violations {
		settings = append(settings, v.Setting)
	}
	require.Equal(t, []string{"storage", "discard", "max_bytes", "max_age", "allow_direct", "allow_atomic", "subjects", "metadata persistd.partitions"}, settings)
}

func TestEnsureRefusesASealedLog(t *testing.T) {
	t.Parallel()
	js := connect(t)
	ensure(t, js, Config{})
	c := info(t, js, "PERSISTD").Config
	c.Sealed = true
	_, err := js.UpdateStream(within(t), c)
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	require.ErrorContains(t, err, "sealed is true, must be false")
}

func TestEnsureSaysWhoHasItsSubjects(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "EVERYTHING", Subjects: []string{"persistd.>"}})
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	require.ErrorContains(t, err, "stream EVERYTHING listens on the same subjects")
}

func TestEnsureSaysThatReplicasNeedServers(t *testing.T) {
	t.Parallel()
	js := connect(t)
	_, err := Ensure(within(t), js, Config{Replicas: 3}, zap.NewNop())
	require.ErrorContains(t, err, "3 replicas need a cluster")
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{Replicas: 3}, zap.NewNop())
	require.ErrorContains(t, err, "raise settings of stream PERSISTD")
	require.ErrorContains(t, err, "3 replicas need a cluster")
}

func TestEnsureSaysThatItIsNotConnected(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect("nats://127.0.0.1:1", nats.RetryOnFailedConnect(true))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = Ensure(within(t), js, Config{}, zap.NewNop())
	require.ErrorContains(t, err, "not connected")
}

// A server without JetStream says nothing at all; Ensure says what is missing.
func TestEnsureRefusesAServerWithoutJetStream(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(time.Minute))
	_, err = Ensure(within(t), connectTo(t, s.ClientURL()), Config{}, zap.NewNop())
	var refused *ServerError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.Hint, "-js")
}

func TestCheckVersionRefusesOldServersByNameAndVersion(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"2.9.10": false, "2.11.99": false, "1.99.0": false, "": false, "x": false, "2.x": false,
		"2.12.0": true, "2.12.0-preview.1": true, "2.15.2": true, "v2.15.0": true, "3.0.0": true,
	} {
		err := checkVersion("hub-1", version)
		if ok {
			require.NoError(t, err, version)
			continue
		}
		var refused *ServerError
		require.ErrorAs(t, err, &refused, version)
		require.ErrorContains(t, err, `"hub-1"`)
		require.ErrorContains(t, err, `"`+version+`"`)
		require.Contains(t, refused.Hint, "2.15")
	}
}

func TestConfigReportsAllViolations(t *testing.T) {
	t.Parallel()
	require.NoError(t, Config{}.WithDefaults().Validate())
	err := Config{
		Name: "a.b", Subjects: wire.Subjects{Prefix: "a..b"}, Replicas: 2, Partitions: 1000, MaxBytes: 1, DeadLetterBytes: 1,
		DuplicateWindow: time.Nanosecond, RequestTimeout: -1,
	}.Validate()
	for _, want := range []string{"name", "subject prefix", "replicas", "partitions", "max bytes", "dead letter bytes", "duplicate window", "request timeout"} {
		require.ErrorContains(t, err, want)
	}
	require.Error(t, Config{Subjects: wire.Subjects{Prefix: "$SYS"}}.WithDefaults().Validate())
	require.Error(t, Config{Subjects: wire.Subjects{Prefix: "a.*"}}.WithDefaults().Validate())
	require.NoError(t, Config{Subjects: wire.Subjects{Prefix: "acme.persistd"}}.WithDefaults().Validate())
}
