package simulation

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// Last, Next, Page and First are of [stream.Messages]. Each is given up after a while, as [stream.Stream]'s are: whoever reads has more patience,
// and has to do without the answer.
func (c conn) Last(ctx context.Context, subject string, _ uint64) (wire.Message, bool, error) {
	w := c.p.w
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := call(ctx, w, c.p, nats, "last", func() (m wire.Message, err error) {
		all := w.log.of(subject)
		if w.broken == lastOfFollower {
			all = w.behind(c.p, all)
		}
		if n := len(all); n > 0 {
			m = all[n-1]
		}
		return m, nil
	})
	return m, m.Sequence > 0, err
}

func (c conn) Next(ctx context.Context, subject string, from uint64) (wire.Message, bool, error) {
	w := c.p.w
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := call(ctx, w, c.p, nats, "next", func() (wire.Message, error) {
		for _, m := range w.log.of(subject) {
			if m.Sequence >= from {
				return m, nil
			}
		}
		return wire.Message{}, nil
	})
	return m, m.Sequence > 0, err
}

// oldest is the answer to First.
type oldest struct {
	m    wire.Message
	held uint64
}

// First is told by one server at once, unless it is of all that the log has: then it is counted first, as where there are several.
func (c conn) First(ctx context.Context, subject string, from, _ uint64) (wire.Message, uint64, bool, error) {
	w := c.p.w
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	look := func() (o oldest, err error) {
		for _, m := range w.log.of(subject) {
			if m.Sequence < from {
				continue
			}
			if o.held++; o.held == 1 {
				o.m = m
			}
		}
		return o, nil
	}
	got, err := call(ctx, w, c.p, nats, "first", look)
	if err == nil && from <= 1 {
		var later oldest
		later, err = call(ctx, w, c.p, nats, "first again", look)
		got.m = later.m
	}
	return got.m, got.held, got.m.Sequence > 0, err
}

// page is an answer of some replica.
type page struct {
	messages []wire.Message
	end      bool
}

// Page is answered by a follower that is behind, more often than not.
func (c conn) Page(ctx context.Context, subject string, from uint64) ([]wire.Message, bool, error) {
	w := c.p.w
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	got, err := call(ctx, w, c.p, nats, "page", func() (page, error) {
		var some []wire.Message
		for _, m := range w.behind(c.p, w.log.of(subject)) {
			if m.Sequence < from {
				continue
			}
			if len(some) == 3 {
				return page{some, false}, nil
			}
			some = append(some, m)
		}
		return page{some, true}, nil
	})
	return got.messages, got.end, err
}

// behind is what of messages a follower has: all up to some sequence.
func (w *world) behind(p *process, messages []wire.Message) []wire.Message {
	d := w.diceOf(p.title(), "follower")
	lag := uint64(pick(d, []int{0, 0, 1, 2, 4, 100}))
	if w.healed.Load() && w.broken != lastOfFollower {
		lag = 0
	}
	horizon := w.log.last - min(w.log.last, lag)
	n := len(messages)
	for n > 0 && messages[n-1].Sequence > horizon {
		n--
	}
	if n < len(messages) {
		w.injected[followerBehind]++
	}
	return messages[:n]
}

// of are the stored messages of a subject.
func (l *log) of(subject string) (all []wire.Message) {
	for no := range l.stored {
		for _, m := range l.stored[no] {
			if m.Subject == subject {
				all = append(all, m)
			}
		}
	}
	return all
}
