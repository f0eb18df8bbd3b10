package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/go-json-experiment/json/jsontext"
)

// HashContent tells whether two events say the same: they have the same hash when they write the same things, whatever blanks, order of
// members or spelling of numbers their JSON has. Left out is what a retry of the same work makes anew: timestamps and the ids of outbox
// events. id is the run of the event.
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

// hashJSON hashes the value of a JSON text; one that has no canonical form (a name twice in an object) by its bytes. Integers are kept
// digit by digit: as the floats of RFC 8785, two ids above 2^53 would be one, and the second write be taken for a retry of the first.
func hashJSON(h hash.Hash, text []byte) {
	v := append(jsontext.Value(nil), text...)
	if v.Canonicalize(jsontext.CanonicalizeRawInts(false)) != nil {
		v = text
	}
	hashBytes(h, v)
}

func hashBytes(h hash.Hash, b []byte) {
	hashUint(h, uint64(len(b)))
	h.Write(b)
}

func hashUint(h hash.Hash, n uint64) { h.Write(binary.BigEndian.AppendUint64(nil, n)) }
