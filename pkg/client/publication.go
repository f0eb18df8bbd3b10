package client

import (
	"container/list"
	"context"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// phase is where a publication is on its way; see the drawing in the package comment.
type phase uint8

const (
	waiting     phase = iota // behind others of its run
	ready                    // to be sent by the pump
	outstanding              // sent, due at the attempt's timeout
	pausing                  // due for the next attempt
	fencing                  // refused at its fence, which is looked for anew
	settled                  // logged, or given up
)

// question is what the next attempts ask of the log instead of publishing. It is asked by the id of the last message, with a header that
// keeps the log from storing it and that it looks at after the id: so the answer is the message's sequence, or that refusal. (The fence
// would not do: a server alone looks at it before the id, a replicated one after.)
type question uint8

const (
	noQuestion question = iota
	// atWhich asks for the sequence of what the log has already.
	atWhich
	// whether asks if an attempt that was not answered was stored, now that the fence is refused: whatever of it is still on its way will be
	// refused for the same reason.
	whether
)

// publication is one write on its way into the log, through all its attempts: one message, or the parts of a transaction, all or none.
type publication struct {
	// Set before submit, constant from then on; the header and the reply subject of the messages belong to the pump.
	msgs []*nats.Msg
	// runID is for the log of this process.
	runID string
	// link is what it may add to its run's chain.
	link link
	// explain makes the error of an async write one that says what it was; nil when somebody waits.
	explain func(error) error
	// refence looks for the fence anew after refused was, or nil when the publication is given up then. The error is final when the attempt
	// is over.
	refence func(ctx context.Context, refused fence) (fence, error)
	// inner is one that the client makes for another: it takes no room, and goes on while the client closes.
	inner bool

	publisher *publisher
	// done is closed when the publication is over; ack and err are set before.
	done chan struct{}
	ack  pubAck
	err  error

	// The rest is guarded by publisher.mu once submitted.
	fence    fence
	chain    *chain    // that it was sent as a part of, or nil
	place    [1]string // in that, as the header has it
	async    bool      // nobody waits: an error is collected for Flush
	phase    phase
	question question
	id       uint64        // in the mux
	order    uint64        // of submission
	entry    *list.Element // in publisher.pending
	attempt  int
	due      time.Time // of phases outstanding and pausing
	slot     int       // in publisher.timers, or -1
	pauses   *backoff.ExponentialBackOff
	sent     time.Time // the present attempt
	said     error     // publisher.said before that
	// unanswered is when the first attempt was sent that was never answered, from where on the log may hold the write. Zero
	// when every attempt so far was refused.
	unanswered time.Time
	cause      error  // why the last attempt came to nothing
	abandoned  bool   // the caller has gone: it goes on only until the outcome is known
	group      *group // of the present attempt, or nil
	alone      bool   // it is not grouped any more
}

var _ receiver = (*publication)(nil)

func (p *publication) subject() string { return p.msgs[0].Subject }

func (p *publication) isBatch() bool { return len(p.msgs) > 1 }

func (p *publication) size() int {
	n := 0
	for _, m := range p.msgs {
		n += len(m.Data)
	}
	return n
}

// maybeLogged reports whether the log may hold the write although no answer says so.
func (p *publication) maybeLogged() bool { return p.phase == outstanding || !p.unanswered.IsZero() }

func (p *publication) receive(attempt int, m *nats.Msg) {
	if p.isBatch() && len(m.Data) == 0 && len(m.Header) == 0 {
		p.publisher.staged(p, attempt)
		return
	}
	ack, err := parseAck(m)
	if err == nil && p.isBatch() && !ack.Duplicate && ack.Count != len(p.msgs) {
		err = errNoBatch
	}
	p.publisher.answered(p, attempt, ack, err)
}

func (p *publication) fail(err error) { p.publisher.answered(p, anyAttempt, pubAck{}, err) }

// Headers of an atomic batch; see ADR-50 of NATS.
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchNo     = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// dress returns the messages of an attempt, which are to be answered at reply. Each attempt is a batch of its own; what tells the log that
// it is the same again are the ids of its messages.
func (p *publication) dress(a attempt, reply string) []*nats.Msg {
	if a.asks {
		last := p.msgs[len(p.msgs)-1]
		return []*nats.Msg{{
			Subject: last.Subject, Reply: reply,
			Header: nats.Header{wire.HeaderMsgID: last.Header[wire.HeaderMsgID], jetstream.MsgRollup: {"none"}},
		}}
	}
	if a.fence.subject != "" {
		a.fence.guard(p.msgs[0].Header)
	}
	for _, m := range p.msgs {
		m.Reply = reply
		if p.isBatch() {
			transaction, _, _ := strings.Cut(m.Header[headerBatch][0], ".")
			m.Header[headerBatch] = []string{batchID(transaction, a.number)}
		}
	}
	return p.msgs
}

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
