package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// errOrder is an archive whose records are not in order: then they can not be compared with what is there in one pass.
var errOrder = errors.New("numbers do not rise: an archive has the steps of a run, and then its V2 checkpoints, by rising number")

// existing is what there is of a run already, read beside the archive: both are in the order of their numbers.
type existing struct {
	id          string
	steps       cursor[client.Step[json.RawMessage]]
	checkpoints cursor[client.CheckpointV2[json.RawMessage]]
}

func newExisting(ctx context.Context, st client.Store[json.RawMessage], id string) *existing {
	e := &existing{id: id}
	e.steps.open(st.Steps(ctx, id, math.MinInt32, 0), func(s *client.Step[json.RawMessage]) int { return s.Step })
	e.checkpoints.open(st.ListCheckpointsV2(ctx, id), func(c *client.CheckpointV2[json.RawMessage]) int { return c.StepID })
	return e
}

func (e *existing) close() {
	e.steps.stop()
	e.checkpoints.stop()
}

func (e *existing) step(want *step) (there, same bool, err error) {
	got, err := e.steps.find(want.Step)
	if err != nil || got == nil {
		return false, false, err
	}
	return true, got.NodeID == want.NodeID && wire.SameJSON(got.State, want.State, wire.AnySpelling), nil
}

func (e *existing) checkpoint(want *checkpointV2, keys bool) (there, same bool, err error) {
	got, err := e.checkpoints.find(want.StepID)
	if err != nil || got == nil {
		return false, false, err
	}
	same = got.RNGSeed == want.RNGSeed && got.Label == want.Label && (!keys || got.IdempotencyKey == want.IdempotencyKey) &&
		got.Timestamp.Equal(want.Timestamp.Truncate(time.Microsecond)) && wire.SameJSON(got.State, want.State, wire.AnySpelling) &&
		wire.SameJSON(raw(got.Frontier), orNull(want.Frontier), wire.AnySpelling) &&
		wire.SameJSON(raw(got.RecordedIOs), orNull(want.RecordedIOs), wire.AnySpelling)
	return true, same, nil
}

func orNull(text json.RawMessage) []byte {
	if len(bytes.TrimSpace(text)) == 0 {
		return []byte("null")
	}
	return text
}

// cursor goes through what is there by rising number.
type cursor[T any] struct {
	number func(*T) int
	next   func() (T, error, bool)
	stop   func()
	held   *T // the first that was not passed
	asked  *int
}

func (c *cursor[T]) open(all iter.Seq2[T, error], number func(*T) int) {
	c.number = number
	c.next, c.stop = iter.Pull2(all)
}

// find is what is there under number, nil when nothing is. Numbers must rise from call to call.
func (c *cursor[T]) find(number int) (*T, error) {
	if c.asked != nil && number <= *c.asked {
		return nil, errOrder
	}
	c.asked = &number
	for c.held == nil || c.number(c.held) < number {
		one, err, ok := c.next()
		if err != nil {
			return nil, fmt.Errorf("read what is there: %w", err)
		}
		if !ok {
			c.held = nil
			return nil, nil //nolint:nilnil // documented: absence is an answer.
		}
		c.held = &one
	}
	if c.number(c.held) > number {
		return nil, nil //nolint:nilnil // documented: absence is an answer.
	}
	return c.held, nil
}
