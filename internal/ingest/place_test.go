package ingest

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// FuzzPlaceIsThatOfTheClientLibrary compares with what nats.go reads.
func FuzzPlaceIsThatOfTheClientLibrary(f *testing.F) {
	for _, reply := range []string{
		"$JS.ACK.LOG.consumer.1.22.333.1764205200123456789.4",
		"$JS.ACK.hub.hash.LOG.consumer.1.22.333.1764205200123456789.4.token", "$JS.ACK._.hash.LOG.consumer.1.22.333.1764205200123456789.4",
		"$JS.ACK.LOG.consumer.1.22.333.1764205200123456789.", "$JS.ACK.LOG.consumer.1.-2.333.1764205200123456789.4", "$JS.ACK...1.2.3.4.5",
		"$JS.ACK.LOG.consumer.1.18446744073709551615.333.9999999999999999999.99999999999999999999", "_INBOX.a.b", "",
	} {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		m := &nats.Msg{Reply: reply, Sub: &nats.Subscription{}}
		got, err := placeOf(m)
		meta, other := m.Metadata()
		if other != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, place{meta.Sequence.Consumer, meta.Sequence.Stream, meta.Timestamp.UTC(), meta.NumPending}, got)
	})
}

func TestAMessagesPlaceIsReadWithoutAllocating(t *testing.T) { //nolint:paralleltest // it counts allocations.
	m := &nats.Msg{Reply: "$JS.ACK.LOG.consumer.1.22.333.1764205200123456789.4", Sub: &nats.Subscription{}}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := placeOf(m); err != nil {
			panic(err)
		}
	}))
}

func BenchmarkPlace(b *testing.B) {
	m := &nats.Msg{Reply: "$JS.ACK.PERSISTD.Qb2xJ3kV.1.220000.33333.1764205200123456789.400000", Sub: &nats.Subscription{}}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = placeOf(m)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = m.Metadata()
		}
	})
}
