package service_test

import (
	"context"
	"strings"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// history is what a replica reads beside rows, in memory.
type history struct {
	asked  any // the last request
	steps  []wire.StepRecord
	v2     []wire.V2Record
	runs   []wire.RunRecord
	keys   []readpath.Key
	events []wire.OutboxRecord
}

// ask writes the request down and is what a read begins with.
func (d *data) ask(ctx context.Context, q any) (history, error) {
	_, _, err := d.read(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history.asked = q
	return d.history, err
}

// from is the part of a list that a page begins with, and where the next one does.
func from[T any](all []T, at func(T) int32, first int32, limit int) (page []T, next *int32) {
	for _, x := range all {
		if at(x) < first {
			continue
		}
		if limit > 0 && len(page) == limit {
			n := at(x)
			return page, &n
		}
		page = append(page, x)
	}
	return page, nil
}

func (d *data) Steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	h, err := d.ask(ctx, q)
	page, next := from(h.steps, func(s wire.StepRecord) int32 { return s.Step }, q.From, q.Limit)
	return wire.StepsReply{Steps: page, Next: next}, err
}

func (d *data) Changes(ctx context.Context, runID string, first int32, after readpath.Cursor) (changes []readpath.Change, err error) {
	h, err := d.ask(ctx, runID+" "+after.String())
	for _, s := range h.steps {
		if s.Step >= first && s.Sequence > after.Sequence {
			changes = append(changes, readpath.Change{At: readpath.Cursor{Generation: 1, Sequence: s.Sequence, Step: s.Step}, Step: s})
		}
	}
	return changes, err
}

func (d *data) CheckpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error) {
	h, err := d.ask(ctx, q)
	if len(h.v2) == 0 {
		return nil, err
	}
	return &h.v2[0], err
}

func (d *data) CheckpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	h, err := d.ask(ctx, q)
	page, next := from(h.v2, func(c wire.V2Record) int32 { return c.StepID }, q.From, q.Limit)
	return wire.V2ListReply{Checkpoints: page, Next: next}, err
}

func (d *data) Runs(ctx context.Context, q wire.RunsRequest) (reply wire.RunsReply, err error) {
	h, err := d.ask(ctx, q)
	for _, r := range h.runs {
		switch {
		case r.RunID <= q.After || !strings.HasPrefix(r.RunID, q.Prefix):
		case len(reply.Runs) == q.Limit:
			reply.Next = reply.Runs[q.Limit-1].RunID
			return reply, err
		default:
			reply.Runs = append(reply.Runs, r)
		}
	}
	return reply, err
}

func (d *data) Attempt(ctx context.Context, runID string) (uint32, error) {
	_, err := d.ask(ctx, runID)
	return 3, err
}

func (d *data) Keys(ctx context.Context, keys []string) (used []readpath.Key, err error) {
	h, err := d.ask(ctx, keys)
	for _, k := range h.keys {
		for _, key := range keys {
			if k.Key == key {
				used = append(used, k)
			}
		}
	}
	return used, err
}

func (d *data) Claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	h, err := d.ask(ctx, q)
	return h.events[:min(len(h.events), q.Limit)], err
}

// MarkEmitted takes the marked ones out.
func (d *data) MarkEmitted(ctx context.Context, ids []string) (n int64, err error) {
	_, err = d.ask(ctx, ids)
	d.mu.Lock()
	defer d.mu.Unlock()
	var pending []wire.OutboxRecord
	for _, e := range d.history.events {
		marked := false
		for _, id := range ids {
			marked = marked || id == e.EventID
		}
		if marked {
			n++
		} else {
			pending = append(pending, e)
		}
	}
	d.history.events = pending
	return n, err
}
