package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/ingest"
)

// servedLog is the log as a replica's readers are served it.
type servedLog struct{ p *process }

// all is the partition of a consumer that sends every message.
const all = -1

// consumer sends the messages of a partition, or all: some are lost, come twice or too early; some sessions fall silent.
type consumer struct {
	p         *process
	d         *dice
	made      time.Time
	partition int
	from      uint64 // what it sends next
	place     uint64 // of what it sent last
	left      int    // of the open pull
	pull      int
	ready     []ingest.Delivery // sent and not received yet
	silent    bool              // nothing comes through any more
	shown     time.Time         // when it sent something last
}

// Attend sees no connection: that a server is away shows in its answers.
func (s servedLog) Attend(ctx context.Context) (context.Context, func(), error) {
	attended, release := context.WithCancel(ctx)
	return attended, release, nil
}

func (s servedLog) OpenAll(ctx context.Context, from uint64) (ingest.Consumer, error) {
	c, _, err := s.Open(ctx, all, from)
	return c, err
}

// Open exaggerates at times how much is behind, by which readers choose their consumers: they must be right whichever they choose.
func (s servedLog) Open(ctx context.Context, partition int, from uint64) (ingest.Consumer, uint64, error) {
	w := s.p.w
	name := fmt.Sprint("consumer ", partition)
	c := &consumer{p: s.p, d: w.diceOf(s.p.title(), name), partition: partition, from: from}
	st, err := s.stream(ctx, name)
	c.made = st.made
	w.mu.Lock()
	defer w.mu.Unlock()
	if partition == all && err == nil {
		w.injected[sharedConsumer]++
	}
	return c, c.behind(len(w.log.from(partition, from))), err
}

// behind is how many are said to be behind. Guarded by world.mu.
func (c *consumer) behind(n int) uint64 {
	if !c.p.w.healed.Load() && c.d.chance(c.p.w.plan.exaggerates) {
		n += 1 + c.d.n(20)
	}
	return uint64(n)
}

// state is what a stream says of itself.
type state struct {
	made time.Time
	last uint64
}

func (s servedLog) stream(ctx context.Context, name string) (state, error) {
	w := s.p.w
	return call(ctx, w, s.p, nats, name, func() (state, error) {
		if w.log.gone {
			return state{}, jetstream.ErrStreamNotFound
		}
		return state{w.log.made, w.log.last}, nil
	})
}

func (s servedLog) Stream(ctx context.Context) (made time.Time, last uint64, err error) {
	st, err := s.stream(ctx, "stream")
	return st.made, st.last, err
}

func (s servedLog) Logged(ctx context.Context, seq uint64) (at time.Time, found bool, err error) {
	w := s.p.w
	at, err = call(ctx, w, s.p, nats, "logged", func() (time.Time, error) {
		for p := range w.log.stored {
			if m := w.log.from(p, seq); len(m) > 0 && m[0].Sequence == seq {
				return m[0].Logged, nil
			}
		}
		return time.Time{}, nil
	})
	return at, !at.IsZero(), err
}

func (s servedLog) Pending(ctx context.Context, partition int, after uint64) (int64, error) {
	w := s.p.w
	return call(ctx, w, s.p, nats, "pending", func() (int64, error) {
		return int64(len(w.log.from(partition, after+1))), nil
	})
}

func (c *consumer) Ask(pull, messages int) error {
	if err := c.p.runs(); err != nil {
		return err
	}
	c.pull, c.left, c.shown = pull, messages, time.Now()
	return nil
}

func (c *consumer) Close() error { return nil }

// Ready has at times what Receive would have to wait for.
func (c *consumer) Ready() (d ingest.Delivery, ok bool, err error) {
	if len(c.ready) == 0 || c.d.chance(0.5) {
		return d, false, c.p.dead()
	}
	d, c.ready, c.shown = c.ready[0], c.ready[1:], time.Now()
	return d, true, c.p.dead()
}

// Receive sends the next message, if there is one, and else a heartbeat when it is time.
func (c *consumer) Receive(ctx context.Context) (ingest.Delivery, error) {
	w := c.p.w
	for {
		if err := c.p.runs(); err != nil {
			return ingest.Delivery{}, err
		}
		if len(c.ready) > 0 {
			if !c.p.sleep(ctx, c.d.between(20*time.Microsecond, 400*time.Microsecond)) {
				return ingest.Delivery{}, deadline(ctx)
			}
			d := c.ready[0]
			c.ready, c.shown = c.ready[1:], time.Now()
			return d, c.p.runs()
		}
		grown, err := c.send()
		if err != nil {
			return ingest.Delivery{}, err
		}
		if len(c.ready) > 0 {
			continue
		}
		t := time.NewTimer(time.Until(c.shown.Add(heartbeat)))
		select {
		case <-grown:
		case <-t.C:
			if c.shown = time.Now(); !c.silent {
				w.mu.Lock()
				c.beat()
				w.mu.Unlock()
			}
		case <-ctx.Done():
			t.Stop()
			return ingest.Delivery{}, deadline(ctx)
		case <-c.p.died:
		}
		t.Stop()
	}
}

// deadline is what a subscription says when nothing came.
func deadline(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return cause(ctx)
}

// send puts the messages that are there on their way. The channel tells when there may be more.
func (c *consumer) send() (grown <-chan struct{}, err error) {
	w := c.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	faulty := !w.healed.Load()
	if w.away(nats, c.p, false) || !c.made.Equal(w.log.made) {
		c.silent = true
	}
	if faulty && c.d.chance(w.plan.faulty/8) {
		w.injected[consumerGone]++
		switch c.d.n(3) {
		case 0:
			c.silent = true
		case 1:
			return nil, errors.New("the connection was lost")
		default:
			c.ready = append(c.ready, ingest.Delivery{Status: ingest.Status{Pull: c.pull, Code: "409", Text: "Consumer Deleted"}})
		}
	}
	if c.silent {
		return nil, nil //nolint:nilnil // nothing will come.
	}
	rest := w.log.from(c.partition, c.from)
	for i, m := range rest {
		if c.left <= 0 {
			break
		}
		c.place, c.left, c.from = c.place+1, c.left-1, m.Sequence+1
		d := ingest.Delivery{Place: c.place, Behind: c.behind(len(rest) - i - 1), Message: m}
		if c.partition == all {
			w.injected[sharedMessage]++
		}
		if !faulty || !c.d.chance(w.plan.faulty/4) {
			c.ready = append(c.ready, d)
			continue
		}
		switch c.d.n(4) {
		case 0:
			w.injected[messageLost]++
		case 1:
			w.injected[messageTwice]++
			c.ready = append(c.ready, d, d)
		case 2:
			w.injected[messageEarly]++
			c.ready = append([]ingest.Delivery{d}, c.ready...)
		default: // the server counts it again
			w.injected[messageTwice]++
			c.place++
			again := d
			again.Place = c.place
			c.ready = append(c.ready, d, again)
		}
	}
	if faulty && c.d.chance(w.plan.faulty/4) {
		w.injected[pullOver]++
		c.ready, c.left = append(c.ready, ingest.Delivery{Status: ingest.Status{Pull: c.pull, Code: "408", Text: "Request Timeout"}}), 0
	}
	return w.log.grown, nil
}

// beat is a heartbeat, which says what was sent.
func (c *consumer) beat() {
	if c.p.w.away(nats, c.p, false) {
		return
	}
	c.ready = append(c.ready, ingest.Delivery{Status: ingest.Status{Pull: c.pull, Code: "100", Text: "Idle Heartbeat", Sent: c.place}})
}
