package wire

import (
	"strconv"
)

// The members that ops are made of.
const (
	memberStep = iota
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

var memberNames = [memberCount]string{
	"step", "node_id", "state", "checkpoint_id", "step_id", "frontier", "recorded_ios", "rng_seed", "timestamp", "label",
	"idempotency_key", "event_id", "data",
}

// shapes are the members that each op must have and may have.
var shapes = map[OpType]struct{ must, may []int }{
	OpStep:       {must: []int{memberStep, memberNodeID, memberState}},
	OpCheckpoint: {must: []int{memberCheckpointID, memberStep, memberState}},
	OpCheckpointV2: {
		must: []int{memberStepID, memberState},
		may:  []int{memberFrontier, memberRecordedIOs, memberRNGSeed, memberTimestamp, memberLabel, memberKey},
	},
	OpOutbox:    {must: []int{memberEventID, memberData}},
	OpDeleteRun: {},
}

// opFields are the members of an op as they come: which op it is may be said after them.
type opFields struct {
	seen uint16
	raw  [memberCount][]byte
}

func (o *opFields) has(member int) bool { return o.seen&(1<<member) != 0 }

func (o *opFields) set(name string, value []byte) error {
	for i, known := range memberNames {
		if name == known {
			o.seen |= 1 << i
			o.raw[i] = value
			return nil
		}
	}
	return poisonf(CodeBody, "member %.40q is unknown to this version", name)
}

// op makes the op of type t of what came.
func (o *opFields) op(t OpType) (Op, error) {
	shape, allowed := shapes[t], uint16(0)
	for _, m := range shape.must {
		if !o.has(m) {
			return Op{}, poison(CodeBody, "member "+memberNames[m]+" is missing")
		}
		allowed |= 1 << m
	}
	for _, m := range shape.may {
		allowed |= 1 << m
	}
	for m, name := range memberNames {
		if o.seen&^allowed&(1<<m) != 0 {
			return Op{}, poisonf(CodeBody, "member %q does not belong to a %s", name, t)
		}
	}
	op := Op{Type: t}
	for m := range memberNames {
		if value := o.raw[m]; value != nil {
			if err := op.take(m, value); err != nil {
				return Op{}, err
			}
		}
	}
	if t == OpCheckpointV2 {
		v2 := op.v2()
		if v2.Frontier == nil {
			v2.Frontier = []byte("null")
		}
		if v2.RecordedIOs == nil {
			v2.RecordedIOs = []byte("null")
		}
	}
	return op, nil
}

func (op *Op) v2() *V2 {
	if op.V2 == nil {
		op.V2 = &V2{}
	}
	return op.V2
}

// take sets what a member says.
func (op *Op) take(member int, value []byte) (err error) {
	name := memberNames[member]
	switch member {
	case memberStep, memberStepID:
		op.Step, err = integer(value)
		return err
	case memberNodeID:
		if err := text(name, value, &op.NodeID); err != nil {
			return err
		}
		return CheckNodeID(op.NodeID)
	case memberCheckpointID, memberEventID:
		if err := text(name, value, &op.ID); err != nil {
			return err
		}
		return CheckID(op.ID)
	case memberState, memberData:
		op.State = value
		return shallow(name, value)
	case memberFrontier:
		op.v2().Frontier = value
		return shallow(name, value)
	case memberRecordedIOs:
		op.v2().RecordedIOs = value
		return shallow(name, value)
	case memberRNGSeed:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return poisonf(CodeBody, "rng_seed %.40s is not a whole number of 64 bits", value)
		}
		op.v2().RNGSeed = n
		return nil
	case memberTimestamp:
		return instant(name, value, &op.v2().Timestamp)
	case memberLabel:
		if err := text(name, value, &op.v2().Label); err != nil {
			return err
		}
		return CheckLabel(op.V2.Label)
	default: // memberKey
		if err := text(name, value, &op.v2().Key); err != nil {
			return err
		}
		return CheckKey(op.V2.Key)
	}
}

func shallow(name string, value []byte) error {
	if d := Depth(value); d > MaxDepth {
		return poisonf(CodeDepth, "%s is nested %d deep, more than %d", name, d, MaxDepth)
	}
	return nil
}
