package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// What docs/json.md states, measured.
func TestStatesAreKeptAsDocumented(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	rows := []struct {
		name  string
		state string
		mysql string // what MySQL makes of it; empty is the state as it is
		// Which engines refuse it, with which error.
		mariadbRefuses, mysqlRefuses uint16
	}{
		{name: "null is null", state: `null`},
		{name: "an empty object", state: `{}`},
		{name: "an empty array", state: `[]`},
		{name: "an empty string and an empty key", state: `{"": ""}`},
		{name: "blanks are MySQL's own", state: " { \"a\"\t:\n[1,2] } ", mysql: `{"a": [1, 2]}`},
		{name: "keys are sorted by length, then by bytes", state: `{"b":1,"aa":2,"a":3,"é":4}`, mysql: `{"a": 3, "b": 1, "aa": 2, "é": 4}`},
		{name: "of a key that is there twice the last value counts", state: `{"a":1,"b":2,"a":3}`, mysql: `{"a": 3, "b": 2}`},
		{name: "escapes become characters where they can", state: `"\u0041\/\u00e9\ud83e\udd8a\t\u0007\u2028\u007f"`, mysql: "\"A/é🦊\\t\\u0007\u2028\x7f\""},
		{name: "the character zero", state: `{"a\u0000b": "\u0000"}`},
		{name: "whole numbers to the limits of 64 bits", state: `[9007199254740993, -9223372036854775808, 9223372036854775807, 18446744073709551615]`},
		{name: "whole numbers beyond become doubles", state: `[18446744073709551616,-9223372036854775809]`, mysql: `[1.8446744073709552e19, -9.223372036854776e18]`},
		{name: "a number with a fraction or an exponent is a double", state: `[1.0,1e0,1.10,100e-2,1E+2]`, mysql: `[1.0, 1.0, 1.1, 1.0, 100.0]`},
		{name: "a fraction has the digits of a double", state: `0.1234567890123456789`, mysql: `0.12345678901234568`},
		{name: "the limits of a double", state: `[1.7976931348623157e308,2.2250738585072014e-308,5e-324]`, mysql: `[1.7976931348623157e308, 2.2250738585072014e-308, 5e-324]`},
		{name: "minus zero", state: `[-0,-0.0]`, mysql: `[0, -0.0]`},
		{name: "what is smaller than a double is zero", state: `1e-400`, mysql: `0.0`},
		{name: "what is larger than a double", state: `1e309`, mysqlRefuses: 3140},
		{name: "nesting of 31", state: deep(31)},
		{name: "nesting of 32", state: deep(32), mariadbRefuses: 4025},
		{name: "nesting of 100", state: deep(100), mariadbRefuses: 4025},
		{name: "a key of 65535 bytes", state: `{"` + strings.Repeat("k", 65535) + `": 1}`},
		{name: "a key of 65536 bytes", state: `{"` + strings.Repeat("k", 65536) + `": 1}`, mysqlRefuses: 3151},
		{name: "900 KB of text", state: `"` + strings.Repeat("0123456789", 90_000) + `"`},
		{name: "900 KB of what SQL escapes", state: `"` + strings.Repeat(`\\'`, 300_000) + `"`},
		{name: "900 KB of zeros", state: "[0" + strings.Repeat(",0", 450_000) + "]", mysql: "[0" + strings.Repeat(", 0", 450_000) + "]"},
	}
	mysql := stacktest.Engine(t) == devstack.MySQL
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open()
	type sent struct {
		run string
		seq uint64
	}
	var logged []sent
	for i, row := range rows { // first all, then all: they share their commits
		run := fmt.Sprintf("run-%d", i)
		ack, err := s.js.Publish(t.Context(), "persistd.write.default.run."+run, []byte(`{"step":1,"node_id":"n","state":`+row.state+`}`))
		require.NoError(t, err, row.name)
		logged = append(logged, sent{run, ack.Sequence})
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			refused, want := row.mariadbRefuses, strings.TrimSpace(row.state)
			if mysql {
				refused = row.mysqlRefuses
				if row.mysql != "" {
					want = row.mysql
				}
			}
			p := wire.Partition(wire.DefaultNamespace, logged[i].run, 8)
			s.eventually("event is committed", func() bool { return s.position(p) >= logged[i].seq })
			var text []byte
			err := s.db.QueryRow("SELECT state FROM workflow_steps WHERE run_id = ?", logged[i].run).Scan(&text)
			if refused != 0 {
				require.Error(t, err, "it has no row")
				why, found, err := d.stream.DeadLetters().DeadLetter(t.Context(), p, logged[i].seq)
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, refused, why.ErrorNumber, why.Reason)
				return
			}
			require.NoError(t, err)
			requireText(t, want, string(text))
			loaded, _, err := st.LoadLatest(t.Context(), logged[i].run)
			require.NoError(t, err)
			requireText(t, want, string(loaded))
		})
	}
}

