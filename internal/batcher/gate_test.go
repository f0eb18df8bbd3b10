package batcher_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestSmallBatchesThatWaitForAPlaceAreCommittedTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		places int
		queues [][]wire.Event // of partition 0, 1, …
		want   []transaction
	}{
		{"all who wait", 1, [][]wire.Event{steps(1, 1), steps(1, 2), steps(1, 3), steps(1, 1)}, []transaction{{10 * ms, []int{0}}, {20 * ms, []int{1, 2, 3}}}},
		{
			"two transactions at once, whatever places there are", 4,
			[][]wire.Event{steps(1, 1), steps(1, 1), steps(1, 1), steps(1, 1), steps(1, 1)},
			[]transaction{{10 * ms, []int{0}}, {10 * ms, []int{1}}, {20 * ms, []int{2, 3, 4}}},
		},
		{
			"less than a full batch of them, in the order in which they came", 1,
			[][]wire.Event{steps(1, 1), steps(1, 4), steps(1, 5), steps(1, 6), steps(1, 1)},
			[]transaction{{10 * ms, []int{0}}, {20 * ms, []int{1, 2}}, {30 * ms, []int{3, 4}}},
		},
		{
			"a full one goes alone, and takes a place that small ones leave free", 3,
			[][]wire.Event{steps(1, 1), steps(1, 1), steps(1, 1), steps(1, 10), steps(1, 1)},
			[]transaction{{10 * ms, []int{0}}, {10 * ms, []int{1}}, {10 * ms, []int{3}}, {20 * ms, []int{2, 4}}},
		},
		{
			"one that deletes runs goes alone", 1,
			[][]wire.Event{steps(1, 1), steps(1, 1), {deletion(1)}, steps(1, 1)},
			[]transaction{{10 * ms, []int{0}}, {20 * ms, []int{1, 3}}, {30 * ms, []int{2}}},
		},
		{
			"one with poison goes alone, once its letter is kept", 1,
			[][]wire.Event{steps(1, 1), steps(1, 1), {poisoned(1)}, steps(1, 1)},
			[]transaction{{10 * ms, []int{0}}, {20 * ms, []int{1, 3}}, {30 * ms, []int{2}}},
		},
		{
			"nobody waits longest for ever", 1,
			[][]wire.Event{steps(1, 30), steps(1, 25), steps(1, 1), steps(1, 10)},
			[]transaction{
				{10 * ms, []int{0}},
				{20 * ms, []int{1}},
				{30 * ms, []int{2}},
				{40 * ms, []int{3}},
				{50 * ms, []int{0}},
				{60 * ms, []int{1}},
				{70 * ms, []int{0}},
				{80 * ms, []int{1}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newTogether()
				gate := batcher.NewGate(tt.places, store)
				var all []*partition
				for no, events := range tt.queues {
					all = append(all, store.partition(t, gate, no, events...))
				}
				closeAll(t, all...)
				for i := range store.done {
					slices.Sort(store.done[i].parts)
				}
				slices.SortStableFunc(store.done, func(x, y transaction) int { return int(x.at-y.at)*100 + x.parts[0] - y.parts[0] })
				require.Equal(t, tt.want, store.done)
				for no, events := range tt.queues {
					require.Equal(t, events[len(events)-1].Message.Sequence, store.positions[no])
				}
			})
		})
	}
}

func TestABatchIsGatheredWhenItsTurnHasCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newTogether()
		gate := batcher.NewGate(1, store)
		first := store.partition(t, gate, 0, step(1, 100))
		second, third := store.partition(t, gate, 1, step(1, 100)), store.partition(t, gate, 2, step(1, 100))
		for seq := uint64(2); seq <= 4; seq++ { // while they wait
			require.NoError(t, second.Add(t.Context(), step(seq, 100)))
			require.NoError(t, third.Add(t.Context(), step(seq, 100)))
		}
		closeAll(t, first, second, third)
		require.Equal(t, []int{1, 4, 4}, store.sizes)
		rows, bytes := second.Waits()
		require.Zero(t, rows+bytes)
	})
}

func TestABatchThatFillsUpWhileItWaitsTakesAPlaceThatSmallOnesLeaveFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newTogether()
		store.took = func([]int) time.Duration { return 100 * ms }
		gate := batcher.NewGate(3, store)
		var all []*partition
		for no := range 4 {
			all = append(all, store.partition(t, gate, no, step(1, 100)))
		}
		sleep(50 * ms)
		for seq := uint64(2); seq <= 10; seq++ {
			require.NoError(t, all[3].Add(t.Context(), step(seq, 100)))
		}
		closeAll(t, all...)
		require.ElementsMatch(t, []transaction{{100 * ms, []int{0}}, {100 * ms, []int{1}}, {150 * ms, []int{3}}, {200 * ms, []int{2}}}, store.done)
		require.Equal(t, 10, store.sizes[2], "all of it")
	})
}

