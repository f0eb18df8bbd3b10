package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// recovery watches that log and database are the ones that belong together, and says what a restored one costs. It decides nothing about
// where reading resumes: that is the position in MySQL, and nothing else (I2).
//
//	a term begins at the position in the database:
//	    the log is not the one that the position is of  → the daemon ends                                    (stream.Examine)
//	    it is behind, and tables are still to be restored → the term waits: what it applied would be dropped   (mysqlstore.Unrestored)
//	    what follows the position was trimmed           → record the gap, before anything after it is applied (stream.Missing)
//	    it is behind what was reached before            → say how much is applied again, and how far that is  (stream.Mark, known)
//	while it runs, every two seconds:
//	    the log lost its end, or was taken by another database → the daemon ends
//	    the position in the database is behind what was committed → the term ends, and another begins there:
//	                                                               a partition without new events would not notice
type recovery struct {
	log    *zap.Logger
	stream *stream.Stream
	store  *mysqlstore.Store
	// pending counts a partition's events after a sequence.
	pending func(ctx context.Context, partition int, after uint64) (int64, error)
	fail    func(error)

	mu     sync.Mutex // guards what follows; nothing blocks while it is held
	parts  []recovering
	tables replacing

	gaps     *openGaps
	wentBack *prometheus.CounterVec
	left     prometheus.Gauge
}

// recovering is a partition as recovery sees it.
type recovering struct {
	known  uint64 // the highest position seen since it last went back, whoever committed it
	target uint64 // up to where events are applied again; 0: they are not
	safe   uint64 // known as of before a restore that is under way, or was
	// setBack says that the partition is to be set back to safe.
	setBack bool
	reread  context.CancelCauseFunc // ends the present term's reading; nil when this replica does not read
}

// errWentBack ends a term whose position in the database is not where it was committed.
var errWentBack = fmt.Errorf("position in the database went back: it was restored from a backup, or edited: %w", partition.ErrAgain)

const (
	hintShort   = "see docs/recovery.md; persistd recover shows what was lost, and with --accept-lost-end goes on without it"
	hintForeign = "point persistd at the database that the log belongs to, or give this one a log of its own (stream.name, stream.prefix); if this database shall take that one's place: persistd recover --take-log"
)

func newRecovery(d *daemon, pending func(context.Context, int, uint64) (int64, error)) *recovery {
	r := &recovery{
		log: d.log.Named("recovery"), stream: d.stream, store: d.store, pending: pending, fail: d.fail,
		parts: make([]recovering, d.stream.Partitions()),
		gaps:  newOpenGaps(d.store, d.stream.Name(), d.log.Named("recovery")),
		wentBack: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_position_went_back_total",
			Help: "How often a partition's position was found behind what had been reached: the database was restored, or edited.",
		}, []string{"partition"}),
		left: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "persistd_reapply_events",
			Help: "Events that this replica still has to apply again because positions went back; 0 when it has caught up.",
		}),
	}
	d.reg.MustRegister(r.wentBack, r.left, r.gaps.n)
	return r
}

// begin is called before a partition is read after the place that is in the database. It returns a ctx that ends when that is no longer so,
// and what has to be called when reading has ended.
func (r *recovery) begin(ctx context.Context, p int, after wire.Place) (reading context.Context, done func(), err error) {
	switch err := r.stream.Examine(ctx, p, after); {
	case errors.Is(err, stream.ErrOther):
		return ctx, func() {}, nil // the reader waits for a stream that is gone for a moment, and ends with another
	case errors.Is(err, stream.ErrShort):
		err = hinted(err, hintShort)
		r.fail(err)
		return nil, nil, err
	case err != nil:
		return nil, nil, err //nolint:wrapcheck // it says what was examined.
	}
	mark, err := r.stream.Marks().Partition(ctx, p)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it says what was read.
	}
	if err := r.again(ctx, p, after.Sequence, mark); err != nil {
		return nil, nil, err
	}
	if err := r.restored(ctx, p, after, mark); err != nil {
		return nil, nil, err
	}
	missing, err := r.stream.Missing(ctx, p, after, mark)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it says what was looked for.
	}
	if missing.Sequence > 0 {
		gap := mysqlstore.Gap{
			Stream: r.stream.Name(), Created: r.stream.Created(), Partition: p, After: after, Through: missing,
			Why: "the database was restored from further back than the log reaches",
		}
		// Before anything is applied: once the position has passed it, nobody could tell any more.
		if err := r.gaps.record(ctx, &gap); err != nil {
			return nil, nil, err
		}
	}
	r.wentBackTo(ctx, p, after, mark)
	reading, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.parts[p].reread = cancel
	r.mu.Unlock()
	return reading, func() {
		r.mu.Lock()
		r.parts[p].reread = nil
		r.mu.Unlock()
		cancel(nil)
	}, nil
}

