package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// conn is a replica's connections to the database and to the log.
type conn struct{ p *process }

var (
	_ partition.Leases    = conn{}
	_ batcher.Store       = conn{}
	_ batcher.Joint       = conn{}
	_ batcher.DeadLetters = conn{}
	_ readpath.Rows       = conn{}
	_ readpath.Letters    = conn{}
	_ stream.Messages     = conn{}
	_ ingest.Server       = servedLog{}
	_ partition.Log       = logOf{}
)

// row is the partition's row. Guarded by mu.
func (c conn) row(no int) *partitionRow {
	w := c.p.w
	w.db.register(c.p.made, w.plan.partitions)
	return &w.db.partitions[c.p.made][no]
}

func (c conn) Acquire(ctx context.Context, no int, reclaim bool) (partition.Term, error) {
	w := c.p.w
	return call(ctx, w, c.p, mysql, fmt.Sprint("acquire ", no), func() (partition.Term, error) {
		row, now := c.row(no), time.Now()
		if w.broken == replicaClock {
			now = now.Add(c.p.slot.skew)
		}
		before := *row
		if err := w.db.acquire(row, c.p.slot.name, reclaim, now); err != nil {
			return partition.Term{}, err
		}
		if before.owner != "" && before.owner != c.p.slot.name && !time.Now().After(before.until) {
			w.violate("I3: %s took partition %d, whose lease %s had for another %s", c.p.life, no, before.owner, time.Until(before.until))
		}
		w.counts.terms++
		return partition.Term{Partition: no, Epoch: row.epoch, Position: row.position, Logged: row.logged}, nil
	})
}

func (c conn) Look(ctx context.Context) (partition.View, error) {
	w := c.p.w
	return call(ctx, w, c.p, mysql, "look", func() (partition.View, error) {
		v := partition.View{Self: c.p.slot.name, Replicas: map[string]time.Duration{}}
		for no := range w.plan.partitions {
			row := c.row(no)
			v.Leases = append(v.Leases, partition.Lease{Owner: row.owner, Left: time.Until(row.until)})
		}
		for name, until := range w.db.replicas {
			if left := time.Until(until); left > 0 {
				v.Replicas[name] = left
			}
		}
		return v, nil
	})
}

func (c conn) Renew(ctx context.Context, terms []partition.Term, present bool) ([]partition.Term, error) {
	return call(ctx, c.p.w, c.p, mysql, "renew", func() (lost []partition.Term, err error) {
		if delete(c.p.w.db.replicas, c.p.slot.name); present {
			c.p.w.db.replicas[c.p.slot.name] = time.Now().Add(lease)
		}
		for _, t := range terms {
			row := c.row(t.Partition)
			if row.owner != c.p.slot.name || row.epoch != t.Epoch {
				lost = append(lost, t)
				continue
			}
			row.until = time.Now().Add(lease)
		}
		return lost, nil
	})
}

// done is the answer of what has none.
type done struct{}

func (c conn) Release(ctx context.Context, t partition.Term) error {
	_, err := call(ctx, c.p.w, c.p, mysql, "release", func() (done, error) {
		if row := c.row(t.Partition); row.owner == c.p.slot.name && row.epoch == t.Epoch {
			row.owner, row.until = "", time.Now()
		}
		return done{}, nil
	})
	return err
}

func (c conn) Position(ctx context.Context, no int) (uint64, error) {
	return call(ctx, c.p.w, c.p, mysql, fmt.Sprint("position ", no), func() (uint64, error) {
		return c.row(no).position, nil
	})
}

func (c conn) Place(ctx context.Context, no int) (wire.Place, error) {
	return call(ctx, c.p.w, c.p, mysql, fmt.Sprint("place ", no), func() (wire.Place, error) {
		row := c.row(no)
		at := wire.Place{Sequence: row.position, Logged: row.logged}
		if c.p.w.broken != rememberedPosition {
			return at, nil
		}
		if at.Sequence > c.p.highest[no].Sequence {
			c.p.highest[no] = at
		}
		return c.p.highest[no], nil
	})
}

