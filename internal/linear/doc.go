// Package linear records what concurrent clients do and see, and finds out whether there is one order that explains it all: each operation
// at one moment between its call and its answer.
//
//	History  Add, Add, … by many goroutines ──Check──▶ nil, or a *NotLinearizable with a picture of the history
//
// A key is checked by itself: a run seen through LoadLatest, a named checkpoint, a V2 checkpoint. A write whose outcome is unknown may have
// taken effect at any time after its call, or never. The search is porcupine's; it grows with the number of operations on one key that
// overlap, and most with those of unknown outcome: a workload moves on to new keys before they are many.
package linear