// restored returns an error while a position has gone back and the tables' restore seems not to be finished.
func (r *recovery) restored(ctx context.Context, p int, after wire.Place, mark stream.Mark) error {
	r.mu.Lock()
	reached := max(r.parts[p].known, r.parts[p].target)
	r.mu.Unlock()
	if mark.Created.Equal(r.stream.Created()) {
		reached = max(reached, mark.Reached.Sequence)
	}
	if after.Sequence >= reached {
		return nil
	}
	tables, err := r.store.Unrestored(ctx, p)
	if err != nil || len(tables) == 0 {
		return err //nolint:wrapcheck // it says what was asked.
	}
	return fmt.Errorf("database is being restored: wait for %s (if they are not to be restored: UPDATE persistd_partitions SET updated_at=UTC_TIMESTAMP(6)): %w",
		strings.Join(tables, ", "), partition.ErrAgain)
}

// wentBackTo says how much is applied again when a term begins at a place behind what was reached.
func (r *recovery) wentBackTo(ctx context.Context, p int, after wire.Place, mark stream.Mark) {
	reached := uint64(0)
	if mark.Created.Equal(r.stream.Created()) {
		reached = mark.Reached.Sequence
	}
	r.mu.Lock()
	was := r.parts[p]
	reached = max(reached, was.known, was.target)
	r.parts[p].known = after.Sequence
	if r.parts[p].target = 0; after.Sequence < reached {
		r.parts[p].target = reached
	}
	target := r.parts[p].target
	onTheWay := target == 0 || target == was.target && after.Sequence >= was.known
	r.mu.Unlock()
	if onTheWay { // it did not go back, or this is the next term on the way up
		return
	}
	r.wentBack.WithLabelValues(fmt.Sprint(p)).Inc()
	n, err := r.between(ctx, p, after.Sequence, reached)
	if err != nil {
		n = -1 // it is only said
	}
	r.log.Warn("position went back: events are applied again", zap.Int("partition", p), zap.Uint64("position", after.Sequence),
		knownTime("logged", after.Logged), zap.Uint64("reached_before", reached), zap.Int64("events", n),
		zap.String("hint", "the database was restored, or is new to this log; nothing is to be done: docs/recovery.md"))
}

// between counts a partition's events after one sequence and up to another.
func (r *recovery) between(ctx context.Context, p int, after, through uint64) (int64, error) {
	all, err := r.pending(ctx, p, after)
	if err != nil {
		return 0, err
	}
	newer, err := r.pending(ctx, p, through)
	return max(0, all-newer), err
}

// committed is told of each commit of this replica.
func (r *recovery) committed(p int, to uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts[p].known = max(r.parts[p].known, to)
}

// watch looks after log and database until ctx ends, or the daemon has to.
func (r *recovery) watch(ctx context.Context) {
	var seen wire.Place // the log's last event
	r.reread(ctx)       // what there is to compare with
	r.replaced(ctx)
	for round := 1; ; round++ {
		select {
		case <-time.After(watchLogEvery):
		case <-ctx.Done():
			return
		}
		last, err := r.stream.Same(ctx, seen)
		if seen = last; errors.Is(err, stream.ErrShort) {
			r.fail(hinted(err, hintShort))
			return
		}
		if err := r.stream.Marks().Ours(ctx); errors.Is(err, stream.ErrForeign) {
			r.fail(hinted(err, hintForeign))
			return
		}
		r.replaced(ctx)
		r.reread(ctx)
		if round%sayEvery == 0 {
			r.progress(ctx)
			if err := r.gaps.look(ctx); err != nil && ctx.Err() == nil {
				r.log.Debug("gaps were not read", zap.Error(err)) // that the database is away others say
			}
		}
	}
}

// sayEvery is after how many rounds of the watch progress is said.
const sayEvery = 2

// reread ends the terms whose positions in the database are behind what they have committed, and takes in the positions of the others.
func (r *recovery) reread(ctx context.Context) {
	r.mu.Lock()
	before := append([]recovering(nil), r.parts...) // before the database is asked: it only moves forwards
	r.mu.Unlock()
	rows, err := r.store.Positions(ctx)
	if err != nil {
		return // the database check says so
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		if row.Partition >= len(before) {
			continue
		}
		was, at := before[row.Partition], &r.parts[row.Partition]
		switch {
		case was.reread != nil && row.Position < was.known:
			was.reread(errWentBack)
		case was.reread == nil && at.reread == nil: // another's: this replica may be the one that reads it next
			at.known = max(at.known, row.Position)
		}
		if at.setBack && !r.tables.under && row.Position <= at.safe {
			at.setBack = false // it was, by the dump or by whoever has it
		}
	}
}

func hinted(err error, hint string) error { return fmt.Errorf("%w (%s)", err, hint) }