func (c conn) Commit(ctx context.Context, b *batcher.Batch) error {
	w := c.p.w
	name := fmt.Sprint("commit ", b.Partition)
	if w.broken == announcedBefore {
		c.p.announce(position.Commit{Partition: b.Partition, From: b.After, To: b.Last()})
	}
	var err error
	for _, part := range w.broken.transactions(b) {
		if _, err = call(ctx, w, c.p, mysql, name, func() (done, error) { return done{}, w.commit(c, b, part) }); err != nil {
			break
		}
	}
	return classified(err)
}

// CommitAll does as one transaction what Commit does of each batch, but for what is broken in how a batch is committed.
func (c conn) CommitAll(ctx context.Context, batches []*batcher.Batch) error {
	w := c.p.w
	for _, b := range batches {
		if len(w.broken.transactions(b)) > 1 {
			return &batcher.Error{Class: batcher.Again, Err: errors.New("it commits in more transactions than one")}
		}
		if w.broken == announcedBefore {
			c.p.announce(position.Commit{Partition: b.Partition, From: b.After, To: b.Last()})
		}
	}
	_, err := call(ctx, w, c.p, mysql, "commit together", func() (done, error) { return done{}, w.commitAll(c, batches) })
	return classified(err)
}

func classified(err error) error {
	var told *batcher.Error
	if err == nil || errors.As(err, &told) {
		return err
	}
	return &batcher.Error{Class: batcher.Again, Number: 2006, Err: err}
}

// row is what one statement reads.
type row[T any] struct {
	of       *T
	begun    uint32
	position uint64
}

func (c conn) Latest(ctx context.Context, no int, run string) (*wire.StepRecord, uint32, uint64, error) {
	r, err := call(ctx, c.p.w, c.p, mysql, "latest", func() (row[wire.StepRecord], error) {
		step, begun := c.p.w.db.latest(run, c.p.w.db.generations[c.p.made])
		return row[wire.StepRecord]{step, begun, c.row(no).position}, nil
	})
	return r.of, r.begun, r.position, err
}

func (c conn) Checkpoint(ctx context.Context, no int, id string) (*wire.CheckpointRecord, uint64, error) {
	r, err := call(ctx, c.p.w, c.p, mysql, "checkpoint", func() (row[wire.CheckpointRecord], error) {
		r := row[wire.CheckpointRecord]{position: c.row(no).position}
		if found, ok := c.p.w.db.checkpoints[id]; ok {
			r.of = &wire.CheckpointRecord{Step: found.step, State: []byte(found.state)}
			if found.at.generation == c.p.w.db.generations[c.p.made] {
				r.of.Sequence = found.at.sequence
			}
		}
		return r, nil
	})
	return r.of, r.position, err
}

func (c conn) Put(ctx context.Context, events []*wire.Event) error {
	w := c.p.w
	for _, ev := range events {
		put := func(ctx context.Context) error {
			_, err := call(ctx, w, c.p, nats, fmt.Sprint("letter ", ev.Partition), func() (done, error) {
				w.letter(c, ev)
				return done{}, nil
			})
			return err
		}
		if w.broken == letterAfterwards {
			w.takenDown.Go(func() { _ = put(context.Background()) })
		} else if err := put(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c conn) DeadLetter(ctx context.Context, _ int, seq uint64) (wire.Poison, bool, error) {
	why, err := call(ctx, c.p.w, c.p, nats, "dead letter", func() (*wire.Poison, error) {
		if why, found := c.p.w.letters[place{c.p.w.db.generations[c.p.made], seq}]; found {
			return &why, nil
		}
		return nil, nil //nolint:nilnil // there is none.
	})
	if why == nil {
		return wire.Poison{}, false, err
	}
	return *why, true, err
}

func (c conn) Trim(ctx context.Context, no int, position wire.Place, before time.Time) error {
	w := c.p.w
	_, err := call(ctx, w, c.p, nats, "trim", func() (done, error) {
		if w.log.made.Equal(c.p.made) {
			w.log.trim(no, position.Sequence, before)
		}
		return done{}, nil
	})
	return err
}
