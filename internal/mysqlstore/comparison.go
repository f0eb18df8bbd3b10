package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/persistd/persistd/internal/verify"
)

var _ verify.Database = (*Comparison)(nil)

// Comparison reads what the log is compared with. It writes and locks nothing. Its methods may be called concurrently; those that fail
// because the database is away may be called again.
//
// A log that lost its end may be registered again, under another number; and of one that was restored as a copy, the events that were in the
// original have rows under that one's number. To a comparison these numbers are one, the log's last.
type Comparison struct {
	s       *Store
	r       *registration
	numbers []uint32 // of the log
	replay  string   // whose progress counts as position; "" for none
	// former is the number of the log that this one is a copy of, up to copied; 0 for none.
	former uint32
	copied uint64
}

// Compared says what of the registered log is compared.
type Compared struct {
	// Replay is the name of the replay whose progress counts as position, where that is further; "" for none.
	Replay string
	// CopiedUntil is the last sequence that the log has from the one that it is a copy of; 0 when it is none.
	CopiedUntil uint64
}

// Comparison is of the registered log, up to the positions.
func (s *Store) Comparison(ctx context.Context, what Compared) (*Comparison, error) {
	r := s.registered.Load()
	if r == nil {
		return nil, s.fail("compare", errNotRegistered)
	}
	known, err := s.registrations(ctx, r)
	if err != nil {
		return nil, s.fail("find registrations", err)
	}
	c := &Comparison{s: s, r: r, replay: what.Replay, copied: what.CopiedUntil}
	for _, n := range known {
		c.numbers = append(c.numbers, n.generation)
	}
	if c.copied > 0 && len(known) > 0 {
		err := s.leases.QueryRowContext(ctx, "SELECT COALESCE(MAX(generation), 0) FROM persistd_streams WHERE stream=? AND generation<?",
			r.log.Stream, known[0].generation).Scan(&c.former)
		if err != nil {
			return nil, s.fail("find the log that this one is a copy of", err)
		}
	}
	return c, nil
}

// place is a place that was read, under the log's last number if it is of this log.
func (c *Comparison) place(p verify.Place) verify.Place {
	if slices.Contains(c.numbers, p.Generation) || c.former > 0 && p.Generation == c.former && p.Sequence <= c.copied {
		p.Generation = c.r.generation
	}
	return p
}

// Generation implements [verify.Database].
func (c *Comparison) Generation() uint32 { return c.r.generation }

// Positions implements [verify.Database].
func (c *Comparison) Positions(ctx context.Context) ([]uint64, error) {
	rows, err := c.s.positions(ctx, c.r)
	if err != nil {
		return nil, c.s.fail("read positions", err)
	}
	all := make([]uint64, c.r.log.Partitions)
	for _, row := range rows {
		if row.Partition < len(all) {
			all[row.Partition] = row.Position
		}
	}
	if c.replay != "" {
		p := &Replay{s: c.s, r: c.r, name: c.replay}
		parts, _, err := p.Parts(ctx)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if part.Partition < len(all) {
				all[part.Partition] = max(all[part.Partition], part.Position)
			}
		}
	}
	return all, nil
}

// comparedTable is how rows of a table are found and read.
type comparedTable struct {
	// columns are read after the key's and the place; those after contents are NULL unless they are needed.
	id, step, index string
	columns         string
	contents        []string
	// scan is where a row's columns and contents go.
	scan func(r *verify.Row) []any
	// cursor is the column in whose order the table is looked through, run the one with the run.
	cursor, run string
}

var comparedTables = map[verify.Table]*comparedTable{
	verify.Steps: {
		id: "run_id", step: "step", index: runStepKey, columns: "node_id, attempt", contents: []string{"state"}, cursor: "id", run: "run_id",
		scan: func(r *verify.Row) []any { return []any{&r.NodeID, &r.Attempt, &r.State} },
	},
	verify.Checkpoints: {
		id: "checkpoint_id", index: "checkpoint_id", columns: "step", contents: []string{"state"}, cursor: "id",
		scan: func(r *verify.Row) []any { return []any{&r.Step, &r.State} },
	},
	verify.CheckpointsV2: {
		id: "run_id", step: "step_id", index: runStepKey, columns: "attempt, rng_seed, COALESCE(label,''), idempotency_key, timestamp",
		contents: []string{"state", "frontier", "recorded_ios"}, cursor: "id", run: "run_id",
		scan: func(r *verify.Row) []any {
			return []any{&r.Attempt, &r.RNGSeed, &r.Label, &r.IdempotencyKey, &r.Timestamp, &r.State, &r.Frontier, &r.RecordedIOs}
		},
	},
	verify.Keys: {
		id: "key_value", index: primary, columns: "run_id, step_id, content_hash", cursor: "key_value", run: "run_id",
		scan: func(r *verify.Row) []any { return []any{&r.RunID, &r.Step, &r.ContentHash} },
	},
	verify.Outbox: {
		id: "id", index: primary, columns: "run_id", contents: []string{"event_data"}, cursor: "id", run: "run_id",
		scan: func(r *verify.Row) []any { return []any{&r.RunID, &r.State} },
	},
}

