package stream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// Headers of a dead letter. The event's own headers are beside them under their own names, except those that begin with Nats-, which
// would tell the server to do something, or with Persistd-, which are these: such a header has HeaderOriginal in front of its name.
const (
	HeaderCode          = "Persistd-Code"           // one of wire's codes of poison
	HeaderReason        = "Persistd-Reason"         // why, for people: on one line, control characters as %XX
	HeaderErrorNumber   = "Persistd-Error-Number"   // the database's error number, or 0
	HeaderPartition     = "Persistd-Partition"      // the event's partition
	HeaderSequence      = "Persistd-Sequence"       // the event's sequence in the log
	HeaderSubject       = "Persistd-Subject"        // the event's subject in the log
	HeaderLoggedAt      = "Persistd-Logged-At"      // when it was logged, RFC 3339
	HeaderStreamCreated = "Persistd-Stream-Created" // when the log was made that the sequence belongs to, RFC 3339
	HeaderOriginal      = "Persistd-Original-"      // prefix of the event's own Nats- and Persistd- headers
	// HeaderParts counts the further messages that hold what did not fit into the letter, under the letter's subject followed by
	// -1, -2 …: the event is their bodies in that order after the letter's. Absent for none.
	HeaderParts = "Persistd-Parts"
	// HeaderHeaders is "json" on the letter of an event whose headers are too large to be repeated: the part -1 then begins with
	// them, as a JSON object of lists and a line feed.
	HeaderHeaders = "Persistd-Headers"
)

const (
	// maxReason is how much of a reason is kept, in bytes.
	maxReason = 4 << 10
	// maxOriginal is how large the event's own headers may be to be repeated on the letter: the server refuses headers over 64 KiB.
	maxOriginal = 32 << 10
	// partRoom is what a part's own headers take at most, subject included.
	partRoom = 1 << 10
)

// letter makes the messages of ev's dead letter, in the order in which they are published: parts first, so that a letter that is
// there is complete. None is larger than maxPayload.
//
// An event may be as large as the server's max_payload, and a letter has headers on top; what does not fit goes into parts.
func (d *DeadLetters) letter(ev *wire.Event, maxPayload int64) ([]*nats.Msg, error) {
	if ev.Poison == nil {
		return nil, fmt.Errorf("event %d has no reason to be a dead letter", ev.Message.Sequence)
	}
	m := d.message(ev, "")
	m.Header.Set(HeaderCode, ev.Poison.Code)
	m.Header.Set(HeaderReason, escape(ev.Poison.Reason, maxReason))
	m.Header.Set(HeaderErrorNumber, strconv.Itoa(int(ev.Poison.ErrorNumber)))
	m.Header.Set(HeaderPartition, strconv.Itoa(ev.Partition))
	m.Header.Set(HeaderSubject, escape(ev.Message.Subject, maxReason))
	m.Header.Set(HeaderLoggedAt, ev.Message.Logged.UTC().Format(time.RFC3339Nano))
	rest := ev.Message.Body
	if headerSize(ev.Message.Header) > maxOriginal {
		text, err := json.Marshal(ev.Message.Header)
		if err != nil {
			return nil, fmt.Errorf("write the event's headers: %w", err)
		}
		m.Header.Set(HeaderHeaders, "json")
		rest = append(append(text, '\n'), rest...)
	} else {
		for key, values := range ev.Message.Header {
			m.Header[originalKey(key)] = values
		}
		// Keep the body with its headers, where readers look for it, as far as it fits.
		n := max(0, min(int64(len(rest)), maxPayload-int64(headerSize(wire.Header(m.Header)))-partRoom))
		m.Data, rest = rest[:n], rest[n:]
	}
	var messages []*nats.Msg
	for len(rest) > 0 {
		room := maxPayload - partRoom
		if room <= 0 {
			return nil, fmt.Errorf("max_payload %d of the server holds no dead letter", maxPayload)
		}
		n := min(int64(len(rest)), room)
		part := d.message(ev, "-"+strconv.Itoa(len(messages)+1))
		part.Data, rest = rest[:n], rest[n:]
		messages = append(messages, part)
	}
	if len(messages) > 0 {
		m.Header.Set(HeaderParts, strconv.Itoa(len(messages)))
	}
	return append(messages, m), nil
}

// message is an empty message of ev's letter. Its id keeps one of it while the server remembers ids, and saves a look-up then; the
// sequence expected of its subject keeps one of it for ever.
func (d *DeadLetters) message(ev *wire.Event, part string) *nats.Msg {
	seq := strconv.FormatUint(ev.Message.Sequence, 10)
	m := nats.NewMsg(d.subjects.DeadLetter(ev.Partition, ev.Message.Sequence) + part)
	m.Header.Set(wire.HeaderMsgID, d.stamp()+":"+seq+part)
	m.Header.Set(HeaderSequence, seq)
	m.Header.Set(HeaderStreamCreated, d.stamp())
	return m
}

func originalKey(key string) string {
	if lower := strings.ToLower(key); strings.HasPrefix(lower, "nats-") || strings.HasPrefix(lower, "persistd-") {
		return HeaderOriginal + key
	}
	return key
}

// headerSize is what headers take in a message, in bytes.
func headerSize(h wire.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for key, values := range h {
		for _, v := range values {
			n += len(HeaderOriginal) + len(key) + len(": \r\n") + len(v)
		}
	}
	return n
}

// escape makes s fit one header line of at most limit bytes; a reason may quote what a publisher sent.
func escape(s string, limit int) string {
	var b strings.Builder
	for i := range len(s) {
		if b.Len() > limit {
			b.WriteString("…")
			break
		}
		if c := s[i]; c < ' ' || c == 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape is the reverse of escape.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
