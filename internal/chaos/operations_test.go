package chaos

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// batch saves the next n steps at once; large, unless nil, is saved instead of the agent's states.
func (w *worker) batch(n int, large json.RawMessage) {
	p := w.compose()
	steps := make([]client.Step[json.RawMessage], n)
	for i := range steps {
		s := w.steps[w.next+i]
		if large != nil {
			s.state = large
		}
		steps[i] = client.Step[json.RawMessage]{Step: w.next + i, NodeID: s.node, State: p.step(w.next+i, s.state)}
	}
	if p.call(w.run.id, true, func(ctx context.Context) error { return w.st.SaveStepBatch(ctx, w.run.id, steps) }) != Refused {
		w.next += n
	}
}

// transaction saves the next step, the run's named checkpoint and events, all or none.
func (w *worker) transaction() {
	p := w.compose()
	s := w.steps[w.next]
	raw := p.step(w.next, s.state)
	cp := p.state(Checkpoints, w.run.id, 0, s.state)
	events := []client.Event{p.event(), p.event()}
	do := func(ctx context.Context) error {
		return w.st.WithTransaction(ctx, func(tx client.Tx[json.RawMessage]) error {
			return errors.Join(tx.SaveStep(w.run.id, w.next, s.node, raw), tx.SaveCheckpoint(w.run.id, cp, w.next), tx.SaveEvents(events...))
		})
	}
	if p.call(w.run.id, true, do) != Refused {
		w.next++
	}
}

// checkpoint saves the run's named checkpoint, under its own subject.
func (w *worker) checkpoint() {
	p := w.compose()
	raw := p.state(Checkpoints, w.run.id, 0, w.steps[w.next].state)
	p.call("checkpoint "+w.run.id, false, func(ctx context.Context) error { return w.st.SaveCheckpoint(ctx, w.run.id, raw, w.next) })
}

// checkpointV2 saves a V2 checkpoint with a key and an event, again and again until what became of it is known.
func (w *worker) checkpointV2() {
	p := w.compose()
	w.cpNo++
	cp := client.CheckpointV2[json.RawMessage]{
		RunID: w.run.id, StepID: w.cpNo, Frontier: []string{"a", "b"}, IdempotencyKey: fmt.Sprintf("%s#%d", w.run.id, p.no),
		State: p.state(CheckpointsV2, w.run.id, w.cpNo, w.steps[w.next].state), Timestamp: time.Now(),
	}
	event := p.event()
	p.call(w.run.id, false, func(ctx context.Context) error {
		for open := false; ; {
			err := w.st.SaveCheckpointV2(ctx, cp, client.WithEvents(event))
			switch open = open || errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrNotCommitted); {
			case err == nil || !open:
				return err
			case ctx.Err() != nil:
				return fmt.Errorf("%w: %w", client.ErrOutcomeUnknown, err)
			}
		}
	})
}

// again saves the last step of this attempt, or one before it, anew, as an engine does that repeats a node.
func (w *worker) again() {
	if w.attempt < 0 || w.next == 0 {
		w.save(opSave)
		return
	}
	no := w.next - 1
	if w.draw.IntN(2) == 0 {
		no = w.attempt + w.draw.IntN(w.next-w.attempt)
	}
	p := w.compose()
	raw := p.step(no, w.steps[no].state)
	p.call(w.run.id, false, func(ctx context.Context) error { return w.st.SaveStep(ctx, w.run.id, no, "again", raw) })
}

// die ends the worker in the middle of a call, as SIGKILL would: nothing is waited for. Another takes over: it begins an attempt, loads
// what is there, and goes on after it.
func (w *worker) die(ctx context.Context) error {
	w.deaths.Add(1)
	p := w.compose()
	raw := p.step(w.next, w.steps[w.next].state)
	st := w.st
	go func() {
		<-time.After(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
		_ = st.Close()
	}()
	p.call(w.run.id, true, func(ctx context.Context) error { return st.SaveStep(ctx, w.run.id, w.next, "died", raw) })
	_ = st.Close() // the same, and waits for it
	for _, q := range w.queued {
		w.ledger.Settle(q, Unknown)
	}
	w.queued = w.queued[:0]

	if err := w.open(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	w.life++
	w.beginAttempt() // from now on nothing that the dead one left behind is written
	w.attempt = -1
	for {
		limit, cancel := context.WithTimeout(context.Background(), callLimit)
		unit, at, ok := w.board.latest(limit, w.st, w.run, 0)
		cancel()
		if ok {
			w.resumes.Add(1)
			w.next = 0
			if unit > 0 {
				w.next = at + 1
			}
			return nil
		}
	}
}

// noise is a state that does not compress.
func noise(size int) json.RawMessage {
	b := make([]byte, size*3/4)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return json.RawMessage(`"` + base64.StdEncoding.EncodeToString(b) + `"`)
}
