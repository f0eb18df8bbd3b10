package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

var _ replay.Target = (*Replay)(nil)

// Replay applies a part of the registered log again. It needs no lease and moves no position; how far it is stands in persistd_replays, and
// moves in the transaction of the rows. Its methods may be called concurrently.
type Replay struct {
	s     *Store
	r     *registration
	name  string
	rules replay.Rules
}

// Replay is the replay of that name.
func (s *Store) Replay(name string, rules replay.Rules) (*Replay, error) {
	r := s.registered.Load()
	if r == nil {
		return nil, s.fail("replay", errNotRegistered)
	}
	return &Replay{s, r, name, rules}, nil
}

// Parts are the replay's parts as they stand, in order of the partitions, and what it was started with; none when there is no such replay of
// this log.
func (p *Replay) Parts(ctx context.Context) (parts []replay.Part, asked string, err error) {
	parts, asked, err = p.parts(ctx)
	return parts, asked, p.s.fail("read progress of replay "+p.name, err)
}

func (p *Replay) parts(ctx context.Context) (parts []replay.Part, asked string, err error) {
	rows, err := p.s.readers.QueryContext(ctx, "SELECT partition_no, after_seq, until_seq, position, asked FROM persistd_replays"+
		" WHERE name=? AND generation=? ORDER BY partition_no", p.name, p.r.generation)
	if err != nil {
		return nil, "", fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var part replay.Part
		if err := rows.Scan(&part.Partition, &part.After, &part.Until, &part.Position, &asked); err != nil {
			return nil, "", fmt.Errorf("scan: %w", err)
		}
		parts = append(parts, part)
	}
	return parts, asked, wrap("read", rows.Err())
}

// Begin begins the replay anew, whatever there was of it: parts are where they say that they are.
func (p *Replay) Begin(ctx context.Context, parts []replay.Part, asked string) error {
	err := retry(ctx, func() error { return p.begin(ctx, parts, asked) })
	return p.s.fail("begin replay "+p.name, err)
}

func (p *Replay) begin(ctx context.Context, parts []replay.Part, asked string) error {
	tx, err := p.s.leases.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	if _, err := tx.ExecContext(ctx, "DELETE FROM persistd_replays WHERE name=?", p.name); err != nil {
		return fmt.Errorf("remove former: %w", err)
	}
	for _, part := range parts {
		_, err := tx.ExecContext(ctx, "INSERT INTO persistd_replays (name, partition_no, generation, asked, after_seq, until_seq, position, started_at, updated_at)"+
			" VALUES (?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", p.name, part.Partition, p.r.generation, asked, part.After, part.Until, part.Position)
		if err != nil {
			return fmt.Errorf("insert partition %d: %w", part.Partition, err)
		}
	}
	return wrap("commit", tx.Commit())
}

// Apply implements [replay.Target].
//
//	I4: a row changes only to a (generation, sequence) that is not smaller than its own, whatever the daemon writes meanwhile.
//	I5: whole events are applied; one of which a part is refused is none at all.
//
//	lock and move the progress, if it is where b begins       ── not one row: roll back, find out why
//	apply the events (see applier)                            ── some are of an older attempt: roll back, say which
//	commit                                                    ── an error leaves open whether it happened: the next call finds out
func (p *Replay) Apply(ctx context.Context, b *batcher.Batch) (replay.Outcomes, error) {
	out, err := p.apply(ctx, b)
	if err != nil {
		return replay.Outcomes{}, p.s.fail(fmt.Sprintf("replay partition %d from %d to %d", b.Partition, b.After, b.Last()), err)
	}
	return out, nil
}

func (p *Replay) apply(ctx context.Context, b *batcher.Batch) (out replay.Outcomes, err error) {
	conn, err := p.s.writers.Conn(ctx)
	if err != nil {
		return out, fmt.Errorf("get connection: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	defer func() {
		if err != nil {
			undo(ctx, conn, err)
		}
	}()
	moved, err := p.move(ctx, conn, b)
	if err != nil {
		return out, fmt.Errorf("move progress: %w", err)
	}
	if !moved {
		if err := p.whyNot(ctx, conn, b); err != nil {
			return out, err
		}
		return out, end(ctx, conn, "ROLLBACK") // applied before; there is nothing to do
	}
	only, more := writers(b.Events)
	a := applier{conn: conn, packet: &p.s.packet, generation: p.r.generation, naming: more, again: &p.rules}
	outcomes, err := a.apply(ctx, b.Events)
	if err == nil {
		err = refusal(b.Events, outcomes)
	}
	if err != nil {
		if only != nil && len(b.Events) > 1 && ofValue(err) {
			return out, blame(map[*wire.Event]error{only: err}, err) // it needs no search
		}
		return out, err
	}
	return outcomesOf(b.Events, outcomes), end(ctx, conn, "COMMIT")
}

// move begins the transaction and moves the progress, if it is where b begins. Two that replay under one name stand in each other's way here.
func (p *Replay) move(ctx context.Context, conn *sql.Conn, b *batcher.Batch) (moved bool, err error) {
	res, err := conn.ExecContext(ctx, "UPDATE persistd_replays SET position=?, updated_at=UTC_TIMESTAMP(6)"+
		" WHERE name=? AND partition_no=? AND generation=? AND position=?", b.Last(), p.name, b.Partition, p.r.generation, b.After)
	if err != nil {
		return false, err //nolint:wrapcheck // the caller does.
	}
	n, err := res.RowsAffected() // rows changed: Last is greater than After, so a match is a change
	return n == 1, err           //nolint:wrapcheck // never fails with this driver.
}

func (p *Replay) whyNot(ctx context.Context, conn *sql.Conn, b *batcher.Batch) error {
	var position uint64
	err := conn.QueryRowContext(ctx, "SELECT position FROM persistd_replays WHERE name=? AND partition_no=? AND generation=?",
		p.name, b.Partition, p.r.generation).Scan(&position)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return &verdict{class: batcher.Moved, err: errors.New("its progress is gone: somebody began it anew with other parts, or restored the database")}
	case err != nil:
		return fmt.Errorf("read progress: %w", err)
	case position != b.Last():
		return &verdict{class: batcher.Moved, err: fmt.Errorf("it is at %d, not at %d: another replay of this name is under way", position, b.After)}
	}
	return nil
}

func outcomesOf(events []*wire.Event, outcomes []outcome) (out replay.Outcomes) {
	for i, o := range outcomes {
		if events[i].Poison != nil || len(events[i].Ops) == 0 {
			continue
		}
		switch o.result {
		case applied:
			out.Applied++
		case same:
			out.Same++
		case duplicate:
			out.Duplicates++
		case deleted:
			out.Deleted++
		case untold:
			out.Untold++
		case stale: // is refused
		}
	}
	return out
}

// insertEmitted is [insertOutbox] of events that somebody else emits.
var (
	insertEmitted = statement{
		verb: "insert", what: "outbox events",
		head: strings.Replace(insertOutbox.head, "created_at)", "created_at, emitted_at)", 1), sep: ",", tail: insertOutbox.tail,
	}
	saveEmitted = upsert{guarded: insertEmitted, plain: insertEmitted, row: func(q []byte, x row, at place) []byte {
		q = appendOutbox(q, x, at)
		return append(q[:len(q)-1], ",UTC_TIMESTAMP(6))"...)
	}}
)
