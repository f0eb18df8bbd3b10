package client

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aLog is a log in which a write takes single, and a batch takes batch and each of its messages on top. Single writes that are under way are before
// the batch that follows them.
type aLog struct {
	single, batch, each time.Duration
	stalls              *rand.Rand // of a disk that others use as well; nil is none
}

// took is how long something takes that takes d on a disk that nobody else uses.
func (l aLog) took(d time.Duration) time.Duration {
	if l.stalls == nil {
		return d
	}
	d += time.Duration(float64(d) * l.stalls.ExpFloat64())
	if l.stalls.Float64() < 3*d.Seconds() {
		d += time.Duration(20+l.stalls.IntN(300)) * time.Millisecond
	}
	return d
}

// run has workers write for a while to a log, as the pace says, and returns how many writes it took, and for how long they were grouped.
func (l aLog) run(p *pace, now time.Time, workers int, d time.Duration) (end time.Time, writes int, grouped time.Duration) {
	before := 0
	for end = now; end.Sub(now) < d; {
		began := end
		switch {
		case !p.grouped:
			end = end.Add(l.took(l.single))
			before = workers - 1
			p.single(end, workers)
			writes++
		case before > 0: // the first of those who return
			took := l.took(time.Duration(before+1) * l.single)
			end = end.Add(took)
			writes += before + 1
			before = 0
			p.group(end, took, 1, workers, false, true)
		default:
			took, batch := time.Duration(workers)*l.single, false
			if workers >= p.least {
				took, batch = l.batch+time.Duration(workers)*l.each, true
			}
			took = l.took(took)
			end = end.Add(took)
			writes += workers
			grouped += end.Sub(began)
			p.group(end, took, workers, workers, batch, true)
		}
	}
	return end, writes, grouped
}

var (
	fsyncing = aLog{single: 400 * time.Microsecond, batch: 3 * time.Millisecond, each: 20 * time.Microsecond}
	busy     = aLog{single: 260 * time.Microsecond, batch: 14 * time.Millisecond, each: 50 * time.Microsecond}
	fast     = aLog{single: 20 * time.Microsecond, batch: 3 * time.Millisecond, each: 20 * time.Microsecond}
	// What a batch saves is less than half, as where the disk is fast.
	mild = aLog{single: 150 * time.Microsecond, batch: 3 * time.Millisecond, each: 30 * time.Microsecond}
)

func TestManyWritersToALogThatFsyncsAreGrouped(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now, _, _ := fsyncing.run(&p, time.Unix(0, 0), 64, time.Second)
	require.True(t, p.grouped)
	_, writes, _ := fsyncing.run(&p, now, 64, 10*time.Minute)
	require.InEpsilon(t, 600/(0.00428/64), writes, 0.01, "what is spent on looking again is less than a hundredth")
}

// Whoever compares what a write takes now with what one took at another time is deceived by such a disk again and again.
func TestADiskThatOthersUseAsWellDoesNotMakeThePaceWaver(t *testing.T) {
	t.Parallel()
	const long = 4 * time.Minute
	for name, row := range map[string]struct {
		log         aLog
		least, most float64 // part of the time in which writes are grouped
	}{
		"that fsyncs":           {fsyncing, 0.9, 1},
		"that fsyncs fast":      {mild, 0.9, 1},
		"that is busy, no more": {busy, 0, 0.1},
		"that is fast":          {fast, 0, 0.001},
	} {
		for seed := range uint64(3) {
			l := row.log
			l.stalls = rand.New(rand.NewPCG(seed, 1))
			p := newPace(GroupAuto)
			_, _, grouped := l.run(&p, time.Unix(0, 0), 64, long)
			part := grouped.Seconds() / long.Seconds()
			require.True(t, row.least <= part && part <= row.most, "a log %s, %d: grouped %.3f of the time", name, seed, part)
		}
	}
}

// The first group after single writes waits for all that are under way; that is not what a group takes.
func TestAGroupIsNotBlamedForTheWritesBeforeIt(t *testing.T) {
	t.Parallel()
	l := aLog{single: 400 * time.Microsecond, batch: 16 * time.Millisecond, each: 20 * time.Microsecond} // 0.27 ms a write
	p := newPace(GroupAuto)
	_, _, grouped := l.run(&p, time.Unix(0, 0), 64, time.Minute)
	require.True(t, p.grouped)
	require.Greater(t, grouped, 55*time.Second)
}

func TestFewWritersAreNotGrouped(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4, 15} {
		p := newPace(GroupAuto)
		fsyncing.run(&p, time.Unix(0, 0), workers, time.Minute)
		require.False(t, p.grouped, workers)
	}
}

func TestWritersAreNotGroupedAnyMoreWhenMostHaveGone(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now, _, _ := fsyncing.run(&p, time.Unix(0, 0), 64, time.Second)
	require.True(t, p.grouped)
	now, _, _ = fsyncing.run(&p, now, 4, 100*time.Millisecond)
	require.False(t, p.grouped)
	fsyncing.run(&p, now, 64, time.Second)
	require.True(t, p.grouped, "and are again when they are back")
}

func TestALogThatDoesNotFsyncIsWrittenSingly(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	_, writes, _ := fast.run(&p, time.Unix(0, 0), 64, time.Minute)
	require.Equal(t, 3_000_000, writes, "there is nothing to try")
	require.False(t, p.grouped)
}

