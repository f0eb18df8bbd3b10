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

// keyed is an event with idempotency keys.
type keyed struct {
	event *wire.Event
	out   *outcome
	keys  []string
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
func (a *applier) claimKeys(ctx context.Context, events []wire.Event, out []outcome) error {
	var (
		all  []keyed
		keys []string
	)
	for i := range events {
		if events[i].Poison != nil || out[i].result != applied {
			continue
		}
		if k := events[i].Keys(); len(k) > 0 {
			all = append(all, keyed{&events[i], &out[i], k})
			keys = append(keys, k...)
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

// decide sets the outcomes of the events, in their order, with the keys that are used, and returns those that they claim.
func (a *applier) decide(all []keyed, used map[string]keyUser) map[string]*wire.Event {
	claims := map[string]*wire.Event{}
	for i := range all {
		x := &all[i]
		me := keyUser{a.place(x.event), x.event.ContentHash[:]}
		x.out.result = applied
		for _, k := range x.keys {
			by, ok := used[k]
			switch {
			case !ok, a.guarded() && by.place == me.place:
			case !bytes.Equal(by.hash, me.hash):
				x.out.result = duplicate
			case x.out.result == applied:
				x.out.result = same
			}
		}
		if x.out.result != applied {
			continue
		}
		for _, k := range x.keys {
			if _, ok := used[k]; !ok {
				used[k] = me
				claims[k] = x.event
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
func (a *applier) insertKeys(ctx context.Context, claims map[string]*wire.Event) (taken bool, err error) {
	keys := slices.Sorted(maps.Keys(claims))
	statements := 0
	err = a.run(ctx, &insertKeys, len(keys), func(q []byte, i int) []byte {
		ev := claims[keys[i]]
		q = append(q, '(')
		q = appendString(q, keys[i])
		q = append(q, ',')
		q = appendString(q, ev.RunID)
		q = append(q, ',')
		q = strconv.AppendInt(q, stepOf(ev, keys[i]), 10)
		q = append(q, ',')
		q = appendHex(q, ev.ContentHash[:])
		q = appendPlace(q, a.place(ev))
		q = append(q, ',')
		q = appendLogged(q, ev.Message.Logged)
		return append(q, ')')
	}, func(ctx context.Context, q string) error {
		statements++
		return a.exec(ctx, q)
	})
	var answer *mysql.MySQLError
	taken = errors.As(err, &answer) && answer.Number == duplicateEntry
	if taken && statements > 1 { // what the ones before have inserted only the transaction's end takes back
		return false, &verdict{class: batcher.Again, number: duplicateEntry, err: err}
	}
	return taken, err
}

const duplicateEntry = 1062

// stepOf is the step of ev's checkpoint with the key.
func stepOf(ev *wire.Event, key string) int64 {
	for i := range ev.Ops {
		if v2 := ev.Ops[i].V2; v2 != nil && v2.Key == key {
			return int64(ev.Ops[i].Step)
		}
	}
	return 0
}
