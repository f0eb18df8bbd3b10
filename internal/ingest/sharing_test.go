package ingest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestPartitionsThatAreBehindAreReadThroughOneConsumer(t *testing.T) {
	t.Parallel()
	s := newShared(t, stacktest.NATS(t).URL(), Config{Sharing: Sharing{Backlog: 1000}})
	scatter(t, s.js, 3000)
	want := s.held(t)
	for p := range eight { // each is somewhere else
		want[p] = want[p][p*20:]
	}
	require.Equal(t, want, s.read(t, want, s.once).got)
	require.Equal(t, 1, s.times())
	require.Zero(t, s.said.FilterLevelExact(zap.WarnLevel).Len(), "a session ended in doubt")
	require.Zero(t, testutil.ToFloat64(s.reader.metrics.shared))
	require.Zero(t, testutil.ToFloat64(s.reader.metrics.failed))
}

func TestPartitionsThatAreFarApartAreNot(t *testing.T) {
	t.Parallel()
	s := newShared(t, stacktest.NATS(t).URL(), Config{Sharing: Sharing{Apart: 100}})
	scatter(t, s.js, 1000)
	want := s.held(t)
	want[3] = want[3][len(want[3])-2:]
	require.Equal(t, want, s.read(t, want, quietly).got)
	require.Zero(t, s.times())
}

// What no partition's consumer sends, no lane does: subjects that look like a partition's, and a part of the log that is not there.
func TestALaneHasWhatItsPartitionsConsumerHas(t *testing.T) {
	t.Parallel()
	s := newShared(t, stacktest.NATS(t).URL(), Config{})
	st, err := s.js.Stream(within(t), s.stream.Name())
	require.NoError(t, err)
	cfg := st.CachedInfo().Config
	cfg.Subjects = append(cfg.Subjects, "persistd.log.>", "elsewhere.>")
	_, err = s.js.UpdateStream(within(t), cfg)
	require.NoError(t, err)
	foreign := func() {
		for _, subject := range []string{
			"persistd.log.3", "persistd.log.03.default.run.x", "persistd.log.33.default.run.x", "persistd.log.8.default.run.x", "persistd.log.-1.a.b.c",
			"persistd.log.x.default.run.x", "elsewhere.persistd.log.3.default.run.x", "persistd.log.3.a", "persistd.log.3.default.run.x.y", "persistd.log.5.>x.y.z",
		} {
			logged(t, s.js, &nats.Msg{Subject: subject, Data: []byte("{}")})
		}
	}
	scatter(t, s.js, 300)
	foreign()
	scatter(t, s.js, 300)
	foreign()
	for seq := uint64(100); seq < 400; seq += 7 {
		require.NoError(t, st.DeleteMsg(within(t), seq))
	}
	scatter(t, s.js, 100)
	want := s.held(t)
	require.Equal(t, want, s.read(t, want, s.once).got)
	require.Equal(t, 1, s.times())
}

// Nobody knows how many of the messages behind are whose; but in the end nothing is.
func TestNothingIsPendingWhereAllWasRead(t *testing.T) {
	t.Parallel()
	s := newShared(t, stacktest.NATS(t).URL(), Config{})
	scatter(t, s.js, 2000)
	want := s.held(t)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var readers sync.WaitGroup
	l := &lists{}
	for p := range eight {
		readers.Go(func() {
			_ = s.reader.Read(ctx, p, wire.Place{}, func(ctx context.Context, ev wire.Event) error {
				if err := s.together(ctx); err != nil {
					return err
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				l.got[p] = append(l.got[p], ev.Message.Sequence)
				return nil
			}, func(n int64) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.pending[p] = n
			})
		})
	}
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for p := range eight {
			n += len(want[p]) - len(l.got[p])
		}
		return n == 0 && l.pending == [eight]int64{} && len(s.whys()) == 1
	}, time.Minute, 5*time.Millisecond)
	require.Equal(t, []string{errCaughtUp.Error()}, s.whys())
	cancel()
	readers.Wait()
}

// A partition whose commits are stuck does not stop the others.
func TestAPartitionThatTakesNothingDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	s := newShared(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 16, Sharing: Sharing{Stall: 20 * time.Millisecond}})
	scatter(t, s.js, 2000)
	want := s.held(t)
	var others sync.WaitGroup
	others.Add(eight - 1)
	stuck := false
	l := s.read(t, want, func(ctx context.Context, p, delivered int) error {
		if err := s.together(ctx); err != nil {
			return err
		}
		if p == 3 && !stuck && s.times() > 0 {
			stuck = true
			others.Wait()
		} else if p != 3 && delivered == len(want[p])-1 {
			others.Done()
		}
		return nil
	})
	require.Equal(t, want, l.got)
	require.True(t, stuck)
	require.Contains(t, strings.Join(s.whys(), "; "), errStalled.Error())
}

// Whatever happens to readers, consumers, connections and the server, each partition's events come in order, each once.
func TestI1LanesAreCompleteWhateverHappens(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	s := newShared(t, server.URL(), Config{ReadAheadMessages: 24, Heartbeat: 300 * time.Millisecond, Sharing: Sharing{
		Gather: 100 * time.Millisecond, Stall: 5 * time.Millisecond, Pause: time.Millisecond, MaxPause: 5 * time.Millisecond,
	}})
	scatter(t, s.js, 4000)
	want := s.held(t)
	var (
		mu   sync.Mutex
		dice = rand.New(rand.NewPCG(1, 2))
		done int
	)
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	troubled := func(ctx context.Context, _, _ int) error {
		mu.Lock()
		done++
		at := done
		mu.Unlock()
		switch at {
		case 800, 2800:
			server.Kill()
			require.NoError(t, server.Restart(ctx))
		case 1300, 3300:
			require.NoError(t, s.js.Conn().ForceReconnect())
		case 1800, 3600:
			st, err := s.js.Stream(ctx, s.stream.Name())
			if err != nil {
				break
			}
			for name := range st.ConsumerNames(ctx).Name() {
				_ = st.DeleteConsumer(ctx, name)
			}
		}
		switch draw(400) {
		case 0:
			return errClosed // its lease is lost, and taken again
		case 1: // its database is slow
			slow := time.NewTimer(time.Duration(draw(20)) * time.Millisecond)
			defer slow.Stop()
			<-slow.C
		}
		return nil
	}
	for s.times() < 2 { // the first time ends with some trouble; whether there is a backlog of all partitions after that is a matter of luck
		done = 0
		require.Equal(t, want, s.read(t, want, troubled).got)
	}
	t.Logf("%d times through one consumer, which ended for: %s", s.times(), strings.Join(s.whys(), "; "))
}

// It is tried ever more rarely, until it worked to the end.
func TestSharingIsTriedEverMoreRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := sharingOn(t, nil)
		for i, row := range []struct {
			why  error
			rest time.Duration
		}{
			{errStalled, 10 * time.Second},
			{errStalled, 20 * time.Second},
			{errors.New("a message is missing"), 40 * time.Second},
			{errStalled, 80 * time.Second},
			{errStalled, 160 * time.Second},
			{errStalled, 5 * time.Minute},
			{errStalled, 5 * time.Minute},
			{errCaughtUp, 10 * time.Second},
			{errStalled, 10 * time.Second},
			{errStalled, 20 * time.Second},
		} {
			s.mu.Lock()
			s.restLocked(row.why)
			require.Equal(t, row.rest, time.Until(s.not), "after time %d", i+1)
			s.mu.Unlock()
		}
	})
}
