package readpath

import "github.com/persistd/persistd/internal/wire"

// Chained reports whether last, a run's newest event, is all that a read needs of those that the log holds from first on. It is, when first
// and last are of one chain (see [wire.HeaderChain]) and held, how many the log holds from first on, is how many the chain has from first
// to last. held is counted after last was read, and first is the oldest then, or as far as the reader is concerned.
//
// I6: what is left out is never the answer. Whoever wrote the chain wrote each event of it after the one before was acknowledged, and a log
// is trimmed from below: so as long as first is there, all that the chain has between the two are there as well.
//
//	held = those of the chain, from first to last
//	     + what others wrote in between            (or the writer himself, otherwise, or twice)
//	     + what came behind last, until it was counted
//
// The first is known from the two numbers. If held is no more, the rest is nothing: between first and last there are steps of one attempt
// that do not rise above last's, and nothing else. Of those candidates keeps last alone: it counts whenever one of them does, whatever
// position and row turn out to be.
//
// It takes two things on trust: that the writer numbers as it is to, and that the log has not lost what it had acknowledged, while the
// writer did not notice: its connection would break with the server that lost it.
func Chained(first, last *wire.Event, held uint64) bool {
	from, to := link(first), link(last)
	return from.No > 0 && from.ID == to.ID && from.No <= to.No && to.No-from.No+1 == held &&
		first.Attempt == last.Attempt && first.Ops[0].Step <= last.Ops[0].Step
}

// link is ev's place in a chain, the zero one when it is in none, or is no event that can be.
func link(ev *wire.Event) wire.Chain {
	if ev.Poison != nil || ev.Part.Transaction != "" || len(ev.Ops) != 1 || ev.Ops[0].Type != wire.OpStep {
		return wire.Chain{}
	}
	return wire.ChainOf(ev.Message.Header)
}

// MayBeChained reports whether it is worth while to look for the beginning of last's chain.
func MayBeChained(last *wire.Event) bool { return link(last).No > 0 }

// Overwrites reports whether last, the newest event under the subject of the checkpoint id, is all that a read needs of those that the log
// holds: of a checkpoint's writes the last one stands, whatever the position is.
func Overwrites(last *wire.Event, id string) bool {
	if last.Poison != nil || last.Part.Transaction != "" || len(last.Keys()) > 0 {
		return false
	}
	for i := range last.Ops {
		if op := &last.Ops[i]; op.Type == wire.OpCheckpoint && op.ID == id {
			return true
		}
	}
	return false
}
