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

// PartOf is which part a message with the headers h is. The error, a *[Poison], says why that cannot be told.
func PartOf(h Header) (Part, error) {
	s := h.Get(HeaderPart)
	if s == "" {
		return Part{}, nil
	}
	fields := strings.Split(s, " ")
	if len(fields) == 4 && fields[0] != "" && len(fields[0]) <= 64 && fields[2] == "of" {
		no, err1 := strconv.Atoi(fields[1])
		of, err2 := strconv.Atoi(fields[3])
		p := Part{fields[0], no, of}
		// Spelled in the one way: a part that is written +2 or 02 is a mistake of somebody's.
		if err1 == nil && err2 == nil && 1 <= no && no <= of && of <= MaxParts && p.String() == s {
			return p, nil
		}
	}
	return Part{}, poisonf(CodePart, "header %s %.100q is not of the form \"id 1 of 3\", with at most %d parts", HeaderPart, s, MaxParts)
}

// Join makes the event of a whole transaction of its parts' events, which are in order and complete. Its message is the last part's. It
// is poison when a part is, when the parts are not of one key and attempt, when two give different content hashes, or when they are too
// much together. Who gathers parts bounds what they hold: a part that is made poison on the way, and let go of, makes the whole so.
func Join(parts []Event) Event {
	ev := parts[len(parts)-1]
	ev.Part, ev.Parts, ev.Ops, ev.Size = Part{}, make([]Message, len(parts)), nil, 0
	for i := range parts {
		p := &parts[i]
		ev.Parts[i] = p.Message
		ev.Ops = append(ev.Ops, p.Ops...)
		ev.Size += p.Size
		if p.GivenHash {
			ev.ContentHash, ev.GivenHash = p.ContentHash, true
		}
	}
	if ev.Poison = ev.cannotJoin(parts); ev.Poison != nil {
		ev.Ops = nil
		return ev
	}
	if !ev.GivenHash && ev.hasKeys() {
		ev.ContentHash = HashContent(ev.RunID, ev.Ops)
	}
	return ev
}

// cannotJoin is why parts do not make ev, or nil.
func (ev *Event) cannotJoin(parts []Event) *Poison {
	for i := range parts {
		if p := parts[i].Poison; p != nil {
			return p
		}
	}
	for i := range parts {
		switch p := &parts[i]; {
		case p.Message.Subject != ev.Message.Subject || p.RunID != ev.RunID || p.Attempt != ev.Attempt:
			return poisonf(CodePart, "part %d is of another key or attempt than the last one", i+1)
		case p.GivenHash && p.ContentHash != ev.ContentHash:
			return poisonf(CodePart, "part %d gives another content_hash than a later one", i+1)
		}
	}
	switch {
	case len(ev.Ops) > MaxOps:
		return poisonf(CodeBody, "transaction holds more than %d ops", MaxOps)
	case ev.Size > MaxTransaction:
		return poisonf(CodeSize, "transaction has %d bytes, more than %d", ev.Size, MaxTransaction)
	}
	return nil
}
