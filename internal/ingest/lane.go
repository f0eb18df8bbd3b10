package ingest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// lane is a partition's part of a tape: a consumer that sends what a consumer of the partition would. Whether a message is the
// partition's it decides as the server does, by the beginning of its subject.
type lane struct {
	tape      *tape
	partition int
	prefix    string // what the subjects of the partition begin with
	from      uint64 // what is before it was delivered already

	at     *chunk     // the chunk that it is in, or has passed
	rest   []Delivery // of at, what it has not looked at
	looked uint64     // messages of the tape that it has looked at
	place  uint64     // messages that it has sent
}

// Ask does nothing: what is on the tape is bounded by itself.
func (l *lane) Ask(int, int) error { return nil }

// Ready implements [Consumer].
func (l *lane) Ready() (d Delivery, ok bool, err error) {
	for {
		for len(l.rest) > 0 {
			next := &l.rest[0]
			if l.looked++; next.Place != l.looked {
				return d, false, fmt.Errorf("message %d of the shared consumer came after its %d", next.Place, l.looked-1)
			}
			if ok = l.mine(&next.Message); ok {
				l.place++
				// How many of those behind it are the partition's nobody has counted.
				d = Delivery{Place: l.place, Behind: l.share(next.Behind), Message: next.Message}
			}
			if l.rest = l.rest[1:]; len(l.rest) == 0 {
				l.rest = nil // or it would keep the others
				l.tape.pass(l.at)
			}
			if ok {
				return d, true, nil
			}
		}
		select {
		case <-l.at.more:
			l.at = l.at.next
			l.rest = l.at.deliveries
		default:
			return d, false, nil
		}
	}
}

// mine says whether the partition's consumer would send m.
func (l *lane) mine(m *wire.Message) bool {
	return m.Sequence >= l.from && len(m.Subject) > len(l.prefix) && strings.HasPrefix(m.Subject, l.prefix)
}

// share is how many of messages of the stream are the partition's, by what it had of them so far.
func (l *lane) share(behind uint64) uint64 {
	return uint64(float64(behind)*float64(l.place)/float64(l.looked) + 0.5)
}

// Receive implements [Consumer]. While nothing comes for the partition it shows heartbeats, though the server shows none while it sends to
// others: whether it is there, whoever takes its messages in notices, and ends the tape.
func (l *lane) Receive(ctx context.Context) (Delivery, error) {
	beat := time.NewTimer(l.tape.cfg.Heartbeat)
	defer beat.Stop()
	began := time.Now()
	for {
		if d, ok, err := l.Ready(); ok || err != nil {
			return d, err
		}
		if time.Since(began) >= l.tape.cfg.Heartbeat {
			return Delivery{Status: Status{Code: "100", Text: "Idle Heartbeat", Sent: l.place}}, nil
		}
		if err := l.wait(ctx, beat.C); err != nil {
			return Delivery{}, err
		}
	}
}

// wait waits until there is more on the tape, or perhaps is, or until beat. It takes it in itself when nobody else does.
func (l *lane) wait(ctx context.Context, beat <-chan time.Time) error {
	select {
	case <-l.at.more:
	case <-l.tape.over:
		select {
		case <-l.at.more: // what is on the tape is still taken
		default:
			return l.tape.reason()
		}
	case <-l.tape.turn:
		l.tape.takeIn(ctx, l.at)
	case <-beat:
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the session says what it waited for.
	}
	return nil
}

// Close implements [Consumer].
func (l *lane) Close() error { return l.tape.close(l.partition) }
