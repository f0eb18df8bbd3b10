package linear

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// checkpoint makes one call on the checkpoints of a slot: a load or a save of the named one or of the V2 one, or a transaction that writes
// the named one together with a step of the run, from the run's partition and not from the checkpoint's own.
func (c *worker) checkpoint(ctx context.Context, s *slot) error {
	switch c.draw.IntN(10) {
	case 0, 1, 2:
		return c.loaded(Call{Key: s.named, Register: true}, func() (Held, error) {
			got, step, err := c.st.LoadCheckpoint(ctx, s.named)
			return Held{step, got.Value}, err
		})
	case 3, 4, 5:
		c.Counts.Checkpoints.Add(1)
		call := c.newCheckpoint(s.named)
		_, err := c.saved(s, func() error { return c.st.SaveCheckpoint(ctx, s.named, State{call.Value}, call.Step) }, call)
		return err
	case 6:
		return c.loaded(Call{Key: s.v2, Register: true}, func() (Held, error) {
			got, err := c.st.LoadCheckpointV2(ctx, s.v2, 1)
			return Held{int(got.RNGSeed), got.State.Value}, err
		})
	case 7:
		c.Counts.CheckpointsV2.Add(1)
		call := c.newCheckpoint(s.v2)
		cp := client.CheckpointV2[State]{
			RunID: s.v2, StepID: 1, RNGSeed: int64(call.Step), State: State{call.Value}, IdempotencyKey: fmt.Sprintf("key-%d", call.Value),
		}
		_, err := c.saved(s, func() error {
			return c.untilKnown(ctx, func(ctx context.Context) error { return c.st.SaveCheckpointV2(ctx, cp) })
		}, call)
		return err
	default:
		c.Counts.Transactions.Add(1)
		call := c.newCheckpoint(s.named)
		step := Call{Key: s.run, Save: true, Held: Held{int(s.highest.Add(1)), call.Value}}
		_, err := c.saved(s, func() error {
			return c.st.WithTransaction(ctx, func(tx client.Tx[State]) error {
				return errors.Join(tx.SaveStep(step.Key, step.Step, "node", State{call.Value}), tx.SaveCheckpoint(s.named, State{call.Value}, call.Step))
			})
		}, call, step)
		return err
	}
}

func (c *worker) newCheckpoint(key string) Call {
	return Call{Key: key, Save: true, Register: true, Held: Held{1 + c.draw.IntN(1000), c.values.Add(1)}}
}

// untilKnown repeats a save that has an idempotency key until its outcome is known, or ctx ends: however often it is made, it happens
// once. Once it may have happened, it stays so.
func (c *worker) untilKnown(ctx context.Context, save func(context.Context) error) error {
	var open error
	for {
		attempt, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err := save(attempt)
		cancel()
		switch {
		case err == nil:
			return nil
		case Unknown(err):
			open = err
		case !errors.Is(err, context.DeadlineExceeded):
			return errors.Join(err, open)
		}
		if ctx.Err() != nil {
			return errors.Join(err, open)
		}
		c.Counts.Repeated.Add(1)
	}
}
