package wire

import (
	"encoding/hex"
	"math"
	"regexp"
	"strconv"
	"time"
)

// member is a member of a body's objects.
type member uint8

// The members of an event, and of its ops.
const (
	memberRunID member = iota
	memberAttempt
	memberContentHash
	memberOps

	memberOp
	memberStep
	memberNodeID
	memberState
	memberCheckpointID
	memberStepID
	memberFrontier
	memberRecordedIOs
	memberRNGSeed
	memberTimestamp
	memberLabel
	memberKey
	memberEventID
	memberData
	memberCount
)

// memberOf is the member of that name.
func memberOf(name []byte) (m member, known bool) {
	switch string(name) {
	case "run_id":
		return memberRunID, true
	case "attempt":
		return memberAttempt, true
	case "content_hash":
		return memberContentHash, true
	case "ops":
		return memberOps, true
	case "op":
		return memberOp, true
	case "step":
		return memberStep, true
	case "node_id":
		return memberNodeID, true
	case "state":
		return memberState, true
	case "checkpoint_id":
		return memberCheckpointID, true
	case "step_id":
		return memberStepID, true
	case "frontier":
		return memberFrontier, true
	case "recorded_ios":
		return memberRecordedIOs, true
	case "rng_seed":
		return memberRNGSeed, true
	case "timestamp":
		return memberTimestamp, true
	case "label":
		return memberLabel, true
	case "idempotency_key":
		return memberKey, true
	case "event_id":
		return memberEventID, true
	case "data":
		return memberData, true
	}
	return 0, false
}

// String is the member's name.
func (m member) String() string { return memberNames[m] }

var memberNames = [memberCount]string{
	"run_id", "attempt", "content_hash", "ops",
	"op", "step", "node_id", "state", "checkpoint_id", "step_id", "frontier", "recorded_ios", "rng_seed", "timestamp", "label",
	"idempotency_key", "event_id", "data",
}

// members is a set of them.
type members uint32

func set(list ...member) (s members) {
	for _, m := range list {
		s |= 1 << m
	}
	return s
}

func (s members) has(m member) bool { return s&(1<<m) != 0 }

// first is the first member of a set that is not empty, in the order of the constants.
func (s members) first() (m member) {
	for !s.has(m) {
		m++
	}
	return m
}

var (
	// envelope are the members of an event itself, whatever it holds.
	envelope = set(memberRunID, memberAttempt, memberContentHash, memberOps)
	// ofOps are those of an op, whichever it is; its name aside, they may stand in the event itself when that is one op.
	ofOps = set(memberStep, memberNodeID, memberState, memberCheckpointID, memberStepID, memberFrontier, memberRecordedIOs, memberRNGSeed,
		memberTimestamp, memberLabel, memberKey, memberEventID, memberData)
)

// shapes are the members that each op must have and may have.
var shapes = [...]struct{ must, may members }{
	OpStep:       {must: set(memberStep, memberNodeID, memberState)},
	OpCheckpoint: {must: set(memberCheckpointID, memberStep, memberState)},
	OpCheckpointV2: {
		must: set(memberStepID, memberState),
		may:  set(memberFrontier, memberRecordedIOs, memberRNGSeed, memberTimestamp, memberLabel, memberKey),
	},
	OpOutbox:    {must: set(memberEventID, memberData)},
	OpDeleteRun: {},
}

// fits reports as a *[Poison] why an op of type t cannot have the members has, or nil.
func (t OpType) fits(has members) error {
	shape := shapes[t]
	if missing := shape.must &^ has; missing != 0 {
		return poisonf(CodeBody, "member %s is missing", missing.first())
	}
	if other := has &^ (shape.must | shape.may); other != 0 {
		return poisonf(CodeBody, "member %q does not belong to a %s", other.first(), t)
	}
	return nil
}

// take sets what a member of the op says; nested is how deep its value is.
func (op *Op) take(m member, value []byte, nested int) (err error) {
	switch m {
	case memberStep, memberStepID:
		op.Step, err = integer(m, value)
		return err
	case memberNodeID:
		if err := text(m, value, &op.NodeID); err != nil {
			return err
		}
		return CheckNodeID(op.NodeID)
	case memberCheckpointID, memberEventID:
		if err := text(m, value, &op.ID); err != nil {
			return err
		}
		return CheckID(op.ID)
	case memberState, memberData:
		op.State = value
		op.Shallow = nested <= MaxDepthPortable
		return shallow(m, nested)
	default:
		if op.V2 == nil {
			op.V2 = &V2{}
		}
		return op.V2.take(m, value, nested)
	}
}

func (v2 *V2) take(m member, value []byte, nested int) error {
	switch m {
	case memberFrontier:
		v2.Frontier = value
		return shallow(m, nested)
	case memberRecordedIOs:
		v2.RecordedIOs = value
		return shallow(m, nested)
	case memberRNGSeed:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return poisonf(CodeBody, "rng_seed %.40s is not a whole number of 64 bits", value)
		}
		v2.RNGSeed = n
		return nil
	case memberTimestamp:
		return instant(m, value, &v2.Timestamp)
	case memberLabel:
		if err := text(m, value, &v2.Label); err != nil {
			return err
		}
		return CheckLabel(v2.Label)
	default: // memberKey
		if err := text(m, value, &v2.Key); err != nil {
			return err
		}
		return CheckKey(v2.Key)
	}
}

// shallow refuses a value that is nested too deep.
func shallow(m member, nested int) error {
	if nested > MaxDepth {
		return poisonf(CodeDepth, "%s is nested %d deep, more than %d", m, nested, MaxDepth)
	}
	return nil
}

func integer(m member, value []byte) (int32, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, poisonf(CodeStep, "%s %.40s is not a whole number from %d to %d", m, value, math.MinInt32, math.MaxInt32)
	}
	return int32(n), nil
}

func attemptNumber(value []byte) (uint32, error) {
	n, err := strconv.ParseUint(string(value), 10, 32)
	if err != nil || n == 0 || n > MaxAttempt {
		return 0, poisonf(CodeBody, "attempt %.40s is not a whole number from 1 to %d", value, MaxAttempt)
	}
	return uint32(n), nil
}

func contentHash(value []byte) (sum [32]byte, err error) {
	var digits string
	if err := text(memberContentHash, value, &digits); err != nil {
		return sum, err
	}
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(sum) {
		return sum, poisonf(CodeBody, "content_hash is not %d hex digits", 2*len(sum))
	}
	return [32]byte(b), nil
}

func text(m member, value []byte, to *string) error {
	if len(value) == 0 || value[0] != '"' {
		return poisonf(CodeBody, "member %s is not a string", m)
	}
	b, err := unquote(value)
	if err != nil {
		return poisonf(CodeBody, "member %s: %v", m, err)
	}
	*to = string(b)
	return nil
}

// rfc3339 is how a time is written. time.Parse alone takes more: an hour of one digit, a comma for the point, an offset of a day.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// instant is a time to the microsecond, as the columns are.
func instant(m member, value []byte, to *time.Time) error {
	var s string
	if err := text(m, value, &s); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !rfc3339.MatchString(s) {
		return poisonf(CodeBody, "member %s %.60q is not a time as RFC 3339 has it", m, s)
	}
	*to = t.UTC().Truncate(time.Microsecond)
	return CheckTimestamp(*to)
}
