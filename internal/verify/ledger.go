package verify

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
)

// ledgerBits is how many buckets a ledger has, as a power of two: 2^16 of 16 bytes are 1 MiB, and of ten million rows each holds 150.
const ledgerBits = 16

// ledger tells whether two sets of rows are the same without keeping either: the rows of which the log says that they are there, and those
// of which the tables do. Each is put into one of many buckets by a hash of its key and place, added from the one side and taken away on
// the other; a bucket that is not empty in the end has rows that only one side has, and only those are looked at. Its methods may be
// called concurrently.
type ledger struct {
	seed maphash.Seed

	mu      sync.Mutex // guards what follows
	buckets []bucket
}

type bucket struct {
	sum   uint64 // of the rows' hashes, with overflow
	count int64
}

func newLedger() *ledger {
	return &ledger{seed: maphash.MakeSeed(), buckets: make([]bucket, 1<<ledgerBits)}
}

func (l *ledger) hash(k Key, at Place) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	b := []byte{byte(k.Table)}
	b = binary.BigEndian.AppendUint32(b, uint32(k.Step)) //nolint:gosec // G115: any 32 bits.
	b = binary.BigEndian.AppendUint32(b, at.Generation)
	b = binary.BigEndian.AppendUint64(b, at.Sequence)
	_, _ = h.Write(b)          // never fails
	_, _ = h.WriteString(k.ID) // never fails
	return h.Sum64()
}

// explained adds a row that an event wrote.
func (l *ledger) explained(k Key, at Place) { l.put(l.hash(k, at), 1) }

// claimed takes away a row that says it was written at a place.
func (l *ledger) claimed(k Key, at Place) { l.put(l.hash(k, at), -1) }

func (l *ledger) put(h uint64, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.buckets[h>>(64-ledgerBits)]
	b.count += n
	b.sum += uint64(n) * h //nolint:gosec // G115: with overflow, so that -1 takes away.
}

// open reports whether the row's bucket has rows that only one side has.
func (l *ledger) open(k Key, at Place) bool {
	h := l.hash(k, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets[h>>(64-ledgerBits)] != bucket{}
}

// balanced reports whether no bucket has.
func (l *ledger) balanced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.buckets {
		if l.buckets[i] != (bucket{}) {
			return false
		}
	}
	return true
}
