package readpath

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// chainWriter writes steps of a run as a client does that numbers them.
type chainWriter struct {
	name    string
	chain   wire.Chain
	step    int32
	attempt uint32
}

// chainLog is the events under a run's subject, in log order, and who wrote them.
type chainLog struct {
	d       *rand.Rand
	writers []*chainWriter
	events  []wire.Event
	attempt uint32
	ids     int
}

func newChainLog(seed uint64) *chainLog {
	l := &chainLog{d: rand.New(rand.NewPCG(seed, 1))}
	for i := range 1 + l.d.IntN(2) {
		l.writers = append(l.writers, &chainWriter{name: fmt.Sprint("w", i)})
	}
	for range 1 + l.d.IntN(9) {
		l.write()
	}
	return l
}

// write has some writer write something: mostly the next step of a chain.
func (l *chainLog) write() {
	w := l.writers[l.d.IntN(len(l.writers))]
	seq := uint64(len(l.events)*2 + 1 + l.d.IntN(2))
	ev := wire.Event{Kind: wire.KindRun, RunID: "run", Message: wire.Message{Sequence: seq}}
	if l.d.IntN(12) == 0 {
		l.attempt++
	}
	ev.Attempt = l.attempt
	if l.attempt > 0 && l.d.IntN(8) == 0 {
		ev.Attempt--
	}
	step := w.step + int32(l.d.IntN(3))
	switch l.d.IntN(20) {
	case 0: // it begins again, as one who loaded the run does
		step = int32(l.d.IntN(12))
	case 1:
		ev.Ops, ev.Attempt = []wire.Op{{Type: wire.OpDeleteRun}}, ev.Attempt*uint32(l.d.IntN(2))
	case 2:
		ev.Ops = []wire.Op{{Type: wire.OpStep, Step: 20}, {Type: wire.OpCheckpointV2, V2: &wire.V2{Key: "k"}}}
	case 3:
		ev.Part = wire.Part{Transaction: "t", No: 1 + l.d.IntN(2), Of: 2}
	case 4:
		ev.Poison = &wire.Poison{}
	}
	if ev.Ops == nil {
		ev.Ops = []wire.Op{{Type: wire.OpStep, Step: step, State: fmt.Append(nil, seq)}}
	}
	switch {
	case len(ev.Ops) > 1 || ev.Ops[0].Type != wire.OpStep || ev.Part.Transaction != "" || l.d.IntN(12) == 0: // or it does not know what became of it
		w.chain = wire.Chain{}
	case w.chain.No > 0 && w.attempt == ev.Attempt && w.step <= step:
		w.chain.No++
	default:
		l.ids++
		w.chain = wire.Chain{ID: fmt.Sprint(w.name, "-", l.ids), No: 1}
	}
	w.step, w.attempt = step, ev.Attempt
	if w.chain.No > 0 {
		ev.Message.Header = wire.Header{wire.HeaderChain: {w.chain.String()}}
	}
	if ev.Poison != nil {
		ev.Ops = nil
	}
	l.events = append(l.events, ev)
}

// first is the oldest event at or after from of those that are not trimmed, and how many there are from it on.
func (l *chainLog) first(from uint64) (first *wire.Event, held uint64) {
	for i := range l.events {
		if l.events[i].Message.Sequence >= from {
			return &l.events[i], uint64(len(l.events) - i)
		}
	}
	return nil, 0
}

func answer(events []wire.Event, after uint64, row *wire.StepRecord, begun uint32, position uint64) *wire.StepRecord {
	var tail runTail
	for i := range events {
		if events[i].Message.Sequence > after {
			tail.see(&events[i])
		}
	}
	return tail.all().latest(row, begun, position)
}

// I6: whoever wrote what in between, and whatever is trimmed, committed or written meanwhile: where the chain says that the last event is
// enough, the answer is that of the whole tail.
func TestI6TheLastEventOfAChainAnswersAsTheWholeTail(t *testing.T) {
	t.Parallel()
	taken, long, refused := 0, 0, 0
	for seed := range uint64(60_000) {
		l := newChainLog(seed)
		end := len(l.events)
		last := &l.events[end-1]
		seen := l.events
		after := uint64(l.d.IntN(2*end + 1))
		if last.Message.Sequence <= after {
			continue
		}
		if l.d.IntN(4) == 0 { // more is written before it is counted
			l.write()
			last, seen = &l.events[end-1], l.events[:end]
		}
		from := []uint64{0, after + 1}[l.d.IntN(2)]
		first, held := l.first(max(from, uint64(l.d.IntN(int(after)+1)))) // what is committed may be trimmed
		if l.d.IntN(4) == 0 {                                             // it is trimmed between the counting and the looking
			later, _ := l.first(first.Message.Sequence + uint64(l.d.IntN(3)))
			if later != nil && later.Message.Sequence <= last.Message.Sequence {
				first, after = later, max(after, later.Message.Sequence-1)
			}
		}
		if last.Message.Sequence <= after || !Chained(first, last, held) {
			refused++
			continue
		}
		if taken++; held > 2 {
			long++
		}
		for range 8 {
			position, begun := after+uint64(l.d.IntN(6)), uint32(l.d.IntN(4))
			var row *wire.StepRecord
			if l.d.IntN(3) > 0 {
				row = &wire.StepRecord{Step: int32(l.d.IntN(12)), Attempt: uint32(l.d.IntN(3))}
			}
			whole, alone := answer(seen, after, row, begun, position), answer(seen[end-1:end], after, row, begun, position)
			require.Equal(t, whole, alone, "seed %d", seed)
		}
	}
	require.Greater(t, taken, 5000)
	require.Greater(t, long, 1000)
	require.Greater(t, refused, 10_000)
}
