package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

const (
	// listenFrom is how many writes wait for their commits at once for the client to listen, and listenFor how long it relies on what it hears after
	// there were as many.
	listenFrom = 16
	listenFor  = 10 * time.Second
	// settling is how long a partition's commits are still asked for after the first announcement: the log may have acknowledged an event before the
	// subscription was everywhere. It only spares waiting in vain.
	settling = 200 * time.Millisecond
	// patience is how long a write that is to be heard of waits until it asks: announcements can be lost. It leaves half of the time that the call
	// has for asking.
	patience = 250 * time.Millisecond
	// Of so many announcements so many are to have told a write of its commit, or the client does not listen for a while: an announcement is of a
	// partition's commit, whoever wrote what is in it, and in a large fleet mostly others did. To ask costs some five times what hearing does.
	sample, worthwhile = 1000, 200
	unworthy           = time.Minute
)

// listener hears the announcements of commits, for the writes of a client that has many waiting for theirs. One announcement then tells of
// all events of a commit what would take a question and an answer for each.
//
//	each asks ── listenFrom wait at once ──▶ subscribed ── fewer did for listenFor, or it told too few ──▶ each asks
//
//	of a subscribed client's partition:  asked for ── heard, and settling is over ──▶ heard of ── a commit was not heard of ──▶ asked for
//
// It says what a replica that does not own the partition says to who asks it, and by the same rules: an event between the positions
// before and after an announced commit is committed, unless the announcement names it as rejected.
type listener struct {
	nc      *nats.Conn
	subject string

	mu        sync.Mutex // guards what follows; nothing blocks while it is held
	closed    bool
	listening bool               // subscribed, or about to be
	sub       *nats.Subscription // nil until it is there
	waits     int                // writes that wait for their commits, however they learn of them
	many      time.Time          // when there were listenFrom of them last
	log       *announced         // nil while nothing was heard
	heard     int                // announcements of the sample
	told      int                // writes that they told of their commits
	not       time.Time          // not to listen before
}

// announced is what was heard of a log.
type announced struct {
	stream    string
	created   time.Time
	positions *position.Tracker
	from      []time.Time // by partition: from when on its commits are heard of; zero: they are not. Guarded by listener.mu
}

func newListener(nc *nats.Conn, subjects wire.Subjects) *listener {
	return &listener{nc: nc, subject: subjects.Positions()}
}

// enter counts a write of the key id that waits, until leave. It returns what will hear of its commit, and its partition; nil when it is to ask.
func (l *listener) enter(namespace, id string) (log *announced, partition int) {
	now := time.Now()
	l.mu.Lock()
	l.waits++
	if l.waits >= listenFrom {
		l.many = now
	}
	begin := l.waits >= listenFrom && !l.listening && !l.closed && !now.Before(l.not)
	l.listening = l.listening || begin
	if l.log != nil && now.Sub(l.many) <= listenFor {
		partition = wire.Partition(namespace, id, len(l.log.from))
		if from := l.log.from[partition]; !from.IsZero() && !now.Before(from) {
			log = l.log
		}
	}
	l.mu.Unlock()
	if begin {
		l.subscribe()
	}
	return log, partition
}

func (l *listener) leave(told bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits--
	if told {
		l.told++
	}
}

// subscribe begins to listen. Where that is not to be had, now or later, nothing is heard, and each write asks.
func (l *listener) subscribe() {
	sub, err := l.nc.Subscribe(l.subject, l.hear)
	l.mu.Lock()
	gone := l.closed
	if l.sub, l.heard, l.told = sub, 0, 0; err != nil || gone {
		l.sub, l.listening = nil, false
	}
	l.mu.Unlock()
	if err == nil && gone {
		_ = sub.Unsubscribe() // the connection is closing
	}
}

// hear takes an announcement. One of a persistd that does not say how many partitions there are tells nothing: nobody knows whose commit it is.
func (l *listener) hear(m *nats.Msg) {
	var a wire.Announcement
	err := json.Unmarshal(m.Data, &a)
	if err == nil && a.Partition >= 0 && a.Partition < a.Partitions && a.Partitions <= maxPartition+1 {
		l.of(&a).Advance(position.CommitOf(a))
	}
	if done := l.enough(); done != nil {
		_ = done.Unsubscribe() // the connection is closing
	}
}

// of is the positions of the log that a is of, whose partition is now heard.
func (l *listener) of(a *wire.Announcement) *position.Tracker {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.log
	if log == nil || log.stream != a.Stream || !log.created.Equal(a.Created) || len(log.from) != a.Partitions {
		log = &announced{stream: a.Stream, created: a.Created, positions: position.NewTracker(a.Partitions), from: make([]time.Time, a.Partitions)}
		if l.listening { // or what comes after the subscription's end would count when there is another
			l.log = log
		}
	}
	if log.from[a.Partition].IsZero() {
		log.from[a.Partition] = time.Now().Add(settling)
	}
	return log.positions
}

// enough is the subscription if it is to end: because few have waited for so long that who relied on it is through, or because it tells too little.
func (l *listener) enough() (done *nats.Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sub == nil {
		return nil
	}
	end := time.Since(l.many) > listenFor+patience
	if l.heard++; l.heard == sample {
		if l.told < worthwhile {
			end, l.not = true, time.Now().Add(unworthy)
		}
		l.heard, l.told = 0, 0
	}
	if end {
		done, l.sub, l.listening, l.log = l.sub, nil, false, nil
	}
	return done
}

// deaf is told that an event of the partition was committed that nobody announced: until it is heard again, each asks. Those who wait go on.
func (l *listener) deaf(log *announced, partition int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	log.from[partition] = time.Time{}
}

func (l *listener) close() error {
	l.mu.Lock()
	l.closed = true
	sub := l.sub
	l.sub = nil
	l.mu.Unlock()
	if sub == nil {
		return nil
	}
	if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("unsubscribe from %s: %w", l.subject, err)
	}
	return nil
}

// wait waits until a commit is heard of that has passed the event which the log acknowledged with ack; inVain says that none was. What became of the event
// is not known from one that came behind its own.
func (a *announced) wait(ctx context.Context, partition int, ack pubAck) (out position.Outcome, inVain bool) {
	if ack.Stream != a.stream {
		return out, false
	}
	limit := patience
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := a.positions.Wait(ctx, partition, ack.Sequence)
	return out, err != nil
}
