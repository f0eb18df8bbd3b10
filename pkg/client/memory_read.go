package client

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// memPage is how many records a page has at most: few enough that whoever lists much turns pages, as in persistd.
const memPage = 1000

func (s *memStep) record() wire.StepRecord {
	r := s.StepRecord
	r.State = bytes.Clone(r.State)
	return r
}

func cloneV2(r *wire.V2Record) wire.V2Record {
	c := *r
	c.State, c.Frontier, c.RecordedIOs = bytes.Clone(r.State), bytes.Clone(r.Frontier), bytes.Clone(r.RecordedIOs)
	return c
}

// highest is the step of the highest number that the run's newest attempt saved; nil when there is none.
func (r *memRun) highest() *memStep {
	var highest *memStep
	for _, s := range r.steps {
		if s.Attempt == r.latest && (highest == nil || s.Step > highest.Step) {
			highest = s
		}
	}
	return highest
}

func (d *memData) latestLocked(runID string) *wire.StepRecord {
	r := d.runs[runID]
	if r == nil {
		return nil
	}
	s := r.highest()
	if s == nil {
		return nil
	}
	record := s.record()
	return &record
}

func (d *memData) checkpointLocked(id string) *wire.CheckpointRecord {
	found := d.named[id]
	if found == nil {
		return nil
	}
	record := *found
	record.State = bytes.Clone(found.State)
	return &record
}

func (d *memData) checkpointV2Locked(q wire.V2Request) *wire.V2Record {
	r := d.runs[q.RunID]
	if r == nil {
		return nil
	}
	var found *wire.V2Record
	for _, cp := range r.v2 {
		fits := q.StepID == nil || cp.StepID == *q.StepID
		if q.Label != "" {
			fits = cp.Label == q.Label
		}
		if fits && (found == nil || cp.StepID > found.StepID) {
			found = cp
		}
	}
	if found == nil {
		return nil
	}
	record := cloneV2(found)
	return &record
}

// pageOf is the keys from from on in order, at most limit of them, and the key after them, nil when there is none.
func pageOf[K cmp.Ordered, V any](m map[K]V, from K, limit int) (page []K, next *K) {
	for k := range m {
		if k >= from {
			page = append(page, k)
		}
	}
	slices.Sort(page)
	if limit <= 0 || limit > memPage {
		limit = memPage
	}
	if len(page) > limit {
		next, page = &page[limit], page[:limit]
	}
	return page, next
}

func (d *memData) checkpointsV2Locked(q wire.V2ListRequest) (reply wire.V2ListReply) {
	r := d.runs[q.RunID]
	if r == nil {
		return reply
	}
	ids, next := pageOf(r.v2, q.From, q.Limit)
	for _, id := range ids {
		reply.Checkpoints = append(reply.Checkpoints, cloneV2(r.v2[id]))
	}
	reply.Next = next
	return reply
}

func (d *memData) stepsLocked(q wire.StepsRequest) (reply wire.StepsReply) {
	r := d.runs[q.RunID]
	if r == nil {
		return reply
	}
	numbers, next := pageOf(r.steps, q.From, q.Limit)
	for _, n := range numbers {
		reply.Steps = append(reply.Steps, r.steps[n].record())
	}
	reply.Next = next
	return reply
}

func (d *memData) runsLocked(q wire.RunsRequest) (reply wire.RunsReply) {
	limit := q.Limit
	if limit <= 0 || limit > memPage {
		limit = memPage
	}
	for _, id := range slices.Sorted(maps.Keys(d.runs)) {
		if id <= q.After || !strings.HasPrefix(id, q.Prefix) {
			continue
		}
		s := d.runs[id].highest()
		if s == nil || s.updated.Before(q.UpdatedSince) {
			continue
		}
		if len(reply.Runs) == limit {
			reply.Next = reply.Runs[limit-1].RunID
			break
		}
		reply.Runs = append(reply.Runs, wire.RunRecord{RunID: id, Attempt: s.Attempt, LastStep: s.Step, NodeID: s.NodeID, UpdatedAt: s.updated})
	}
	return reply
}

// watch answers at once when there is something after the cursor, and else when a write brings something, or the time is over.
func (m *memory) watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	var after memCursor
	if q.Cursor != "" {
		if _, err := fmt.Sscanf(q.Cursor, memCursorForm, &after.seq, &after.step); err != nil {
			return wire.WatchReply{}, &fault{kind: ErrBadRequest, err: fmt.Errorf("parse cursor: %w", err)}
		}
	}
	over := time.NewTimer(time.Duration(q.WaitMS) * time.Millisecond)
	defer over.Stop()
	for {
		if err := m.usable(ctx); err != nil {
			return wire.WatchReply{}, err
		}
		steps, last, written := m.data.changes(q, after)
		reply := wire.WatchReply{Steps: steps, Cursor: q.Cursor}
		if len(steps) > 0 {
			reply.Cursor = fmt.Sprintf(memCursorForm, last.seq, last.step)
			return reply, nil
		}
		select {
		case <-written:
		case <-over.C:
			return reply, nil
		case <-m.closed:
		case <-ctx.Done():
		}
	}
}

// memCursor is a place in the order in which steps were written.
type memCursor struct {
	seq  uint64
	step int32
}

const memCursorForm = "%d.%d"

func (c memCursor) compare(other memCursor) int {
	return cmp.Or(cmp.Compare(c.seq, other.seq), cmp.Compare(c.step, other.step))
}

// changes is a page of the run's steps that were written after a place, in that order, the place of the last of them, and what is closed
// when there may be more.
func (d *memData) changes(q wire.WatchRequest, after memCursor) (steps []wire.StepRecord, last memCursor, written <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.runs[q.RunID]
	if r == nil {
		return nil, after, d.written
	}
	at := func(s *memStep) memCursor { return memCursor{s.Sequence, s.Step} }
	var changed []*memStep
	for _, s := range r.steps {
		if s.Step >= q.From && at(s).compare(after) > 0 {
			changed = append(changed, s)
		}
	}
	slices.SortFunc(changed, func(a, b *memStep) int { return at(a).compare(at(b)) })
	for _, s := range changed[:min(len(changed), memPage)] {
		steps, last = append(steps, s.record()), at(s)
	}
	return steps, last, d.written
}
