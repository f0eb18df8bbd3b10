package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
)

// publishSteps puts n steps of some runs into the log.
func (s *stack) publishSteps(from, n int) {
	s.t.Helper()
	for i := from; i < from+n; i++ {
		s.publish(fmt.Sprintf("run-%d", i%5), fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"i":%d}}`, i/10, i))
	}
}

// The daemon dies with its transaction open, the rows written, at the very COMMIT; and its successor again.
func TestI2KilledBetweenRowsAndCommitTwice(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.audited()
	proxy := s.behindProxy()
	d := s.spawn("none").serving()
	s.publishSteps(0, 50)
	s.matchesLog()

	for round := range 2 {
		before := s.rows("TRUE")
		sprung := proxy.arm(swallowCommit, 1)
		s.publishSteps(100+100*round, 20)
		<-sprung
		require.Greater(t, s.dirty("TRUE"), before, "the transaction is open, with rows in it")
		d.kill()
		d = s.spawn("none").serving()
		s.publishSteps(150+100*round, 20)
	}
	s.writtenOnce(s.matchesLog())
	require.NoError(t, d.terminate())
}

// The database has committed, and the daemon dies before it knows; and its successor again.
func TestI2KilledAfterCommitBeforeAnythingElseTwice(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		kill func(*stack, *dbProxy, func())
	}{
		{"the answer does not arrive", func(s *stack, p *dbProxy, publish func()) {
			d := s.spawn("none").serving()
			sprung := p.arm(swallowAnswer, 1)
			publish()
			<-sprung
			d.kill()
		}},
		{"the answer arrives and nobody is told", func(s *stack, _ *dbProxy, publish func()) {
			d := s.spawn("kill-after:1").serving()
			publish()
			require.ErrorContains(s.t, d.wait(), "killed")
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			s.audited()
			proxy := s.behindProxy()
			for round := range 2 {
				row.kill(s, proxy, func() { s.publishSteps(100*round, 30) })
				require.Positive(t, s.rows("TRUE"), "it was committed")
			}
			d := s.spawn("none").serving()
			s.publishSteps(300, 30)
			s.writtenOnce(s.matchesLog())
			require.NoError(t, d.terminate())
		})
	}
}

// A commit happens, and the daemon is told that it failed. It finds out, and goes on in the same term.
func TestI2CommitThatSucceedsWhileTheClientSeesAnError(t *testing.T) {
	t.Parallel()
	const times = 5
	rows := []struct {
		name  string
		fault func(*stack) (h hooks, injected func() int64)
	}{
		{"the connection breaks after COMMIT was delivered", func(s *stack) (hooks, func() int64) {
			sprung := s.behindProxy().arm(cutAnswer, times)
			return hooks{}, func() int64 { return int64(len(sprung)) }
		}},
		{"the store returns an error after the commit", func(*stack) (hooks, func() int64) {
			var calls, injected atomic.Int64
			return hooks{store: func(behind batcher.Store) batcher.Store {
				return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
					err := behind.Commit(ctx, b)
					if err == nil && calls.Add(1)%2 == 1 && injected.Load() < times {
						injected.Add(1)
						return &batcher.Error{Class: batcher.Again, Err: errors.New("injected: connection broke")}
					}
					return err
				})
			}}, injected.Load
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			s.audited()
			h, injected := row.fault(s)
			d := s.serveHere(h)
			first := s.ownedBy("test")
			for i := range 200 {
				s.publishSteps(i, 1) // one by one, so that there are many commits
			}
			events := s.matchesLog()
			for i := 200; injected() < times; i++ { // where a commit takes as long as many publishes, there were few
				s.publishSteps(i, 1)
				events = s.matchesLog()
			}
			s.writtenOnce(events)
			require.EqualValues(t, times, injected(), "faults injected")
			const counted = "persistd_events_committed_total"
			s.eventually("the last batch, which the database may have before the daemon knows, is counted", func() bool {
				return s.metrics(d)[counted] >= float64(len(events))
			})
			m := s.metrics(d)
			// One that befalls batches of several partitions in one transaction shows as their separation.
			surfaced := m[`persistd_retries_total{class="again"}`] + m["persistd_batch_separations_total"]
			require.GreaterOrEqual(t, surfaced, float64(times), "faults that surfaced")
			require.InDelta(t, len(events), m[counted], 0, "events counted once")
			for p, at := range s.partitions() {
				require.Equal(t, first[p].Epoch, at.Epoch, "the term of partition %d goes on", p)
			}
			require.NoError(t, d.stop())
		})
	}
}

// The database is restored to an hour ago, with and without the daemon noticing it at its start.
func TestI2RestoredDatabaseHealsItself(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("under a running daemon: %t", running), func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			d := s.spawn("none").serving()
			s.publishSteps(0, 100)
			s.matchesLog()
			for _, table := range []string{"workflow_steps", "persistd_partitions"} {
				s.exec("CREATE TABLE backup_" + table + " AS SELECT * FROM " + table)
			}
			s.publishSteps(50, 100)
			s.matchesLog()
			if !running {
				d.kill()
			}
			tx, err := s.db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			for _, q := range []string{
				"DELETE FROM workflow_steps", "INSERT INTO workflow_steps SELECT * FROM backup_workflow_steps",
				// The lease stays as it is: what is restored is the data.
				"UPDATE persistd_partitions p JOIN backup_persistd_partitions b USING (stream, stream_created, partition_no) SET p.position=b.position",
			} {
				_, err := tx.ExecContext(t.Context(), q)
				require.NoError(t, err, q)
			}
			require.NoError(t, tx.Commit())
			if !running {
				d = s.spawn("none").serving()
			}
			s.publishSteps(200, 100) // also what tells a running daemon that the position is not where it was
			s.matchesLog()
			require.NoError(t, d.terminate())
		})
	}
}

// The stream is deleted and made again under the daemon: positions of the old one mean nothing in the new one, and steps of the new one
// are newer than all rows, although their sequences are lower.
func TestI2StreamMadeAgainUnderTheDaemon(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none").serving()
	s.publishSteps(0, 100)
	s.matchesLog()
	st, err := s.js.Stream(t.Context(), "PERSISTD")
	require.NoError(t, err)
	old := s.table()

	require.NoError(t, s.js.DeleteStream(t.Context(), "PERSISTD"))
	_, err = s.js.CreateStream(t.Context(), st.CachedInfo().Config)
	require.NoError(t, err)
	for i := range 5 {
		require.EqualValues(t, i+1, s.publish(fmt.Sprintf("run-%d", i), `{"step":1,"node_id":"anew","state":{"new":true}}`))
	}
	require.Error(t, d.wait(), "exit code")
	require.Contains(t, d.out.String(), "log is not the stream that it was")
	require.Equal(t, old, s.table(), "the old daemon applied nothing of the new stream")

	d = s.spawn("none").serving()
	last := map[int]uint64{}
	for _, ev := range s.log() {
		last[ev.Partition] = ev.Message.Sequence
	}
	s.reached(last)
	got := s.table()
	require.Len(t, got, len(old))
	for k, r := range got {
		if k.Step != 1 {
			require.Equal(t, old[k], r)
			continue
		}
		require.True(t, sameJSON(`{"new":true}`, r.State), "%v: %s", k, r.State)
		require.Equal(t, "anew", r.Node)
		require.Greater(t, r.Gen, old[k].Gen)
		require.Less(t, r.Seq, old[k].Seq)
		require.Equal(t, old[k].Created, r.Created, "the step is as old as its first save")
	}
	require.NoError(t, d.terminate())
}

// The stream is deleted, and nobody makes it again.
func TestStreamDeletedUnderTheDaemonEndsIt(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none").serving()
	s.publishSteps(0, 10)
	s.matchesLog()
	require.NoError(t, s.js.DeleteStream(t.Context(), "PERSISTD"))
	require.Error(t, d.wait(), "exit code")
	require.Contains(t, d.out.String(), "log is not the stream that it was")
}

// A log that lost its end gives sequences out again that are committed already: none of its new events may be passed over in silence.
func TestI2LogThatLostItsEndIsRefused(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none").serving()
	s.publishSteps(0, 10)
	s.matchesLog()
	require.NoError(t, d.terminate())
	s.exec("UPDATE persistd_partitions SET position = position + 1000")
	d = s.spawn("none")
	require.Error(t, d.wait(), "exit code")
	require.Contains(t, d.out.String(), "log lost its end")
}
