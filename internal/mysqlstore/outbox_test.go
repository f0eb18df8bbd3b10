package mysqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
)

// putEvent writes a pending event.
func putEvent(t testing.TB, db *sql.DB, id, run, data string) {
	t.Helper()
	exec(t, db, "INSERT INTO events_outbox (id, run_id, event_data) VALUES (?, ?, ?)", id, run, []byte(data))
}

// claim leases up to limit events for a minute.
func claim(t testing.TB, s *Store, holder string, limit int) (ids []string) {
	t.Helper()
	events, err := s.Claim(t.Context(), wire.EventsRequest{Limit: limit, LeaseMS: 60_000, Holder: holder})
	require.NoError(t, err)
	for _, ev := range events {
		ids = append(ids, ev.EventID)
	}
	return ids
}

// expire ends the leases of holder.
func expire(t testing.TB, db *sql.DB, holder string) {
	t.Helper()
	exec(t, db, "UPDATE events_outbox SET leased_until=UTC_TIMESTAMP(6) WHERE lease_holder=?", holder)
}

func TestPendingEventsAreLeasedInTheirOrder(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for _, id := range []string{"z", "a", "m", "b"} {
		putEvent(t, look, id, "run "+id, fmt.Sprintf(`{"id": %q}`, id))
	}
	exec(t, look, "UPDATE events_outbox SET created_at='2020-01-01 00:00:00.000001'")
	exec(t, look, "UPDATE events_outbox SET emitted_at=UTC_TIMESTAMP(6) WHERE id='a'")
	events, err := s.Claim(t.Context(), wire.EventsRequest{Limit: 2, LeaseMS: 60_000, Holder: "one"})
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.JSONEq(t, `{"id": "z"}`, string(events[0].Data))
	events[0].Data = nil
	require.Equal(t, wire.OutboxRecord{EventID: "z", RunID: "run z", SavedAt: time.Date(2020, 1, 1, 0, 0, 0, 1000, time.UTC)}, events[0])
	require.Equal(t, "m", events[1].EventID)
	var left float64
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), leased_until)/1e6 FROM events_outbox WHERE id='m'").Scan(&left))
	require.InDelta(t, 60, left, 20)

	require.Equal(t, []string{"z", "m", "b"}, claim(t, s, "one", 0), "the holder's own are given again")
	require.Empty(t, claim(t, s, "two", 0))
	n, err := s.MarkEmitted(t.Context(), []string{"m", "none", "m", "a", "z ", "", "\xff", strings.Repeat("x", 256)})
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "what is emitted, or not there, is passed over")
	n, err = s.MarkEmitted(t.Context(), []string{"m"})
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = s.MarkEmitted(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, n)
	expire(t, look, "one")
	require.Equal(t, []string{"z", "b"}, claim(t, s, "two", 0))
	require.Empty(t, claim(t, s, "one", 0))
}

func TestNobodyIsGivenLaterEventsOfARunThanAnotherHas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		first       int // how many the first holder takes of a1 b1 a2 c1 b2 a3
		emitted     []string
		limit       int
		want, again []string // what the second one gets, and once the first one's lease is over
	}{
		{"one run is taken", 1, nil, 0, []string{"b1", "c1", "b2"}, []string{"a1", "b1", "a2", "c1", "b2", "a3"}},
		{"two are", 2, nil, 0, []string{"c1"}, []string{"a1", "b1", "a2", "c1", "b2", "a3"}},
		{"what was taken was emitted", 1, []string{"a1"}, 0, []string{"b1", "a2", "c1", "b2", "a3"}, []string{"b1", "a2", "c1", "b2", "a3"}},
		{"the later ones were emitted first", 3, []string{"a2"}, 0, []string{"c1"}, []string{"a1", "b1", "c1", "b2", "a3"}},
		{"no more than was asked for", 1, nil, 2, []string{"b1", "c1"}, []string{"a1", "b1"}},
		{"all are taken", 6, nil, 3, nil, []string{"a1", "b1", "a2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			for _, id := range []string{"a1", "b1", "a2", "c1", "b2", "a3"} {
				putEvent(t, look, id, id[:1], `1`)
			}
			require.Len(t, claim(t, s, "one", tt.first), tt.first)
			_, err := s.MarkEmitted(t.Context(), tt.emitted)
			require.NoError(t, err)
			require.Equal(t, tt.want, claim(t, s, "two", tt.limit))
			expire(t, look, "one")
			require.Equal(t, tt.again, claim(t, s, "two", tt.limit))
		})
	}
}

