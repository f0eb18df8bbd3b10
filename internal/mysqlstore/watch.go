package mysqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// watchPause is the pause between two looks of a watch.
const watchPause = 100 * time.Millisecond

// Watch reads a page of the run's steps with the number q.From or more that were saved since the reply that gave q.Cursor, and waits for
// one for q.WaitMS. The order is that of the times of their last saves.
//
// Transactions do not commit in the order of their times: no time is one up to which everything was seen. So the cursor holds, for every
// step of the run, in which version it was shown. It misses none, as far as two versions of a step differ in their time; and is as
// long as the run has steps, some bytes for each.
func (d *Direct) Watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	reply, err := d.watch(ctx, q)
	return reply, d.failed("watch run", err)
}

func (d *Direct) watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	seen, err := parseVersions(q.Cursor)
	if err != nil {
		return wire.WatchReply{}, &verdict{class: batcher.Never, err: err}
	}
	over := time.NewTimer(time.Duration(q.WaitMS) * time.Millisecond)
	defer over.Stop()
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for {
		steps, err := d.look(ctx, q, seen)
		if err != nil {
			return wire.WatchReply{}, err
		}
		if len(steps) > 0 {
			return wire.WatchReply{Steps: steps, Cursor: seen.String()}, nil
		}
		select {
		case <-pause.C:
		case <-over.C:
			return wire.WatchReply{Cursor: seen.String()}, nil
		case <-ctx.Done():
			return wire.WatchReply{}, context.Cause(ctx)
		}
	}
}

// look reads a page of the steps that are not there as they were seen, and sets in seen what it returns.
func (d *Direct) look(ctx context.Context, q wire.WatchRequest, seen versions) ([]wire.StepRecord, error) {
	for {
		there, err := d.versions(ctx, q.RunID, q.From)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(seen, func(step int32, _ int64) bool { // the run was deleted: a step of that number is new
			_, ok := there[step]
			return !ok
		})
		fresh := there.without(seen)
		if len(fresh) == 0 {
			return nil, nil
		}
		saved, err := d.numbered(ctx, q.RunID, fresh, 0)
		if err != nil {
			return nil, err
		}
		var steps []wire.StepRecord
		for _, s := range saved { // perhaps a later version than the one in there, of which there need be no other sign
			seen[s.record.Step] = micros(s.saved)
			steps = append(steps, s.record)
		}
		if len(steps) > 0 {
			return steps, nil
		}
	}
}

// versions are the versions of a run's steps, by number: the times of their last saves in microseconds.
type versions map[int32]int64

func micros(t sql.NullTime) int64 {
	if !t.Valid {
		return 0
	}
	return t.Time.UnixMicro()
}

func (d *Direct) versions(ctx context.Context, runID string, from int32) (_ versions, err error) {
	rows, err := d.db.QueryContext(ctx, "SELECT step, COALESCE(updated_at, created_at) FROM workflow_steps"+byStep+"WHERE run_id=? AND step>=?", runID, from)
	if err != nil {
		return nil, fmt.Errorf("look for changes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all := versions{}
	for rows.Next() {
		var (
			step int32
			at   sql.NullTime
		)
		if err := rows.Scan(&step, &at); err != nil {
			return nil, fmt.Errorf("look for changes: %w", err)
		}
		all[step] = micros(at)
	}
	return all, wrap("look for changes", rows.Err())
}

// without are the steps of which seen does not have the version of v, in the order of their times, up to where the numbers no longer rise:
// what can be read in the order of both.
func (v versions) without(seen versions) []int32 {
	var fresh []int32
	for step, at := range v {
		if was, ok := seen[step]; !ok || was != at {
			fresh = append(fresh, step)
		}
	}
	slices.SortFunc(fresh, func(x, y int32) int { return cmp.Or(cmp.Compare(v[x], v[y]), cmp.Compare(x, y)) })
	for i := range fresh {
		if i > 0 && fresh[i] <= fresh[i-1] {
			return fresh[:i]
		}
	}
	return fresh
}

// String is v as a cursor: numbers and times, each as the difference from the one before.
func (v versions) String() string {
	var (
		b    []byte
		step int64
		at   int64
	)
	for _, s := range slices.Sorted(maps.Keys(v)) {
		b = binary.AppendVarint(b, int64(s)-step)
		b = binary.AppendVarint(b, v[s]-at)
		step, at = int64(s), v[s]
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseVersions(cursor string) (versions, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	v := versions{}
	var step, at int64
	for len(b) > 0 {
		for _, to := range []*int64{&step, &at} {
			n, size := binary.Varint(b)
			if size <= 0 {
				return nil, errors.New("cursor: ends within a number")
			}
			*to, b = *to+n, b[size:]
		}
		v[int32(step)] = at //nolint:gosec // G115: a number of String's.
	}
	return v, nil
}