// On a machine that is busy a write takes long as well; then it is found out that a batch takes longer, ever more seldom.
func TestABusyLogIsTriedAndGivenUp(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now, writes := time.Unix(0, 0), 0
	tried := 0
	for range 3600 {
		before := p.pause
		var n int
		now, n, _ = busy.run(&p, now, 64, time.Second)
		writes += n
		if p.pause != before {
			tried++
		}
	}
	require.False(t, p.grouped)
	require.LessOrEqual(t, tried, 7)
	require.Equal(t, maxPause, p.pause)
	require.InEpsilon(t, 3600/260e-6, writes, 0.001)
}

func TestALogThatDoesNotFsyncAnyMoreIsWrittenSingly(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now, _, _ := fsyncing.run(&p, time.Unix(0, 0), 64, time.Second)
	require.True(t, p.grouped)
	fast.run(&p, now, 64, 2*stay)
	require.False(t, p.grouped)
}

func TestBatchesThatBecomeSlowAreGivenUpBeforeTheyAreDueToBeCompared(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now, _, _ := fsyncing.run(&p, time.Unix(0, 0), 64, time.Second)
	require.True(t, p.grouped)
	slow := fsyncing
	slow.batch = 50 * time.Millisecond
	slow.run(&p, now, 64, minPause+2*time.Second)
	require.False(t, p.grouped)
}

func TestGroupsThatAreALittleFasterAreKeptButNotBegun(t *testing.T) {
	t.Parallel()
	l := aLog{single: 400 * time.Microsecond, batch: 20 * time.Millisecond, each: 40 * time.Microsecond} // 0.35 ms a write
	begun, kept := newPace(GroupAuto), newPace(GroupAuto)
	l.run(&begun, time.Unix(0, 0), 64, time.Minute)
	require.False(t, begun.grouped)
	now, _, _ := fsyncing.run(&kept, time.Unix(0, 0), 64, time.Second)
	l.run(&kept, now, 64, 2*stay+time.Second)
	require.True(t, kept.grouped)
}

// Each turn in which groups are that slow keeps everybody waiting.
func TestGroupsThatArePlainlySlowerLoseInTwoTurns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		batch time.Duration
		turns int
	}{{20 * time.Millisecond, 3}, {40 * time.Millisecond, 2}} {
		l := aLog{single: 260 * time.Microsecond, batch: row.batch}
		p := newPace(GroupAuto)
		_, _, grouped := l.run(&p, time.Unix(0, 0), 64, minPause)
		require.False(t, p.grouped)
		require.Equal(t, time.Duration(row.turns*(groupsWindow+1))*row.batch, grouped)
	}
}

func TestABatchThatIsRefusedIsNotTriedAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	for _, mode := range []GroupPublish{GroupAuto, GroupAlways} {
		p := newPace(mode)
		now, _, _ = fsyncing.run(&p, now, 64, time.Second)
		require.True(t, p.grouped)
		p.unable(now)
		p.look(now.Add(minPause - 1))
		require.False(t, p.grouped)
		require.Equal(t, 2*minPause, p.pause)
		p.look(now.Add(minPause))
		require.Equal(t, mode == GroupAlways, p.grouped)
		fsyncing.run(&p, now.Add(minPause), 64, time.Second)
		require.True(t, p.grouped)
	}
}

func TestGroupsAreFormedAlwaysOrNeverWhenThatIsAskedFor(t *testing.T) {
	t.Parallel()
	always, never := newPace(GroupAlways), newPace(GroupNever)
	fast.run(&always, time.Unix(0, 0), 64, time.Minute)
	require.True(t, always.grouped)
	fsyncing.run(&never, time.Unix(0, 0), 64, time.Minute)
	require.False(t, never.grouped)
}

// As where the log takes no ids in a batch, or where one of those who write is refused each time: what is in a group is written twice.
func TestGroupsThatAreAllRefusedAreGivenUp(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now := time.Unix(0, 0)
	for !p.grouped {
		now = now.Add(fsyncing.single)
		p.single(now, 64)
	}
	refuse := func(n int) {
		for range n {
			now = now.Add(fsyncing.batch)
			p.group(now, fsyncing.batch, 64, 64, true, false)
		}
	}
	refuse(fewGroups - 1)
	require.True(t, p.grouped, "now and then one is refused")
	now = now.Add(fsyncing.batch)
	p.group(now, fsyncing.batch, 64, 64, true, true)
	refuse(fewGroups - 1)
	require.True(t, p.grouped, "one was logged meanwhile")
	refuse(1)
	require.False(t, p.grouped)
	fsyncing.run(&p, now, 64, minPause-time.Millisecond)
	require.False(t, p.grouped, "nor tried again at once")
	fsyncing.run(&p, now, 64, minPause+time.Second)
	require.True(t, p.grouped)
}

// Of those who were many when the comparison began.
func TestFewWhoAreLeftInAComparisonAreNotGrouped(t *testing.T) {
	t.Parallel()
	p := newPace(GroupAuto)
	now := time.Unix(0, 0)
	for !p.comparing || !p.grouped || p.behind {
		now, _, _ = fsyncing.run(&p, now, 64, time.Millisecond)
	}
	now, _, grouped := fsyncing.run(&p, now, 4, time.Minute)
	require.False(t, p.grouped)
	require.Less(t, grouped, 100*time.Millisecond)
	fsyncing.run(&p, now, 64, time.Second)
	require.True(t, p.grouped, "and are again when they are back")
}
