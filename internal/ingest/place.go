package ingest

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// place is where a consumer's message stands, which the server writes into its reply subject.
type place struct {
	consumer, stream uint64 // the message's numbers among those that the consumer sent, and in the stream
	logged           time.Time
	behind           uint64
}

// placeOf reads the place of m. [nats.Msg.Metadata] does so too, of every form that there is, and makes a list and a struct for each message;
// this reads the common form without:
//
//	$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>
func placeOf(m *nats.Msg) (place, error) {
	if p, ok := commonPlace(m.Reply); ok {
		return p, nil
	}
	meta, err := m.Metadata()
	if err != nil {
		return place{}, fmt.Errorf("read message's place: %w", err)
	}
	return place{meta.Sequence.Consumer, meta.Sequence.Stream, meta.Timestamp.UTC(), meta.NumPending}, nil
}

func commonPlace(reply string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok || strings.Count(rest, ".") != 6 {
		return p, false
	}
	for range 2 { // neither the stream's name nor the consumer's has a dot
		_, rest, _ = strings.Cut(rest, ".")
	}
	var n [5]uint64
	for i := range n {
		if n[i], rest, ok = number(rest); !ok {
			return p, false
		}
	}
	return place{consumer: n[2], stream: n[1], logged: time.Unix(0, int64(n[3])).UTC(), behind: n[4]}, true //nolint:gosec // it is until the year 2262.
}

// number reads a number of at most 19 digits, which fit 64 bits, and what is behind the dot after it.
func number(s string) (n uint64, rest string, ok bool) {
	i := 0
	for ; i < len(s) && s[i] != '.'; i++ {
		if s[i] < '0' || s[i] > '9' || i == 19 {
			return 0, "", false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	if i == 0 {
		return 0, "", false
	}
	return n, s[min(i+1, len(s)):], true
}