// requireText compares without printing a megabyte.
func requireText(t *testing.T, want, got string) {
	t.Helper()
	if want != got {
		require.Failf(t, "state is another", "want %d bytes %.300s\n got %d bytes %.300s", len(want), want, len(got), got)
	}
}

// position is where the partition is in MySQL; 0 while that is not known.
func (s *stack) position(p int) (n uint64) {
	if s.db.QueryRow("SELECT position FROM persistd_partitions WHERE partition_no = ?", p).Scan(&n) != nil {
		return 0
	}
	return n
}

func TestAnyStateComesBackFromTheLogAndFromTheDatabase(t *testing.T) {
	t.Parallel()
	engine := stacktest.Engine(t)
	depth := wire.MaxDepthPortable
	if engine == devstack.MySQL {
		depth = wire.MaxDepth
	}
	s := sharedStack(t)
	var reading sync.RWMutex // nothing is committed while it is held for reading: these reads are of the log
	var cases readCases
	s.serveHere(cases.count(hooks{store: func(to batcher.Store) batcher.Store {
		return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
			reading.Lock()
			defer reading.Unlock()
			return to.Commit(ctx, b)
		})
	}}))
	st := s.open(client.WithMaxDepth(depth))
	var runs, saved atomic.Int64
	roundTrip := func(ctx context.Context, text string) error {
		no := runs.Add(1)
		run := fmt.Sprintf("run-%d", no)
		published, err := json.Marshal(json.RawMessage(text))
		if err != nil {
			return err
		}
		saveAndLoad := func() (early json.RawMessage, err error) {
			if no%2 == 0 { // every other one is read from the log, the others from where they are by then
				reading.RLock()
				defer reading.RUnlock()
			}
			if err := st.SaveStep(ctx, run, 1, "n", json.RawMessage(text)); err != nil {
				return nil, err
			}
			saved.Add(1)
			early, _, err = st.LoadLatest(ctx, run)
			return early, err
		}
		early, err := saveAndLoad()
		if err != nil {
			return err
		}
		if !bytes.Equal(early, published) {
			if err := sameAs(engine, published, early); err != nil {
				return err
			}
		}
		if err := st.SaveStep(client.ContextWithDurability(ctx, client.Committed), run, 0, "n", nil); err != nil {
			return err
		}
		var row []byte
		if err := s.db.QueryRowContext(ctx, "SELECT state FROM workflow_steps WHERE run_id = ? AND step = 1", run).Scan(&row); err != nil {
			return err
		}
		late, _, err := st.LoadLatest(ctx, run)
		if err != nil {
			return err
		}
		if !bytes.Equal(row, late) {
			return fmt.Errorf("row and LoadLatest differ: %.1000s and %.1000s", row, late)
		}
		return sameAs(engine, published, late)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var all errgroup.Group
		for i := range 8 {
			text := drawJSON(rt, "state "+strconv.Itoa(i), depth)
			all.Go(func() error {
				if err := roundTrip(t.Context(), text); err != nil {
					return fmt.Errorf("%w\nstate: %.2000q", err, text)
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			rt.Fatal(err)
		}
	})
	require.GreaterOrEqual(t, cases.tail.Load(), saved.Load()/2, "read from the log")
	require.GreaterOrEqual(t, cases.row.Load()+cases.overtaken.Load(), saved.Load(), "read from the database")
}

// sameAs says how got is not what the engine makes of the state want: MariaDB keeps the text, MySQL the value.
func sameAs(engine devstack.Engine, want, got []byte) error {
	if engine == devstack.MariaDB {
		if !bytes.Equal(want, got) {
			return fmt.Errorf("text is another: %.1000s", got)
		}
		return nil
	}
	return sameValue(want, got)
}