// comparedRows is how many rows a statement looks up: each is a range of a key to the server's planner.
const comparedRows = 200

// Rows implements [verify.Database].
func (c *Comparison) Rows(ctx context.Context, keys []verify.Key, first, last uint64) (map[verify.Key]verify.Row, error) {
	all := make(map[verify.Key]verify.Row, len(keys))
	byTable := map[verify.Table][]verify.Key{}
	for _, k := range keys {
		byTable[k.Table] = append(byTable[k.Table], k)
	}
	for table, keys := range byTable {
		for part := range slices.Chunk(keys, comparedRows) {
			err := retry(ctx, func() error { return c.rows(ctx, all, table, part, first, last) })
			if err != nil {
				return nil, c.s.fail("read rows of "+table.String(), err)
			}
		}
	}
	return all, nil
}

func (c *Comparison) rows(ctx context.Context, all map[verify.Key]verify.Row, table verify.Table, keys []verify.Key, first, last uint64) (err error) {
	t := comparedTables[table]
	q := append([]byte("SELECT "), t.id...)
	q = append(q, ", "...)
	if t.step != "" {
		q = append(q, t.step...)
	} else {
		q = append(q, '0')
	}
	q = append(q, ", log_gen, log_seq, "...)
	q = append(q, t.columns...)
	for _, column := range t.contents {
		q = append(q, ", IF(log_gen IN ("...)
		for i, n := range c.numbers {
			if i > 0 {
				q = append(q, ',')
			}
			q = appendUint(q, uint64(n))
		}
		q = append(q, ',')
		q = appendUint(q, uint64(c.former))
		q = append(q, ") AND log_seq BETWEEN "...)
		q = appendUint(q, first)
		q = append(q, " AND "...)
		q = appendUint(q, last)
		q = append(q, ", "...)
		q = append(q, column...)
		q = append(q, ", NULL)"...)
	}
	q = append(q, " FROM "...)
	q = append(q, table.String()...)
	q = append(q, " FORCE INDEX ("...)
	q = append(q, t.index...)
	q = append(q, ") WHERE "...)
	q = t.appendKeys(q, keys)
	rows, err := c.s.readers.QueryContext(ctx, string(q))
	if err != nil {
		return fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			k = verify.Key{Table: table}
			r verify.Row
		)
		if err := rows.Scan(append([]any{&k.ID, &k.Step, &r.Place.Generation, &r.Place.Sequence}, t.scan(&r)...)...); err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		r.Place = c.place(r.Place)
		all[k] = r
	}
	return wrap("read", rows.Err())
}

// appendKeys appends the condition that finds the rows of keys.
func (t *comparedTable) appendKeys(q []byte, keys []verify.Key) []byte {
	if t.step == "" {
		q = append(q, t.id...)
		q = append(q, " IN ("...)
		for i := range keys {
			if i > 0 {
				q = append(q, ',')
			}
			q = appendString(q, keys[i].ID)
		}
		return append(q, ')')
	}
	for i := range keys {
		if i > 0 {
			q = append(q, " OR "...)
		}
		q = append(q, t.id...)
		q = append(q, '=')
		q = appendString(q, keys[i].ID)
		q = append(q, " AND "...)
		q = append(q, t.step...)
		q = append(q, '=')
		q = strconv.AppendInt(q, int64(keys[i].Step), 10)
	}
	return q
}

// Runs implements [verify.Database].
func (c *Comparison) Runs(ctx context.Context, ids []string) (map[string]verify.RunRow, error) {
	all := make(map[string]verify.RunRow, len(ids))
	for part := range slices.Chunk(ids, largestChunk) {
		if err := retry(ctx, func() error { return c.runs(ctx, all, part) }); err != nil {
			return nil, c.s.fail("read rows of persistd_runs", err)
		}
	}
	return all, nil
}

func (c *Comparison) runs(ctx context.Context, all map[string]verify.RunRow, ids []string) (err error) {
	rows, err := c.s.readers.QueryContext(ctx, "SELECT run_id, attempt, latest_attempt, attempt_gen, attempt_seq, deleted_gen, deleted_seq"+
		" FROM persistd_runs FORCE INDEX (PRIMARY) WHERE run_id IN "+string(appendMarks(nil, len(ids))), anys(ids)...)
	if err != nil {
		return fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			id string
			r  verify.RunRow
		)
		err := rows.Scan(&id, &r.Attempt, &r.Latest, &r.Begun.Generation, &r.Begun.Sequence, &r.Deleted.Generation, &r.Deleted.Sequence)
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		r.Begun, r.Deleted = c.place(r.Begun), c.place(r.Deleted)
		all[id] = r
	}
	return wrap("read", rows.Err())
}
