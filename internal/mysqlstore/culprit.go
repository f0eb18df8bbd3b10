package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// writing is a statement about items, each of which is one event's or several events'.
type writing struct {
	st   *statement
	n    int
	item func(q []byte, i int) []byte
	exec execFunc
	// of are the events that the i-th item is there for.
	of func(i int) []*wire.Event
	// json are the values of the i-th item that go into columns of JSON; nil when no item has any.
	json func(i int) [][]byte
}

// partError is a statement that failed: it was about the items from from up to to, of all that were to be written.
type partError struct {
	from, to int
	err      error
}

func (e *partError) Error() string { return e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// runFor is run for w, whose items have events: those that the server refuses for good are named in the error, a [batcher.Refused].
//
// I7: nobody is blamed for another. An event is named when the server refuses a statement about nothing but its item, or says itself that
// one of its values is no JSON. When none can be shown to be at fault the error is what it was, and the batcher halves.
//
// It costs a few statements and no transaction: one that fails leaves the transaction open, and what the search writes goes with it.
func (a *applier) runFor(ctx context.Context, w *writing) error {
	err := a.run(ctx, w.st, w.n, w.item, w.exec)
	part, ok := errors.AsType[*partError](err)
	if !ok || !a.naming || !ofValue(err) {
		return err
	}
	s := &search{a: a, w: w, found: map[*wire.Event]error{}}
	if end, ok := ctx.Deadline(); ok { // half of the time is for the search; what it found by then is worth a round
		s.until = time.Now().Add(time.Until(end) / 2)
	}
	items := make([]int, 0, part.to-part.from)
	for i := part.from; i < part.to; i++ {
		items = append(items, i)
	}
	if broken := s.sweep(ctx, items, err); broken != nil {
		return broken
	}
	if len(s.found) == 0 {
		return err
	}
	return blame(s.found, err)
}

// blame is the error that names those events, for which each has its own.
func blame(found map[*wire.Event]error, first error) error {
	refused := make(map[uint64]wire.Poison, len(found))
	for ev, why := range found {
		refused[ev.Message.Sequence] = wire.Poison{Code: wire.CodeDatabase, Reason: why.Error(), ErrorNumber: Classify(why).Number}
	}
	return &verdict{class: batcher.Refused, number: Classify(first).Number, refused: refused, err: first}
}

// ofValue is whether err says that a value is one that the server never takes. A duplicate is not: it hangs on what else is there.
func ofValue(err error) bool {
	e := Classify(err)
	if e.Class != batcher.Never || e.Number == duplicateEntry {
		return false
	}
	if _, known := rules[e.Number]; known {
		return true
	}
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && string(answer.SQLState[:2]) == "22"
}

// search finds the items that are at fault among those of a statement that was refused.
type search struct {
	a     *applier
	w     *writing
	until time.Time // zero is no end
	found map[*wire.Event]error
}

// sweep goes through items, of which a statement about all was refused with err. Where many are at fault its steps become small: then it
// costs about a statement for each.
//
//	until nothing is left:
//	    the values that are no JSON, if that was the error         ── they are found, all at once
//	    the first item at fault: as the server says, or by halving ── refused alone: found
//	    write the rest behind it                                   ── refused: again, and next time half of the rest
func (s *search) sweep(ctx context.Context, items []int, err error) error {
	if ofJSON(err) {
		s.notJSON(ctx, items, err)
		if items = s.others(items); len(s.found) > 0 {
			err = nil
		}
	}
	step, tail := len(items), items
	for failures := 0; len(tail) > 0 && !s.late(); {
		piece := tail[:min(step, len(tail))]
		if err == nil {
			if err = s.try(ctx, piece); err == nil {
				tail, step = tail[len(piece):], 2*step
				continue
			}
		}
		if !ofValue(err) {
			return err
		}
		at, why, broken := s.first(ctx, piece, err)
		switch {
		case broken != nil:
			return broken
		case why == nil:
			return nil // refused together and not alone: no one of them can be named
		}
		for _, ev := range s.w.of(piece[at]) {
			s.found[ev] = why
		}
		if failures++; failures > 1 {
			step = max(1, step/2)
		}
		tail, err = s.others(tail[at+1:]), nil
	}
	return nil
}

func (s *search) late() bool { return !s.until.IsZero() && time.Now().After(s.until) }

// others are the items whose events are not all found.
func (s *search) others(items []int) []int {
	return slices.DeleteFunc(slices.Clone(items), func(i int) bool {
		return !slices.ContainsFunc(s.w.of(i), func(ev *wire.Event) bool { _, ok := s.found[ev]; return !ok })
	})
}

// try writes some of the items.
func (s *search) try(ctx context.Context, items []int) error {
	return s.a.run(ctx, s.w.st, len(items), func(q []byte, i int) []byte { return s.w.item(q, items[i]) }, s.w.exec)
}

// first is the place of the first item at fault among those that were refused with err, and why the server refuses it alone; nil when it does
// not. broken is an error that says nothing about the items.
func (s *search) first(ctx context.Context, items []int, err error) (at int, why, broken error) {
	if len(items) == 1 {
		return 0, err, nil
	}
	if n := s.rowOf(ctx, err); 1 <= n && n <= len(items) {
		if why := s.try(ctx, items[n-1:n]); why != nil {
			return n - 1, why, unless(ofValue(why), why)
		}
	}
	from, to := 0, len(items) // the ones before from are taken, and one of those before to is at fault
	for to-from > 1 {
		half := (from + to) / 2
		switch e := s.try(ctx, items[from:half]); {
		case e == nil:
			from = half
		case ofValue(e):
			to = half
		default:
			return 0, nil, e
		}
	}
	why = s.try(ctx, items[from:to])
	return from, why, unless(why == nil || ofValue(why), why)
}

func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

var atRow = regexp.MustCompile(`at row (\d+)`)

// rowOf is the row that err is about, from 1 on; 0 when the server does not say. What it says is a hint.
func (s *search) rowOf(ctx context.Context, err error) (n int) {
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return 0
	}
	if m := atRow.FindStringSubmatch(answer.Message); m != nil {
		n, _ = strconv.Atoi(m[1])
		return n
	}
	if answer.Number != constraintFailed { // a number of MariaDB's, which from 10.7 on says the row when it is asked next
		return 0
	}
	if s.a.exec(ctx, "GET DIAGNOSTICS CONDITION 1 @persistd_row = ROW_NUMBER") == nil {
		_ = s.a.conn.QueryRowContext(ctx, "SELECT COALESCE(@persistd_row, 0)").Scan(&n)
	}
	return n
}

