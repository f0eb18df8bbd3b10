package bench

import (
	"fmt"
	"strings"
)

// Why targets are missed, where they are. The figures come with the measurement, see [Report.spent]; docs/performance.md has where the CPU time goes.
const (
	medianMissed = "A step wakes the nats-server and the client one after the other, on cores that commit the steps before it, where a direct write wakes the database alone."

	aloneMissed = "A step passes through four processes, with a wake-up for each, and what was saved before is committed meanwhile on the same" +
		" cores: what the slowest calls take longer they wait for one of them. The synchronous store has one process to wake, and nothing else runs."

	togetherMissed = "Ours is sent steps at the rate at which the synchronous store has no core to spare, and at that has little to spare itself; commits" +
		" come in bursts, beside which the slowest calls wait for a core."

	fleetMissed = "Both sides take all of the cores, so the ratio is that of the CPU that a step takes. Most of ours is the nats-server's and the client's, for publishing it and hearing that" +
		" it is stored: these alone take about as much as the target leaves for all, or more."

	alwaysMissed = "The groups have nearly all of the 64 workers' steps, and one is under way at a time: it is taken in, written to files of its own, synced with four fsyncs and three synced" +
		" writes, stored and acknowledged before the next one begins. A third of that time goes into the files and their syncs, most of the rest is the nats-server's CPU, on one core. Where" +
		" the disk syncs fast, the synchronous store has little to wait for."

	readMissed = "A read is a request to the daemon, through the nats-server, and, beside its SELECT, one of the daemon to the log, which alone knows whether something newer was acknowledged: two" +
		" round trips through the nats-server, one after the other, where a SELECT is one."

	drainedMissed = "The drain takes all of the cores, and a read wakes half a dozen threads of four processes one after the other, each of which waits for one. While the steps are held up, and" +
		" the cores are free, the same reads take hardly longer than when idle."

	checkpointMissed = "Both sides take all of the cores. Publishing a checkpoint and hearing of it costs the client and the nats-server alone more than the target leaves for all; and what waits" +
		" for its commit cannot wait for many others, so that the database commits small batches."

	drainMissed = "Both sides take all of the cores, so the ratio is that of the CPU that a step takes: it costs the database much less than in a raw insert, and the nats-server and the daemon" +
		" together more than that."

	daemonMissed = "It is spread: the nats client, decoding, batching, writing statements, and a fourth of it is allocating and collecting, most of that for the messages that nats.go makes. How much" +
		" hangs on the machine: where a raw insert took 28 µs, it took 10 on one and 13 on another."

	flatMissed = "10,000 steps are 10 MiB, which do not fill the queues and read-aheads of eight partitions. Once these are full the peak is the program's pages, some 20 MiB, the" +
		" runtime's, and the heap, which may grow to two and a half times what is live before it is collected. It does not grow from 1,000,000 to 2,000,000."

	replayMissed = "It is the same work as a drain, by the same code, into a table that is written anew: the ratio of two things so much alike is mostly what else the machine did."

	grownMissed = "With ids at random each new run goes to a page of its own of an index many times larger than the buffer pool, which the database has to read first and to write back: any" +
		" writer would pay for that. With ids in order it costs nothing."
)

// spent is what each step or call took of the cores, on both sides; empty where that was not measured, or is no reason: of memory.
func (r *Report) spent(f *Result) string {
	if strings.HasSuffix(f.Metric, memorySuffix) {
		return ""
	}
	var beside []Result
	for _, o := range r.Results {
		if o.Scenario == f.Scenario && o.place() == f.place() {
			beside = append(beside, o)
		}
	}
	ours, parts := cpu(beside, ourFigure)
	theirs, theirParts := cpu(beside, baseline)
	if ours == 0 || theirs == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Each took %s µs of CPU (%s)", number(ours), parts)
	if f.Metric == metricRate && f.Target.Of == OfRatio && f.Target.Op == AtLeast && f.Target.Value > 1 {
		fmt.Fprintf(&b, ", and of the baseline %s (%s), of which %g times its rate would leave %s", number(theirs), theirParts, f.Target.Value, number(theirs/f.Target.Value))
	} else {
		fmt.Fprintf(&b, ", and of the baseline %s (%s)", number(theirs), theirParts)
	}
	w, ok := waited(beside, ourFigure)
	theirW, theirOK := waited(beside, baseline)
	if ok && theirOK {
		fmt.Fprintf(&b, "; threads that could run waited for a core for %s and %s µs", number(w), number(theirW))
	}
	if rate, ok := found(beside, metricRate, ourFigure); ok && r.Machine.Cores > 0 {
		fmt.Fprintf(&b, ". At %s a second ours used %.0f %% of the %d cores", number(rate), 100*rate*ours/1e6/float64(r.Machine.Cores), r.Machine.Cores)
	}
	return b.String() + "."
}

// cpu is the CPU time of all processes, with each one's in words.
func cpu(results []Result, of func(Result) *float64) (sum float64, parts string) {
	var each []string
	for _, p := range processes {
		if v, ok := found(results, p+cpuSuffix, of); ok {
			sum += v
			each = append(each, p+" "+number(v))
		}
	}
	return sum, strings.Join(each, ", ")
}
