package wire

// body is what the JSON of an event says.
type body struct {
	token   string  // the subject's
	has     members // of the event itself; those of its ops in ops are not in it
	id      string  // run_id, or the checkpoint_id outside of ops
	attempt uint32
	hash    [32]byte
	ops     []Op
}

// decodeBody reads the body of an event that was published under a key of kind, which its subject's token spells.
func decodeBody(kind, token string, src []byte) (b body, err error) {
	b.token = token
	r := newReader(src)
	var op Op
	if err := b.read(&r, kind, &op); err != nil {
		return b, err
	}
	if err := r.end(); err != nil {
		return b, err
	}
	single := b.has & ofOps
	if kind == KindCheckpoint { // which says the one that the subject names, whatever the ops are
		b.id, single = op.ID, single&^set(memberCheckpointID)
	}
	switch {
	case kind == KindAttempt:
		return b, b.begin()
	case !b.has.has(memberOps):
		return b, b.single(kind, op)
	case single != 0:
		return b, poison(CodeBody, "body has both ops and the members of a single op: use one form")
	}
	return b, nil
}

// read reads the event's object; op is made of the members that are not the event's own.
func (b *body) read(r *reader, kind string, op *Op) error {
	if err := r.open(); err != nil {
		return err
	}
	for {
		name, err := r.name()
		if err != nil || name == nil {
			return err
		}
		m, known := memberOf(name)
		switch {
		case !known || !(envelope | ofOps).has(m):
			return unknown(name)
		case b.has.has(m):
			return poisonf(CodeBody, "member %q is there twice", m)
		case kind == KindCheckpoint && set(memberRunID, memberAttempt, memberContentHash).has(m):
			return poisonf(CodeBody, "member %q does not belong under a checkpoint's subject", m)
		}
		b.has |= set(m)
		if m == memberOps {
			err = b.readOps(r, kind)
		} else {
			err = b.take(r, m, op)
		}
		if err != nil {
			return err
		}
	}
}

// take reads the value of a member that is not ops.
func (b *body) take(r *reader, m member, op *Op) error {
	value, err := r.value()
	if err != nil {
		return err
	}
	switch m {
	case memberRunID:
		if len(value) == len(b.token)+2 && string(value[1:len(value)-1]) == b.token && value[0] == '"' {
			b.id = b.token // nearly always: a string less, for each step
		} else {
			err = text(m, value, &b.id)
		}
	case memberAttempt:
		b.attempt, err = attemptNumber(value)
	case memberContentHash:
		b.hash, err = contentHash(value)
	default:
		err = op.take(m, value, r.nested)
	}
	return err
}

// begin is the body that begins an attempt: it has a number and nothing else.
func (b *body) begin() error {
	if b.has&^set(memberRunID, memberAttempt) != 0 {
		return poison(CodeBody, "the beginning of an attempt has run_id and attempt, and nothing else")
	}
	if b.attempt == 0 {
		return poison(CodeBody, "member attempt is missing")
	}
	b.ops = []Op{{Type: OpAttempt}}
	return nil
}

// single is the body that is one op of the key in the subject.
func (b *body) single(kind string, op Op) error {
	has := b.has & ofOps
	op.Type = OpStep
	if kind == KindCheckpoint {
		op.Type = OpCheckpoint
		has |= set(memberCheckpointID) // the subject names it
	}
	if err := op.Type.fits(has); err != nil {
		return err
	}
	b.ops = []Op{op}
	return nil
}

// readOps reads the list of ops.
func (b *body) readOps(r *reader, kind string) error {
	list, err := r.list()
	if err != nil {
		return err
	}
	if !list {
		if _, err := r.value(); err != nil {
			return err
		}
		return poison(CodeBody, "ops is not an array")
	}
	for {
		more, err := r.more()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if len(b.ops) == MaxOps {
			return poisonf(CodeBody, "ops holds more than %d ops", MaxOps)
		}
		op, err := readOp(r, len(b.ops))
		if err != nil {
			return err
		}
		if kind == KindCheckpoint && op.Type != OpCheckpoint {
			return poisonf(CodeBody, "op %d is a %s: only checkpoints, of no attempt, are written under a checkpoint's subject", len(b.ops), op.Type)
		}
		b.ops = append(b.ops, op)
	}
	if len(b.ops) == 0 {
		return poison(CodeBody, "ops is empty: an event has at least one op")
	}
	return nil
}

// readOp reads the i-th op of a list. Which op it is may be said after its members.
func readOp(r *reader, i int) (op Op, err error) {
	if err := r.open(); err != nil {
		return op, err
	}
	var (
		has   members
		which string
	)
	for {
		name, err := r.name()
		if err != nil {
			return op, err
		}
		if name == nil {
			return op, op.become(which, has, i)
		}
		m, known := memberOf(name)
		switch {
		case !known || envelope.has(m):
			return op, unknown(name)
		case has.has(m):
			return op, poisonf(CodeBody, "member %q of op %d is there twice", m, i)
		}
		has |= set(m)
		value, err := r.value()
		if err != nil {
			return op, err
		}
		if m == memberOp {
			err = text(m, value, &which)
		} else {
			err = op.take(m, value, r.nested)
		}
		if err != nil {
			return op, err
		}
	}
}

// become makes op, which has those members, the op of that name.
func (op *Op) become(name string, has members, i int) error {
	if op.Type = opNamed(name); op.Type == 0 {
		return poisonf(CodeOp, "op %d is a %.40q, which this version does not know", i, name)
	}
	if err := op.Type.fits(has &^ set(memberOp)); err != nil {
		return err
	}
	if op.Type == OpCheckpointV2 {
		if op.V2 == nil {
			op.V2 = &V2{}
		}
		if op.V2.Frontier == nil {
			op.V2.Frontier = null
		}
		if op.V2.RecordedIOs == nil {
			op.V2.RecordedIOs = null
		}
	}
	return nil
}

// opNamed is the op of that name among those that a list may hold, or 0.
func opNamed(name string) OpType {
	switch name {
	case "step":
		return OpStep
	case "checkpoint":
		return OpCheckpoint
	case "checkpoint_v2":
		return OpCheckpointV2
	case "event":
		return OpOutbox
	case "delete_run":
		return OpDeleteRun
	}
	return 0
}

func unknown(name []byte) error {
	return poisonf(CodeBody, "member %.40q is unknown to this version", name)
}
