package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// checkpoint makes one call on the checkpoints that belong to the run no: a load or a save of a named one or of a V2 one, or a transaction
// that writes the named one together with a step of the run, from the run's partition and not from the checkpoint's own.
func (w *historyWorkload) checkpoint(st client.Store[state], id, no int, draw *rand.Rand) error {
	named, v2 := fmt.Sprintf("checkpoint-%d", no), fmt.Sprintf("v2-%d", no)
	switch draw.IntN(10) {
	case 0, 1, 2:
		return w.loadCheckpoint(id, named, func(ctx context.Context) (held, error) {
			got, step, err := st.LoadCheckpoint(ctx, named)
			return held{step, got.Value}, err
		})
	case 3, 4, 5:
		w.checkpoints.Add(1)
		c := w.newCheckpoint(named, draw)
		return w.saved(id, func(ctx context.Context) error { return st.SaveCheckpoint(ctx, named, state{c.value}, c.step) }, c)
	case 6:
		return w.loadCheckpoint(id, v2, func(ctx context.Context) (held, error) {
			got, err := st.LoadCheckpointV2(ctx, v2, 1)
			return held{int(got.RNGSeed), got.State.Value}, err
		})
	case 7:
		w.checkpointsV2.Add(1)
		c := w.newCheckpoint(v2, draw)
		cp := client.CheckpointV2[state]{
			RunID: v2, StepID: 1, RNGSeed: int64(c.step), State: state{c.value}, IdempotencyKey: fmt.Sprintf("key-%d", c.value),
		}
		return w.saved(id, func(ctx context.Context) error {
			return w.untilKnown(ctx, func(ctx context.Context) error { return st.SaveCheckpointV2(ctx, cp) })
		}, c)
	default:
		w.transactions.Add(1)
		c := w.newCheckpoint(named, draw)
		step := call{key: fmt.Sprintf("run-%d", no), save: true, held: held{int(w.highest[no].Add(1)), c.value}}
		return w.saved(id, func(ctx context.Context) error {
			return st.WithTransaction(ctx, func(tx client.Tx[state]) error {
				return errors.Join(tx.SaveStep(step.key, step.step, "node", state{c.value}), tx.SaveCheckpoint(named, state{c.value}, c.step))
			})
		}, c, step)
	}
}

func (w *historyWorkload) newCheckpoint(key string, draw *rand.Rand) call {
	return call{key: key, save: true, register: true, held: held{1 + draw.IntN(1000), w.values.Add(1)}}
}

func (w *historyWorkload) loadCheckpoint(id int, key string, load func(context.Context) (held, error)) error {
	began := w.history.now()
	got, err := load(w.t.Context())
	switch {
	case errors.Is(err, client.ErrNotFound):
		got = held{}
	case err != nil:
		return err
	default:
		w.found.Add(1)
	}
	w.history.add(id, call{key: key, register: true}, began, got, true)
	return nil
}

// saved makes a save of everything that calls say, at one moment, and records it.
func (w *historyWorkload) saved(id int, save func(context.Context) error, calls ...call) error {
	began := w.history.now()
	err := save(w.t.Context())
	known := err == nil
	if unknown(err) {
		w.unknown.Add(1)
	} else if err != nil {
		return err
	}
	for _, c := range calls {
		w.history.add(id, c, began, held{}, known)
	}
	return nil
}

// unknown is whether err leaves open whether the save took effect, or when.
func unknown(err error) bool {
	return errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrNotCommitted)
}

// untilKnown repeats a save that has an idempotency key until its outcome is known: however often it is made, it happens once.
func (w *historyWorkload) untilKnown(ctx context.Context, save func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err := save(attempt)
		cancel()
		if !unknown(err) && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		w.repeated.Add(1)
	}
}