const (
	constraintFailed = 4025
	invalidJSON      = 3140
)

// jsonColumn is the constraint of a column that is JSON in MariaDB.
var jsonColumn = regexp.MustCompile("^CONSTRAINT `[^`]*\\.?(state|frontier|recorded_ios|event_data)` failed")

// ofJSON is whether err says that a value is no JSON, and not which.
func ofJSON(err error) bool {
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (answer.Number == invalidJSON || answer.Number == constraintFailed && jsonColumn.MatchString(answer.Message))
}

// notJSON finds the items with a value of which the server says itself that it is no JSON. Where it does not say, nothing is found.
func (s *search) notJSON(ctx context.Context, items []int, err error) {
	if s.w.json == nil {
		return
	}
	ask := statement{verb: "check", what: "JSON", head: "SELECT CONCAT_WS(','", tail: ")"}
	var bad []int
	_ = s.a.run(ctx, &ask, len(items), func(q []byte, i int) []byte {
		q = append(q, ",IF("...)
		for k, value := range s.w.json(items[i]) {
			if k > 0 {
				q = append(q, " AND "...)
			}
			q = append(q, "JSON_VALID("...)
			q = appendString(q, value)
			q = append(q, ')')
		}
		q = append(q, ",NULL,"...)
		q = strconv.AppendInt(q, int64(items[i]), 10)
		return append(q, ')')
	}, func(ctx context.Context, q string) error {
		var list string
		if err := s.a.conn.QueryRowContext(ctx, q).Scan(&list); err != nil {
			return err //nolint:wrapcheck // it is as if there were no answer.
		}
		for _, digits := range numbers.FindAllString(list, -1) {
			i, err := strconv.Atoi(digits)
			if err != nil {
				return fmt.Errorf("read %q: %w", digits, err)
			}
			bad = append(bad, i)
		}
		return nil
	})
	for _, i := range bad {
		for _, ev := range s.w.of(i) {
			s.found[ev] = err
		}
	}
}

var numbers = regexp.MustCompile(`\d+`)

// writers is the event that writes something, when it is the only one of events; more is whether there are several.
func writers(events []*wire.Event) (only *wire.Event, more bool) {
	for _, ev := range events {
		switch {
		case len(ev.Ops) == 0:
		case only != nil:
			return nil, true
		default:
			only = ev
		}
	}
	return only, false
}
