package stream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// A log that was made when persistd knew runs only is the log of all kinds of keys afterwards, with all that was in it.
func TestEnsureAddsTheKindsThatAnOlderLogLacks(t *testing.T) {
	t.Parallel()
	js := connect(t)
	ensure(t, js, Config{Partitions: 3})
	c := info(t, js, "PERSISTD").Config
	all := c.Subjects
	c.Subjects = []string{"persistd.write.*.run.*"}
	_, err := js.UpdateStream(within(t), c)
	require.NoError(t, err)
	older := info(t, js, "PERSISTD")
	require.Equal(t, c.Subjects, older.Config.Subjects)
	save(t, js, "run-001", 1)

	checkpoint := []byte(`{"step":1,"state":{}}`)
	write := subjects.Write(wire.DefaultNamespace, wire.KindCheckpoint, "nightly")
	_, err = js.Publish(within(t), write, checkpoint)
	require.ErrorIs(t, err, jetstream.ErrNoStreamResponse, "nothing listens there")

	logger, logs := observed()
	s, err := Ensure(within(t), js, Config{}, logger)
	require.NoError(t, err)
	require.Equal(t, older.Created.UTC().Truncate(time.Microsecond), s.Created(), "it is the same log")
	require.Equal(t, 3, s.Partitions())
	require.Equal(t, all, info(t, js, "PERSISTD").Config.Subjects)
	require.Equal(t, 1, logs.FilterMessage("raised settings of stream").Len())

	ack, err := js.Publish(within(t), write, checkpoint)
	require.NoError(t, err)
	require.EqualValues(t, 2, ack.Sequence)
	_, err = js.Publish(within(t), subjects.Write(wire.DefaultNamespace, wire.KindAttempt, "run-001"), []byte(`{"run_id":"run-001","attempt":1}`))
	require.NoError(t, err)
	for seq, kind := range map[uint64]string{1: wire.KindRun, 2: wire.KindCheckpoint, 3: wire.KindAttempt} {
		m, err := s.get.next(within(t), "persistd.log.>", seq)
		require.NoError(t, err)
		ev := subjects.Decode(m)
		require.Nil(t, ev.Poison)
		require.Equal(t, kind, ev.Kind)
	}
	again, err := Ensure(within(t), js, Config{}, logger)
	require.NoError(t, err)
	require.Equal(t, s.Created(), again.Created())
	require.Equal(t, 1, logs.FilterMessage("raised settings of stream").Len(), "once is enough")
}
