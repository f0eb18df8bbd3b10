package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// register makes log and database known to each other, and refuses two that do not belong together: what then were applied, or passed over,
// could not be mended.
//
//	is the log registered here?
//	    no, and it is a copy of one that is → it belongs to whom that one belonged to, and goes on where that one was, if it has all that is
//	                                          committed; else it lost its end
//	    no                                  → a new log: say what the ones before it held that is not here
//	claim it for this database              (crash here: claimed and not registered; the next start goes on)
//	register it
//	compare it with each position
func (d *daemon) register(ctx context.Context) error {
	log := mysqlstore.Log{Stream: d.stream.Name(), Created: d.stream.Created(), Partitions: d.stream.Partitions()}
	pair := pairing{stream: d.stream, store: d.store}
	if err := pair.look(ctx, log); err != nil {
		return permanent(err)
	}
	id, err := d.store.Identity(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	switch err := d.stream.Marks().Claim(ctx, id, d.cfg.Instance, pair.copied); {
	case errors.Is(err, stream.ErrForeign):
		return backoff.Permanent(hinted(err, hintForeign))
	case err != nil:
		return err //nolint:wrapcheck // it says what was claimed.
	}
	var at []wire.Place
	switch {
	case pair.copied:
		if at, err = pair.adopt(ctx); err != nil {
			return lostEnd(err)
		}
		d.log.Info("log is a copy of one that was deleted, and goes on where that one was", zap.Time("made_at", log.Created),
			zap.Time("original_made_at", pair.former.Created))
	case len(pair.rows) == 0:
		if err := d.tellFormer(ctx, log, pair.former); err != nil {
			return err
		}
	}
	if err := d.store.RegisterAt(ctx, log, at); err != nil {
		return permanent(err)
	}
	if len(pair.rows) == 0 {
		return nil
	}
	for _, row := range pair.rows {
		if err := d.stream.Examine(ctx, row.Partition, wire.Place{Sequence: row.Position, Logged: row.Logged}); err != nil {
			return lostEnd(err)
		}
	}
	return nil
}

// lostEnd marks an error of a log that lost its end, which no waiting mends.
func lostEnd(err error) error {
	if errors.Is(err, stream.ErrShort) {
		return backoff.Permanent(hinted(err, hintShort))
	}
	return err
}

// pairing is a log and a database, and what they know of each other.
type pairing struct {
	stream *stream.Stream
	store  *mysqlstore.Store

	rows   []mysqlstore.PartitionRow // of the log; none when it is not registered
	former *mysqlstore.Former        // the log of that name before it; nil when there is none
	copied bool                      // rows are none, and the log is a copy of former
}

func (p *pairing) look(ctx context.Context, log mysqlstore.Log) (err error) {
	if p.rows, err = p.store.PositionsOf(ctx, log); err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	if p.former, err = p.store.Former(ctx, log); err != nil {
		return err //nolint:wrapcheck // it says what was looked for.
	}
	if len(p.rows) > 0 || p.former == nil {
		return nil
	}
	p.copied, err = p.stream.Copied(ctx, p.former.Position)
	return err //nolint:wrapcheck // it says what was looked for.
}

// original are the partitions of the log that this one is, or is a copy of.
func (p *pairing) original(ctx context.Context) ([]mysqlstore.PartitionRow, error) {
	if !p.copied {
		return p.rows, nil
	}
	log := mysqlstore.Log{Stream: p.stream.Name(), Created: p.former.Created, Partitions: p.stream.Partitions()}
	rows, err := p.store.PositionsOf(ctx, log)
	if err == nil && len(rows) != log.Partitions {
		err = fmt.Errorf("the log made at %s had %d partitions, its copy has %d", log.Created, len(rows), log.Partitions)
	}
	return rows, err //nolint:wrapcheck // it says what was read.
}

// adopt are the positions at which a copy goes on: those of its original. The error wraps [stream.ErrShort] when it does not reach them.
func (p *pairing) adopt(ctx context.Context) ([]wire.Place, error) {
	rows, err := p.original(ctx)
	if err != nil {
		return nil, err
	}
	at := make([]wire.Place, len(rows))
	for i, row := range rows {
		at[i] = wire.Place{Sequence: row.Position, Logged: row.Logged}
		if err := p.stream.Examine(ctx, i, at[i]); err != nil {
			return nil, err //nolint:wrapcheck // it says what was examined.
		}
	}
	return at, nil
}

// tellFormer says what the logs before a new one held that is not in the database: it is nowhere any more. The marks know how far each got.
func (d *daemon) tellFormer(ctx context.Context, log mysqlstore.Log, former *mysqlstore.Former) error {
	var since time.Time // older ones this database has already told of
	if former != nil {
		since = former.Created
		d.log.Warn("log was made again: what the one before held and had not been applied is lost", zap.Time("made_at", log.Created),
			zap.Time("former_made_at", former.Created), zap.Uint64("former_position", former.Position.Sequence),
			zap.Time("former_logged", former.Position.Logged),
			zap.String("hint", "if it was deleted on purpose, after everything was applied, nothing is lost; if not, see docs/recovery.md"))
	}
	ends := map[time.Time]uint64{} // the last sequence of each log, as far as is known
	for p := range log.Partitions {
		mark, err := d.stream.Marks().Partition(ctx, p)
		if err != nil {
			return err //nolint:wrapcheck // it says what was read.
		}
		for _, f := range mark.Logs(log.Created) {
			if f.Created.Before(since) {
				continue
			}
			ends[f.Created] = max(ends[f.Created], f.Last)
			rows, err := d.store.PositionsOf(ctx, mysqlstore.Log{Stream: log.Stream, Created: f.Created})
			if err != nil {
				return err //nolint:wrapcheck // it says what was read.
			}
			var at wire.Place
			if p < len(rows) {
				at = wire.Place{Sequence: rows[p].Position, Logged: rows[p].Logged}
			}
			if f.Reached.Sequence <= at.Sequence {
				continue
			}
			err = d.recovery.gaps.record(ctx, &mysqlstore.Gap{
				Stream: log.Stream, Created: f.Created, Partition: p, After: at, Through: f.Reached,
				Why: "the database was restored to before a log was deleted that had been applied further",
			})
			if err != nil {
				return err
			}
		}
	}
	if former != nil && ends[former.Created] > former.Position.Sequence {
		return d.recovery.gaps.record(ctx, &mysqlstore.Gap{
			Stream: log.Stream, Created: former.Created, Partition: -1, After: former.Position, Through: wire.Place{Sequence: ends[former.Created]},
			Why: "the log was deleted before all that it held was applied",
		})
	}
	return nil
}
