package simulation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// oracle is what the log makes of a database: it applies one transaction after the other and knows nothing of batches, tails or replicas.
type oracle struct {
	db       *database
	rejected map[place]string // by code: what must have a dead letter
}

func newOracle() *oracle { return &oracle{db: newDatabase(), rejected: map[place]string{}} }

func (o *oracle) apply(t *transaction) {
	at := place{t.generation, t.last}
	switch {
	case t.kind == malformed:
		o.rejected[at] = wire.CodeNotJSON
	case t.kind == orphan:
		o.rejected[at] = wire.CodePart
	case t.key.kind == wire.KindRun && (t.attempt > 0 || !onlyDeletes(t.ops)) && t.attempt < o.db.runs[t.key.id].attempt:
		o.rejected[at] = wire.CodeAttempt
	case t.kind == refused:
		o.rejected[at] = wire.CodeDatabase
	default:
		ev := wire.Event{Attempt: t.attempt, Ops: t.ops}
		if t.key.kind == wire.KindRun {
			ev.RunID = t.key.id
		}
		o.db.applied[at]++
		o.db.write(&ev, at, false)
	}
}

// before is what the former streams made of the database: all of them was committed.
func (w *world) before() *oracle {
	o := newOracle()
	for _, old := range w.former {
		for p := range old.archive {
			for _, t := range old.archive[p] {
				o.apply(t)
			}
		}
	}
	return o
}

// expected is the database at its partitions' positions. Guarded by mu.
func (w *world) expected() *oracle {
	o := w.before()
	rows := w.db.partitions[w.log.made]
	for p := range w.log.archive {
		for _, t := range w.log.archive[p] {
			if rows != nil && t.last <= rows[p].position {
				o.apply(t)
			}
		}
	}
	return o
}

// compare holds the database against the log up to its positions. Guarded by mu.
func (w *world) compare(when string) {
	want := w.expected()
	w.counts.compared++
	differ(w, when, "I2: events applied", want.db.applied, w.db.applied)
	differ(w, when, "I4: steps", want.db.steps, w.db.steps)
	differ(w, when, "I4: checkpoints", want.db.checkpoints, w.db.checkpoints)
	differ(w, when, "I4: attempts", want.db.runs, w.db.runs)
	for at, code := range want.rejected {
		if why, kept := w.letters[at]; !kept {
			w.violate("I7: %s, the position has passed event %v, which is poison (%s), and no dead letter of it is kept", when, at, code)
		} else if why.Code != code {
			w.violate("I7: %s, the dead letter of event %v says %s, not %s", when, at, why.Code, code)
		}
	}
}

func differ[K, V comparable](w *world, when, what string, want, got map[K]V) {
	if maps.Equal(want, got) {
		return
	}
	var list []string
	for k, v := range want {
		if g, ok := got[k]; !ok {
			list = append(list, fmt.Sprintf("%v is missing, want %v", k, v))
		} else if g != v {
			list = append(list, fmt.Sprintf("%v is %v, want %v", k, g, v))
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			list = append(list, fmt.Sprintf("%v is %v, and should not be", k, g))
		}
	}
	slices.Sort(list)
	w.violate("%s: %s, at positions %v: %v", what, when, w.positions(), list)
}

func (w *world) positions() (all []uint64) {
	for _, row := range w.db.partitions[w.log.made] {
		all = append(all, row.position)
	}
	return all
}

// kindSteps is of the question for all steps of a run.
const kindSteps = "steps"

// version is what readers of a key get from sequence from on.
type version struct {
	from uint64
	step int32
	what string // the state, which no two writes share; "" is nothing
}

// versions are those of every run and checkpoint that was read, in the order of the present log.
func (w *world) versions() map[key][]version {
	all := map[key][]version{}
	o := w.before()
	now := func(k key, from uint64) version {
		v := version{from: from}
		if k.kind == kindSteps {
			v.what = fmt.Sprint(o.db.history(k.id))
		} else if k.kind == wire.KindRun {
			if s, _ := o.db.latest(k.id, 0); s != nil {
				v.step, v.what = s.Step, string(s.State)
			}
		} else if c, ok := o.db.checkpoints[k.id]; ok {
			v.step, v.what = c.step, c.state
		}
		return v
	}
	for _, r := range w.reads {
		if all[r.key] == nil {
			all[r.key] = []version{now(r.key, 0)}
		}
	}
	for p := range w.log.archive {
		for _, t := range w.log.archive[p] {
			o.apply(t)
			for _, k := range []key{t.key, {kindSteps, t.key.id}} {
				v, list := now(k, t.last), all[k]
				if n := len(list); n > 0 && (list[n-1].what != v.what || list[n-1].step != v.step) {
					all[k] = append(list, v)
				}
			}
		}
	}
	return all
}

// judge holds every answer to a reader against the log (I6): it is one of those that were right between the last write acknowledged before
// the question and the end of the log at the answer, and not from before what was answered earlier. As the log's order is the order of
// the writes, that is linearizability: the earliest place that explains an answer leaves most room for those after it.
func (w *world) judge() {
	versions := w.versions()
	slices.SortFunc(w.reads, func(a, b *read) int { return int(a.answered - b.answered) })
	for i, r := range w.reads {
		w.counts.judged++
		low := r.acked
		for _, before := range w.reads[:i] {
			if before.key == r.key && before.answered < r.asked {
				low = max(low, before.place)
			}
		}
		if !r.explain(versions[r.key], low) {
			w.violate("I6: %s asked for %v was answered step %d %q, which was right at no time between %d, the last write acknowledged or seen, and %d, the end of the log: %v",
				r.by, r.key, r.step, r.what, low, r.end, versions[r.key])
		}
	}
}

// explain finds the earliest place in the log, from low on, at which the answer is right.
func (r *read) explain(versions []version, low uint64) bool {
	for i, v := range versions {
		until := r.end
		if i+1 < len(versions) {
			until = min(until, versions[i+1].from-1)
		}
		if from := max(v.from, low); from <= until && v.what == r.what && v.step == r.step {
			r.place = from
			return true
		}
	}
	return false
}
