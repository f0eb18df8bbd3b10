package wire

import (
	"strconv"
	"strings"
)

// HeaderPart marks a message that is a part of a transaction too large for one message: "<transaction id> <part> of <parts>". The parts are
// published as one atomic batch under one subject, so that they are in the log side by side, all or none; each is a body of its own,
// with some of the ops. The server's own Nats-Batch-* headers do not tell: events that have nothing to do with each other may share a
// batch to share its fsync.
const HeaderPart = "Persistd-Part"

// Part is which part of a transaction a message is.
type Part struct {
	// Transaction is the id that all parts have; "" when the message is all of it.
	Transaction string
	// No counts from 1 to Of.
	No, Of int
}

// String is the part as it stands in the header.
func (p Part) String() string {
	return p.Transaction + " " + strconv.Itoa(p.No) + " of " + strconv.Itoa(p.Of)
}

// Follows reports whether p is the part after q of the same transaction; the first part follows the zero Part.
func (p Part) Follows(q Part) bool {
	if q.Transaction == "" {
		return p.No == 1
	}
	return p.Transaction == q.Transaction && p.Of == q.Of && p.No == q.No+1
}

// Last reports whether p completes its transaction, as a message that is no part does.
func (p Part) Last() bool { return p.No == p.Of }

func partOf(h Header) (Part, error) {
	s := h.Get(HeaderPart)
	if s == "" {
		return Part{}, nil
	}
	fields := strings.Split(s, " ")
	if len(fields) == 4 && fields[0] != "" && len(fields[0]) <= 64 && fields[2] == "of" {
		no, err1 := strconv.Atoi(fields[1])
		of, err2 := strconv.Atoi(fields[3])
		if err1 == nil && err2 == nil && 1 <= no && no <= of && of <= MaxParts {
			return Part{fields[0], no, of}, nil
		}
	}
	return Part{}, poisonf(CodePart, "header %s %.100q is not of the form \"id 1 of 3\", with at most %d parts", HeaderPart, s, MaxParts)
}

// Join makes the event of a whole transaction of its parts' events, which are in order and complete. Its message is the last part's. It
// is poison when a part is, when the parts are not of one run and attempt, or when they are too much together.
func Join(parts []Event) Event {
	last := parts[len(parts)-1]
	ev := last
	ev.Ops, ev.Size, ev.Part, ev.Poison = nil, 0, Part{}, nil
	var keys bool
	for i := range parts {
		p := &parts[i]
		ev.Parts = append(ev.Parts, p.Message)
		ev.Ops = append(ev.Ops, p.Ops...)
		ev.Size += p.Size
		keys = keys || len(p.Keys()) > 0
		switch {
		case ev.Poison != nil:
		case p.Poison != nil:
			ev.Poison = p.Poison
		case p.RunID != last.RunID || p.Kind != last.Kind || p.Attempt != last.Attempt:
			ev.Poison = poisonf(CodePart, "part %d is of another run or attempt than the last one", p.Part.No)
		case len(ev.Ops) > MaxOps:
			ev.Poison = poisonf(CodeBody, "transaction holds more than %d ops", MaxOps)
		case ev.Size > MaxTransaction:
			ev.Poison = poisonf(CodeSize, "transaction has %d bytes, more than %d", ev.Size, MaxTransaction)
		}
	}
	if ev.Poison != nil {
		ev.Ops = nil
		return ev
	}
	if keys {
		ev.ContentHash = joinHash(parts)
	}
	return ev
}

// joinHash is the hash that the parts give, or else that of all their ops.
func joinHash(parts []Event) [32]byte {
	var ops []Op
	for i := range parts {
		if parts[i].GivenHash {
			return parts[i].ContentHash
		}
		ops = append(ops, parts[i].Ops...)
	}
	return HashContent(parts[0].RunID, ops)
}
