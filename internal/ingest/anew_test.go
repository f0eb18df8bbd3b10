package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// steps is a server of which each session is one of its steps, which are done after a while.
type steps struct {
	Server
	made time.Time
	next []step
	at   int
}

type step struct {
	after time.Duration
	open  error // what it answers to Open; nil: it has the stream, and
	end   error // what ends the session
}

func (s *steps) Attend(ctx context.Context) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

func (s *steps) Open(context.Context, int, uint64) (Consumer, uint64, error) {
	now := s.next[s.at]
	s.at++
	<-time.After(now.after)
	return ends{now.end}, 0, now.open
}

func (s *steps) Stream(context.Context) (time.Time, uint64, error) { return s.made, 1, nil }

// ends is a consumer that fails at once.
type ends struct{ why error }

func (e ends) Ask(int, int) error                        { return e.why }
func (e ends) Ready() (Delivery, bool, error)            { return Delivery{}, false, e.why }
func (e ends) Receive(context.Context) (Delivery, error) { return Delivery{}, e.why }
func (e ends) Close() error                              { return nil }

// That the log is gone is believed when the server says nothing else for a while. A session that ends for another consumer had the log.
func TestALogThatIsThereBetweenTwoMomentsWithoutItIsNotGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		none := fmt.Errorf("make consumer: %w", jetstream.ErrStreamNotFound)
		enough := &endError{errEnough}
		s := &steps{made: time.Unix(1, 0), next: []step{
			{open: none},
			{after: time.Hour, end: &anewError{errCaughtUp}},
			{after: time.Hour, open: none},
			{end: enough},
		}}
		r, err := NewOn(s, Config{Stream: "PERSISTD", Created: s.made, Subjects: subjects, Jitter: -1}, zap.NewNop(), prometheus.NewRegistry())
		require.NoError(t, err)
		err = r.Read(t.Context(), 0, wire.Place{}, func(context.Context, wire.Event) error { return errors.New("nothing is sent") }, nil)
		require.ErrorIs(t, err, errEnough)
	})
}
