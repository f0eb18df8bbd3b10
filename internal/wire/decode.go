package wire

import "errors"

// Headers of a message.
const (
	// HeaderEncoding names the body's compression: "zstd", or absent for none.
	HeaderEncoding = "Content-Encoding"
	// HeaderMsgID is the server's deduplication id: one per call of a client, the same for its retries.
	HeaderMsgID = "Nats-Msg-Id"
	// HeaderUrgent marks an event whose commit somebody waits for: persistd then does not wait for more to commit with it. Its value, which
	// is not to be empty, says nothing. Of a transaction in parts the last one's counts.
	HeaderUrgent = "Persistd-Urgent"
	// EncodingZstd is the only value of HeaderEncoding.
	EncodingZstd = "zstd"
)

// Decode understands m. It never fails: what can never be applied is an Event with its Poison set, and still carries what
// was understood of it (partition, namespace) and the message itself.
func (s Subjects) Decode(m Message) Event {
	ev := Event{Message: m, Size: len(m.Body)}
	if err := s.decode(&ev); err != nil {
		ev.Ops, ev.Poison = nil, poisonOf(err)
	}
	return ev
}

// poisonOf is a function of its own so that of an event that is good nothing is on the heap but what it refers to.
func poisonOf(err error) *Poison {
	if p, ok := errors.AsType[*Poison](err); ok {
		return p
	}
	return poison(CodeBody, err.Error())
}

func (s Subjects) decode(ev *Event) error {
	addr, err := s.ParseLog(ev.Message.Subject)
	if err != nil {
		return err
	}
	ev.Partition, ev.Namespace, ev.Kind = addr.Partition, addr.Namespace, addr.Kind
	switch addr.Kind {
	case KindRun, KindCheckpoint, KindAttempt:
	default:
		return poisonf(CodeSubject, "subject %q names the kind %q, which this version does not know", ev.Message.Subject, addr.Kind)
	}
	if ev.Part, err = PartOf(ev.Message.Header); err != nil {
		return err
	}
	if addr.Kind == KindAttempt && ev.Part != (Part{}) {
		return poison(CodePart, "the beginning of an attempt is no part of a transaction")
	}
	content, err := plainBody(ev.Message)
	if err != nil {
		return err
	}
	ev.Size = len(content)
	b, err := decodeBody(addr.Kind, addr.Token, content)
	if err != nil {
		return err
	}
	id, err := subjectID(addr.Token, b.id, b.has&set(memberRunID, memberCheckpointID) != 0)
	if err != nil {
		return err
	}
	switch {
	case addr.Kind != KindCheckpoint:
		ev.RunID = id
	case !b.has.has(memberOps): // the short form may leave the id to the subject
		b.ops[0].ID = id
	}
	ev.Ops, ev.Attempt = b.ops, b.attempt
	ev.Size += len(id) * len(b.ops)
	ev.ContentHash, ev.GivenHash = b.hash, b.has.has(memberContentHash)
	if !ev.GivenHash && ev.Part.Of <= 1 && ev.hasKeys() { // that of a transaction in parts is made by Join
		ev.ContentHash = HashContent(ev.RunID, ev.Ops)
	}
	return nil
}

// subjectID is the id that an event is about: the body's, which must be the one of the subject's token, or the token's.
func subjectID(token, id string, inBody bool) (string, error) {
	if !inBody {
		var err error
		if id, err = DecodeToken(token); err != nil {
			return "", err
		}
	}
	if err := CheckID(id); err != nil {
		return "", err
	}
	if want := Token(id); want != token {
		return "", poisonf(CodeID, "id %.300q belongs under the token %q, not %q", id, want, token)
	}
	return id, nil
}

func plainBody(m Message) ([]byte, error) {
	switch enc := m.Header.Get(HeaderEncoding); enc {
	case "":
		if len(m.Body) > MaxBody {
			return nil, poisonf(CodeSize, "body has %d bytes, more than %d", len(m.Body), MaxBody)
		}
		return m.Body, nil
	case EncodingZstd:
		return Decompress(m.Body)
	default:
		return nil, poisonf(CodeEncoding, "content encoding %q is unknown: use zstd or none", enc)
	}
}