// What comes in after the gate has looked does not make a transaction larger than a batch.
func TestABatchTakesNoMoreThanThereIsRoomForBesideTheOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		rows, bytes int
		want        int
	}{
		{"alone", 0, 0, 10},
		{"beside rows", 7, 0, 3},
		{"beside bytes", 0, 4600, 4},
		{"the first event is in it, whatever there is", 10, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := batcher.Config{MaxRows: 10, MaxBytes: 5000}.WithDefaults()
			b := batcher.New(cfg, batcher.Deps{Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Log: zap.NewNop()}, batcher.Start{})
			for _, ev := range steps(1, 20) {
				require.NoError(t, b.Add(t.Context(), ev))
			}
			require.Len(t, b.Gather(tt.rows, tt.bytes).Events, tt.want)
		})
	}
}

// Whatever makes a transaction of several batches fail is found by each alone: it is one partition's, and no other's.
func TestBatchesThatAreNotCommittedTogetherAreCommittedAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		event wire.Event // of partition 2, of 1 to 3
		world func(*together)
		ends  string // partition 2, with this error
	}{
		{"the lease of one is lost", step(1, 100), func(s *together) { s.epochs[2] = 8 }, "another epoch"},
		{"one was moved", step(1, 100), func(s *together) { s.positions[2] = 5 }, "position is 5"},
		{"an event of one is refused", refusedStep(1), func(*together) {}, ""},
		{"the database is away for all", step(1, 100), func(s *together) {
			s.before = func(parts []int) error { return unless(len(parts) == 1, again) }
		}, ""},
		{"the answer is lost, and it was done", step(1, 100), func(s *together) {
			s.after = func(parts []int) error { return unless(len(parts) == 1, again) }
		}, ""},
		{"it hangs", step(1, 100), func(s *together) {
			s.took = func(parts []int) time.Duration { return 10*ms + time.Duration(len(parts)-1)*time.Hour }
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newTogether()
				tt.world(store)
				gate := batcher.NewGate(1, store)
				holder := store.partition(t, gate, 0, step(1, 100))
				one, two, three := store.partition(t, gate, 1, step(1, 100)), store.partition(t, gate, 2, tt.event), store.partition(t, gate, 3, step(1, 100))
				if tt.ends != "" {
					require.ErrorContains(t, <-two.out, tt.ends)
					closeAll(t, holder, one, three)
					require.Empty(t, store.applied[2])
				} else {
					closeAll(t, holder, one, two, three)
				}
				require.Equal(t, 1, store.failed)
				for _, p := range []*partition{one, three} {
					require.Len(t, p.told, 1)
					require.EqualValues(t, 1, p.told[0].To)
				}
				require.Equal(t, []uint64{1}, store.applied[1], "once")
				require.Equal(t, []uint64{1}, store.applied[3], "once")
				if tt.event.Ops[0].NodeID != "" {
					require.Empty(t, store.applied[2])
					require.Len(t, two.graves.letters, 1, "and it is kept before the position passes it")
				}
			})
		})
	}
}

func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func TestWhoseTermEndsHoldsUpNobodyWhoseBatchIsCommittedWithHis(t *testing.T) {
	t.Parallel()
	why := errors.New("lease was lost")
	for _, tt := range []struct {
		name string
		cut  int           // which of the three that wait is cut
		at   time.Duration // when
		want []transaction
	}{
		{"who leads, while they are committed", 1, 15 * ms, []transaction{{10 * ms, []int{0}}, {25 * ms, []int{2}}, {35 * ms, []int{3}}}},
		{"who is led, while they are committed", 3, 15 * ms, []transaction{{10 * ms, []int{0}}, {20 * ms, []int{1, 2, 3}}}},
		{"who waits in line", 1, 5 * ms, []transaction{{10 * ms, []int{0}}, {20 * ms, []int{2, 3}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newTogether()
				gate := batcher.NewGate(1, store)
				var all []*partition
				for no := range 4 {
					all = append(all, store.partition(t, gate, no, step(1, 100)))
				}
				sleep(tt.at)
				all[tt.cut].cut(why)
				require.ErrorIs(t, <-all[tt.cut].out, why)
				require.Equal(t, tt.at, time.Since(epoch), "at once")
				closeAll(t, slices.Delete(all, tt.cut, tt.cut+1)...)
				require.Len(t, store.done, len(tt.want))
				var parts, want [][]int
				for i, done := range store.done {
					require.Equal(t, tt.want[i].at, done.at)
					parts, want = append(parts, done.parts), append(want, tt.want[i].parts)
				}
				require.ElementsMatch(t, want, parts) // who of those that then go alone comes first is open

				last := store.partition(t, gate, 9, step(1, 100)) // no place is lost
				closeAll(t, last)
			})
		})
	}
}

func TestSmallCommitsThatAreStuckLeaveTheOtherPlacesToTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newTogether()
		store.took = func(parts []int) time.Duration {
			if parts[0] < 2 {
				return 10 * time.Second
			}
			return 10 * ms
		}
		gate := batcher.NewGate(3, store)
		var all []*partition
		for no := range 5 {
			all = append(all, store.partition(t, gate, no, step(1, 100)))
		}
		sleep(time.Second)
		store.mu.Lock()
		require.Equal(t, []transaction{{210 * ms, []int{2, 3, 4}}}, store.done)
		store.mu.Unlock()
		closeAll(t, all...)
		require.Equal(t, 10*time.Second, time.Since(epoch))
	})
}
