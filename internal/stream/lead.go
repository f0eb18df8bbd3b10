package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errCutOff is of a leader that does not hear of a majority.
var errCutOff = errors.New("the stream's leader has not heard of a majority of its copies: it may be cut off, and another may lead")

const (
	// followersWait is for how long those who follow a leader do so at least after they last heard of it: nats-server's shortest election
	// timeout. No other leader is elected before.
	followersWait = 4 * time.Second
	// clockMargin is what of that is not relied upon, for clocks that run at different rates and a follower that answered just before.
	clockMargin = time.Second
)

// lead is until when the stream has no leader but the one that answers here.
//
// A leader that is cut off from the others goes on answering reads for up to 20 s, from what it has, while the others elect another one and
// acknowledge writes. So it is believed only for as long as the others cannot have done that:
//
//	asked ← now
//	ask the leader when it heard of each of the others       a majority, itself included: h ago, or more recently
//	none is elected before                                   asked − h + followersWait
//
// A read that begins before then is of the one leader (I6). It costs a request in some seconds, of whoever reads next. One that begins when
// a majority is not heard of is refused.
//
// That is of the server that the connection is to: through another one a leader may answer that was replaced and is cut off from the first.
// So who connected again asks again.
//
// What is left: a majority votes for another also when it heard of the leader a moment ago, if one that is cut off from it alone asks for
// that. The leader finds out by its next heartbeat, within a second.
type lead struct {
	ask       func(ctx context.Context) (*jetstream.ClusterInfo, int, error) // and how many copies there are
	connected func() uint64                                                  // rises with every connection

	heard atomic.Pointer[word]
	turn  chan struct{} // held by who asks; the others wait for what it hears
}

// word is until when there is no other leader of the stream, as was heard through a connection.
type word struct {
	until      time.Time
	connection uint64
	lone       bool
}

func newLead(ask func(context.Context) (*jetstream.ClusterInfo, int, error), connected func() uint64) *lead {
	return &lead{ask: ask, connected: connected, turn: make(chan struct{}, 1)}
}

// confirm returns once the leader that answers here is the only one, or an error; ctx bounds the wait.
func (l *lead) confirm(ctx context.Context) error {
	if l.confirmed() {
		return nil
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return fmt.Errorf("ask whether the stream's leader leads: %w", context.Cause(ctx))
	}
	if l.confirmed() { // by who had the turn before
		return nil
	}
	asked, connection := time.Now(), l.connected() // before the answer: one that came through the next connection counts for none
	info, copies, err := l.ask(ctx)
	if err != nil {
		return fmt.Errorf("ask whether the stream's leader leads: %w", err)
	}
	heard, ok := majority(info, copies)
	until := asked.Add(followersWait - clockMargin - heard)
	if !ok || !time.Now().Before(until) {
		return errCutOff
	}
	l.heard.Store(&word{until, connection, copies <= 1 && (info == nil || info.Name == "")})
	return nil
}

// lone is what was heard last, if that was that the stream's server is in no cluster: nobody else can have a copy, not even while the stream is
// moved. It is nil otherwise.
func (l *lead) lone() *word {
	if w := l.heard.Load(); w != nil && w.lone {
		return w
	}
	return nil
}

// stands reports whether there was no other connection since w was heard, so that whoever asked since was answered by w's server. Through another
// one a server may have answered that is not alone, and it says nothing of that answer if it is known to be alone by now.
func (l *lead) stands(w *word) bool { return w.connection == l.connected() }

func (l *lead) confirmed() bool {
	w := l.heard.Load()
	return w != nil && time.Now().Before(w.until) && w.connection == l.connected()
}

// majority is how long ago the leader heard of the last of those that it needs for a majority; false when there are not as many.
func majority(info *jetstream.ClusterInfo, copies int) (heard time.Duration, ok bool) {
	if copies <= 1 || info == nil {
		return 0, true // there is no other to be cut off from
	}
	var ages []time.Duration
	for _, p := range info.Replicas {
		if !p.Offline && p.Active > 0 {
			ages = append(ages, p.Active)
		}
	}
	needed := copies / 2 // beside itself
	if len(ages) < needed {
		return 0, false
	}
	slices.Sort(ages)
	return ages[needed-1], true
}
