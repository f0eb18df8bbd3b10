package mysqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// keyed is an event with idempotency keys: the rows of its V2 checkpoints that have one.
type keyed struct {
	event *wire.Event
	out   *outcome
	rows  []row
}

// keyUser is by what event a key was used: its place, which is zero for an event of no log, and the hash of its content, nil when it is not
// known (LangGraph-Go's).
type keyUser struct {
	place
	hash []byte
}

// claimKeys decides which of the events with idempotency keys apply, and marks those that do not.
//
//	until nobody is in the way:
//	    read the keys that are used
//	    decide, in log order          ── an event applies when none of its keys is used, but by itself, when it is applied again
//	    insert the keys of those that apply
//
// The insert waits for whoever has inserted one of the keys and not committed; when that one did, the statement fails, has inserted
// nothing, and all is decided anew with what is there now. So of several who race for a key one wins. The keys of an event that then
// fails go with the transaction.
func (a *applier) claimKeys(ctx context.Context, events []*wire.Event, out []outcome) error {
	var (
		all  []keyed
		keys []string
	)
	for i, ev := range events {
		if ev.Poison != nil || out[i].result != applied {
			continue
		}
		x := keyed{event: ev, out: &out[i]}
		for j := range ev.Ops {
			if op := &ev.Ops[j]; op.V2 != nil && op.V2.Key != "" {
				x.rows = append(x.rows, row{ev, op})
				keys = append(keys, op.V2.Key)
			}
		}
		if len(x.rows) > 0 {
			all = append(all, x)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for round := 1; len(keys) > 0; round++ {
		used, err := a.readKeys(ctx, keys)
		if err != nil {
			return err
		}
		claims := a.decide(all, used)
		taken, err := a.insertKeys(ctx, claims)
		if err == nil || !taken || round == claimRounds {
			return err
		}
	}
	return nil
}

// claimRounds bounds the rounds of a race. Each is lost to somebody who committed; as many commits at one time there are not.
const claimRounds = 100

// decide sets the outcomes of the events, in their order, with the keys that are used, and returns those that they claim, with who does.
func (a *applier) decide(all []keyed, used map[string]keyUser) map[string]row {
	claims := map[string]row{}
	for i := range all {
		x := &all[i]
		me := keyUser{a.place(x.event), x.event.ContentHash[:]}
		x.out.result = applied
		mine := false
		for _, r := range x.rows {
			by, ok := used[r.op.V2.Key]
			switch {
			case !ok:
			case a.guarded() && by.place == me.place:
				mine = true
			case !bytes.Equal(by.hash, me.hash):
				x.out.result = duplicate
			case x.out.result == applied:
				x.out.result = same
			}
		}
		if x.out.result == applied && !mine && (a.keepUntold || a.again != nil && a.again.KeepUntold) {
			x.out.result = untold
		}
		if x.out.result != applied {
			continue
		}
		for _, r := range x.rows {
			k := r.op.V2.Key
			if _, ok := used[k]; !ok {
				used[k], claims[k] = me, r
			}
		}
	}
	return claims
}

var (
	selectKeys = statement{
		verb: "read", what: "idempotency keys", head: "SELECT key_value, content_hash, log_gen, log_seq FROM idempotency_keys WHERE key_value IN (",
		sep: ",", tail: ")", most: mostIn,
	}
	insertKeys = statement{
		verb: "insert", what: "idempotency keys",
		head: "INSERT INTO idempotency_keys (key_value, run_id, step_id, content_hash, log_seq, log_gen, created_at) VALUES ", sep: ",",
	}
)

// readKeys reads by what event each of the keys was used, for those that were.
func (a *applier) readKeys(ctx context.Context, keys []string) (map[string]keyUser, error) {
	used := map[string]keyUser{}
	one := func(q []byte, i int) []byte { return appendString(q, keys[i]) }
	return used, a.run(ctx, &selectKeys, len(keys), one, func(ctx context.Context, q string) (err error) {
		rows, err := a.conn.QueryContext(ctx, q)
		if err != nil {
			return err //nolint:wrapcheck // run does.
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var (
				key string
				by  keyUser
			)
			if err := rows.Scan(&key, &by.hash, &by.gen, &by.seq); err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			used[strings.TrimRight(key, " ")] = by // to the database it is the same key; ours end in none
		}
		return rows.Err()
	})
}

// insertKeys inserts the keys that events claim. taken is whether it failed because one of them is there meanwhile; then none is inserted.
func (a *applier) insertKeys(ctx context.Context, claims map[string]row) (taken bool, err error) {
	keys := slices.Sorted(maps.Keys(claims))
	statements := 0
	item := func(q []byte, i int) []byte {
		x := claims[keys[i]]
		q = append(q, '(')
		q = appendString(q, keys[i])
		q = append(q, ',')
		q = appendString(q, x.event.RunID)
		q = append(q, ',')
		q = strconv.AppendInt(q, int64(x.op.Step), 10)
		q = append(q, ',')
		q = appendHex(q, x.event.ContentHash[:])
		q = appendPlace(q, a.place(x.event))
		q = append(q, ',')
		q = appendLogged(q, x.event.Message.Logged)
		return append(q, ')')
	}
	err = a.runFor(ctx, &writing{
		st: &insertKeys, n: len(keys), item: item,
		of: func(i int) []*wire.Event { return []*wire.Event{claims[keys[i]].event} },
		exec: func(ctx context.Context, q string) error {
			statements++
			return a.exec(ctx, q)
		},
	})
	var answer *mysql.MySQLError
	taken = errors.As(err, &answer) && answer.Number == duplicateEntry
	if taken && statements > 1 { // what the ones before have inserted only the transaction's end takes back
		return false, &verdict{class: batcher.Again, number: duplicateEntry, err: err}
	}
	return taken, err
}

const duplicateEntry = 1062
