package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// HashContent tells whether two events say the same: they have the same hash when they write the same things, whatever blanks, order of
// members or escapes their JSON has. Left out is what a retry of the same work makes anew: timestamps and the ids of outbox events. id is
// the run of the event.
//
// Numbers count as they are spelled. A canonical form of JSON that knows only doubles (RFC 8785) would make one of two large integers that
// differ, and with that a lost write of a reused key; that 1.0 is another content than 1 costs an error that somebody sees.
func HashContent(id string, ops []Op) [32]byte {
	h := sha256.New()
	hashBytes(h, []byte(id))
	for i := range ops {
		op := &ops[i]
		h.Write([]byte{byte(op.Type)})
		hashUint(h, uint64(uint32(op.Step))) //nolint:gosec // G115: any 32 bits.
		hashBytes(h, []byte(op.NodeID))
		if op.Type == OpCheckpoint {
			hashBytes(h, []byte(op.ID))
		}
		hashJSON(h, op.State)
		if v2 := op.V2; v2 != nil {
			hashJSON(h, v2.Frontier)
			hashJSON(h, v2.RecordedIOs)
			hashUint(h, uint64(v2.RNGSeed)) //nolint:gosec // G115: any 64 bits.
			hashBytes(h, []byte(v2.Label))
			hashBytes(h, []byte(v2.Key))
		}
	}
	return [32]byte(h.Sum(nil))
}

// hashJSON hashes a JSON text without what does not matter in it. Where a name is twice in an object the order does, and stays. None is null.
func hashJSON(h hash.Hash, text []byte) {
	if len(text) == 0 {
		text = null
	}
	v := append(jsontext.Value(nil), text...)
	if v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)) != nil {
		v = append(v[:0], text...)
		if v.Format(jsontext.AllowDuplicateNames(true)) != nil {
			v = text
		}
	}
	hashBytes(h, v)
}

var null = slices.Clip([]byte("null"))

func hashBytes(h hash.Hash, b []byte) {
	hashUint(h, uint64(len(b)))
	h.Write(b)
}

func hashUint(h hash.Hash, n uint64) { h.Write(binary.BigEndian.AppendUint64(nil, n)) }
