package client

import (
	"container/list"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
)

// phase is where a publication is on its way; see the drawing in the package comment.
type phase uint8

const (
	waiting     phase = iota // behind others of its run
	ready                    // to be sent by the pump
	outstanding              // sent, due at the attempt's timeout
	pausing                  // due for the next attempt
	settled                  // logged, or given up
)

// publication is one message on its way into the log, through all its attempts.
type publication struct {
	// Set before submit, constant from then on; msg.Reply belongs to the pump.
	msg   *nats.Msg
	runID string
	step  int

	publisher *publisher
	// done is closed when the publication is over; ack and err are set before.
	done chan struct{}
	ack  pubAck
	err  error

	// The rest is guarded by publisher.mu once submitted.
	async   bool // nobody waits: an error is collected for Flush
	phase   phase
	id      uint64        // in the mux
	order   uint64        // of submission
	entry   *list.Element // in publisher.pending
	attempt int
	due     time.Time // of phases outstanding and pausing
	slot    int       // in publisher.timers, or -1
	pauses  *backoff.ExponentialBackOff
	sent    time.Time // the present attempt
	// unanswered is when the first attempt was sent that was never answered, from where on the log may hold the message. Zero
	// when every attempt so far was refused.
	unanswered time.Time
	cause      error // why the last attempt came to nothing
	abandoned  bool  // the caller has gone: it goes on only until the outcome is known
}

var _ receiver = (*publication)(nil)

func (p *publication) subject() string { return p.msg.Subject }

func (p *publication) size() int { return len(p.msg.Data) }

// maybeLogged reports whether the log may hold the message although no answer says so.
func (p *publication) maybeLogged() bool { return p.phase == outstanding || !p.unanswered.IsZero() }

func (p *publication) receive(attempt int, m *nats.Msg) {
	ack, err := parseAck(m)
	p.publisher.answered(p, attempt, ack, err)
}

func (p *publication) fail(err error) { p.publisher.answered(p, anyAttempt, pubAck{}, err) }

// pause is how long to wait before the next attempt.
func (p *publication) pause() time.Duration {
	if p.pauses == nil {
		p.pauses = newPauses()
	}
	return p.pauses.NextBackOff()
}

// newPauses are the pauses between attempts: 25 ms, doubling up to 2 s, each ±50 % so that workers do not come in step.
func newPauses() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(25*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(2*time.Second), backoff.WithRandomizationFactor(0.5), backoff.WithMaxElapsedTime(0))
}

// timers is a heap of publications by due.
type timers []*publication

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].slot, t[j].slot = i, j
}

func (t *timers) Push(x any) {
	p := x.(*publication) //nolint:forcetypeassert // the heap holds nothing else.
	p.slot = len(*t)
	*t = append(*t, p)
}

func (t *timers) Pop() any {
	old := *t
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	p.slot = -1
	return p
}