func TestAClaimIsBoundedByItsBytesAndLooksBeyondWhatIsTaken(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	putEvent(t, look, "large", "a", long(pageBytes+1))
	putEvent(t, look, "half", "b", long(pageBytes/2))
	putEvent(t, look, "other half", "c", long(pageBytes/2))
	putEvent(t, look, "small", "d", `1`)
	require.Equal(t, []string{"large"}, claim(t, s, "one", 0))
	require.Equal(t, []string{"half", "other half"}, claim(t, s, "two", 0))
	require.Equal(t, []string{"small"}, claim(t, s, "three", 0))

	q := "INSERT INTO events_outbox (id, run_id, event_data) VALUES "
	for i := range 2100 {
		q += fmt.Sprintf("('e%04d', 'e', '1'),", i)
	}
	exec(t, look, q+"('last', 'last', '1')")
	require.Len(t, claim(t, s, "four", 5000), 500)
	require.Equal(t, []string{"last"}, claim(t, s, "five", 3))
}

// tidy marks what it is given, after others had the time to take it too; and sees whether they did.
type tidy struct {
	mu     sync.Mutex // guards the rest
	holder map[string]string
	order  map[string][]string
	twice  []string
}

func (h *tidy) take(holder string, events []wire.OutboxRecord) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range events {
		if by, ok := h.holder[ev.EventID]; ok {
			h.twice = append(h.twice, ev.EventID+" by "+by+" and "+holder)
		}
		h.holder[ev.EventID] = holder
		h.order[ev.RunID] = append(h.order[ev.RunID], ev.EventID)
	}
}

func TestManyClaimMarkAndSaveAtOnceAndEachEventIsGivenOnceInTheOrderOfItsRun(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	const runs, each, claimers = 7, 40, 6
	seen := &tidy{holder: map[string]string{}, order: map[string][]string{}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var g errgroup.Group
	for run := range runs {
		g.Go(func() error {
			for n := range each {
				// As a commit does that is applied again: the event that is there is locked, and left as it is.
				_, err := look.ExecContext(ctx, "INSERT INTO events_outbox (id, run_id, event_data) VALUES (?, ?, '1'), (?, ?, '1') ON DUPLICATE KEY UPDATE id=id",
					fmt.Sprintf("%d-%03d", run, n), fmt.Sprint(run), fmt.Sprintf("%d-%03d", run, max(0, n-1)), fmt.Sprint(run))
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	for c := range claimers {
		g.Go(func() error {
			holder := fmt.Sprint("holder", c)
			for ctx.Err() == nil {
				events, err := s.Claim(ctx, wire.EventsRequest{Limit: 1 + c, LeaseMS: 60_000, Holder: holder})
				if err != nil {
					return err
				}
				seen.take(holder, events)
				var ids []string
				for _, ev := range slices.Backward(events) {
					ids = append(ids, ev.EventID)
				}
				if _, err := s.MarkEmitted(ctx, ids); err != nil {
					return err
				}
				seen.mu.Lock()
				done := len(seen.holder) == runs*each
				seen.mu.Unlock()
				if done {
					break
				}
			}
			return ctx.Err()
		})
	}
	require.NoError(t, g.Wait())
	require.Empty(t, seen.twice)
	for run, ids := range seen.order {
		require.True(t, slices.IsSorted(ids), "run %s: %v", run, ids)
		require.Len(t, ids, each)
	}
}

func TestAClaimReadsNoMoreThanIsPending(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	q := "INSERT INTO events_outbox (id, run_id, event_data, emitted_at) VALUES "
	for i := range 1000 {
		q += fmt.Sprintf("('e%04d', 'run%d', '1', %s),", i, i%10, map[bool]string{true: "NULL", false: "'2020-01-01'"}[i%50 == 49])
	}
	exec(t, look, strings.TrimSuffix(q, ","))
	s, cost := counting(t, dsn)
	c := cost(func() { require.Len(t, claim(t, s, "one", 5), 5) })
	require.LessOrEqual(t, looked(c), 20, c)
	require.Zero(t, c["Sort_rows"], c)
	c = cost(func() {
		_, err := s.MarkEmitted(t.Context(), []string{"e0049", "e0099"})
		require.NoError(t, err)
	})
	require.LessOrEqual(t, looked(c), 6, c)
}
