package service_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/wire"
)

func TestLatestAnswersAsDocumented(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	m := ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	require.Empty(t, m.Header)
	require.Equal(t, `{"found":false}`, string(m.Data), "a run that does not exist is an answer")

	r.data.set(func(d *data) {
		d.step = &wire.StepRecord{Step: 3, NodeID: `a "node"`, State: []byte(`{"b": 1,"a":[ ]}`), Sequence: 8, SavedAt: created.Local()}
	})
	m = ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	require.Empty(t, m.Header)
	require.JSONEq(t, `{"found":true,"run_id":"run/1","step":3,"node_id":"a \"node\"","sequence":8,`+
		`"logged_at":"2001-02-03T04:05:06.000000007Z","state":{"b": 1,"a":[ ]}}`, string(m.Data), "the state is not touched")
}

func TestRequestThatCannotBeAnsweredSaysWhy(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(_ *service.Config, r *readpath.Reader) { r.Recheck = time.Millisecond })
	for name, row := range map[string]struct {
		verb, body   string
		status, want string
	}{
		"latest of no JSON":                  {"latest", `{`, "400", `decode request: unexpected end of JSON input (it reads {"run_id":"…"})`},
		"latest of nothing":                  {"latest", ``, "400", "decode request"},
		"latest of a number":                 {"latest", `{"run_id":1}`, "400", "decode request"},
		"latest of no run":                   {"latest", `{}`, "400", "load latest: id is empty: give it at least one character"},
		"latest of an id that cannot be":     {"latest", `{"run_id":"x "}`, "400", "id ends in a space"},
		"committed of no JSON":               {"committed", `nonsense`, "400", `(it reads {"run_id":"…","sequence":1,"wait_ms":5000})`},
		"committed of no run":                {"committed", `{"sequence":1}`, "400", "id is empty"},
		"committed of no sequence":           {"committed", `{"run_id":"x"}`, "400", "sequence is missing or 0"},
		"committed of a sequence below zero": {"committed", `{"run_id":"x","sequence":-1}`, "400", "decode request"},
		"committed of another stream":        {"committed", `{"run_id":"x","sequence":1,"stream":"OTHER"}`, "400", `stream "OTHER" is not the one read here, "PERSISTD"`},
	} {
		require.Contains(t, refused(t, ask(t, nc, row.verb, row.body), row.status), row.want, name)
	}
	for _, verb := range []string{"latest", "committed"} {
		m := request(verb, `{"run_id":"x","sequence":1}`)
		m.Subject = "persistd.read.other." + verb
		m, err := nc.RequestMsg(m, 20*time.Second)
		require.NoError(t, err)
		require.Contains(t, refused(t, m, wire.StatusNotFound), `unknown namespace "other"`)
	}
	r.data.set(func(d *data) { d.err = errors.New("database\r\nis away") })
	require.Equal(t, "load latest: read row: database  is away", refused(t, ask(t, nc, "latest", `{"run_id":"x"}`), wire.StatusUnavailable))
	require.Equal(t, "wait for commit: read position: database  is away",
		refused(t, ask(t, nc, "committed", `{"run_id":"x","sequence":1,"wait_ms":5000}`), wire.StatusUnavailable))
	n, err := testutil.GatherAndCount(r.reg, "persistd_request_duration_seconds")
	require.NoError(t, err)
	require.Equal(t, 2, n, "latest and committed, errors only")
}

func TestReplyIsCompressedWhenThatIsWorthItAndAskedFor(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	state := func(size int) []byte { return []byte(`"` + strings.Repeat("x", size-2) + `"`) }
	frame := len(`{"found":true,"run_id":"run/1","step":1,"node_id":"","sequence":8,"logged_at":"2001-02-03T04:05:06.000000007Z","state":}`)
	for name, row := range map[string]struct {
		size       int
		accept     string
		compressed bool
	}{
		"it is 8 KiB":           {8<<10 - frame, "zstd", false},
		"it is a byte larger":   {8<<10 - frame + 1, "zstd", true},
		"two are accepted":      {100_000, "gzip, zstd", true},
		"none is accepted":      {100_000, "", false},
		"another is accepted":   {100_000, "gzip", false},
		"only that way it fits": {3 << 20, "zstd", true},
	} {
		r.data.set(func(d *data) {
			d.step = &wire.StepRecord{Step: 1, State: state(row.size), Sequence: 8, SavedAt: created}
		})
		m := ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`, wire.HeaderAccept, row.accept)
		require.Empty(t, m.Header.Get(wire.HeaderErrorCode), name)
		body := m.Data
		if row.compressed {
			require.Equal(t, wire.EncodingZstd, m.Header.Get(wire.HeaderEncoding), name)
			require.Less(t, len(body), 1000, name)
			var err error
			body, err = wire.Decompress(body)
			require.NoError(t, err)
		} else {
			require.Empty(t, m.Header.Get(wire.HeaderEncoding), name)
		}
		require.Len(t, body, row.size+frame, name)
		got, err := wire.ParseLatest(body)
		require.NoError(t, err)
		require.True(t, bytes.Equal(state(row.size), got.State), name)
	}
}

func TestReplyAboveMaxPayloadIsAnErrorAndCostsNoConnection(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	noise := make([]byte, 3<<20) // does not compress below 1 MiB
	_, err := rand.Read(noise)
	require.NoError(t, err)
	r.data.set(func(d *data) {
		d.step = &wire.StepRecord{Step: 1, State: []byte(`"` + hex.EncodeToString(noise) + `"`)}
	})
	for _, accept := range []string{"", "zstd"} {
		m := ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`, wire.HeaderAccept, accept)
		require.Regexp(t, `^reply has \d+ bytes, more than the server's max_payload of 1048576 takes: raise max_payload, or accept zstd$`, refused(t, m, wire.StatusTooLarge))
	}
	// The largest that is sent, and the smallest that is not; connect fails the test when a connection is lost.
	for size, fits := range map[int]bool{1<<20 - 1024: true, 1<<20 - 1023: false} {
		frame := len(`{"found":true,"run_id":"run/1","step":1,"node_id":"","sequence":0,"logged_at":"0001-01-01T00:00:00Z","state":}`)
		r.data.set(func(d *data) {
			d.step = &wire.StepRecord{Step: 1, State: []byte(`"` + strings.Repeat("x", size-frame-2) + `"`)}
		})
		m := ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
		if fits {
			require.Len(t, m.Data, size)
		} else {
			refused(t, m, wire.StatusTooLarge)
		}
	}
	require.Zero(t, r.nc.Stats().Reconnects)
}

func TestCommittedIsHeldUntilTheCommit(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	begin := time.Now()
	m := ask(t, nc, wire.VerbCommitted, `{"run_id":"run/1","stream":"PERSISTD","sequence":10,"wait_ms":50}`)
	require.Equal(t, `{"committed":false}`, string(m.Data))
	require.GreaterOrEqual(t, time.Since(begin), 50*time.Millisecond)
	for _, wait := range []string{"0", "-5", fmt.Sprint(math.MinInt64)} {
		m = ask(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":10,"wait_ms":`+wait+`}`)
		require.Equal(t, `{"committed":false}`, string(m.Data), "no wait asks how it is")
	}

	ten := askLater(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":10,"wait_ms":5000}`)
	eleven := askLater(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":11,"wait_ms":5000}`)
	why := wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
	r.tracker.Advance(position.Commit{Partition: home, From: 9, To: 10})
	require.Equal(t, `{"committed":true}`, string(reply(t, ten).Data))
	r.data.set(func(d *data) { d.letter = &why }) // should the commit come before the request, the letter says it
	r.tracker.Advance(position.Commit{Partition: home, From: 10, To: 11, Rejected: map[uint64]wire.Poison{11: why}})
	require.JSONEq(t, `{"committed":false,"rejected":{"code":"refused_by_db","reason":"data too long","error_number":1406}}`, string(reply(t, eleven).Data))
}

func TestCommittedIsHeldNoLongerThanTheCap(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		wait string
		want time.Duration
	}{
		"a short wait":               {"700", 700 * time.Millisecond},
		"the longest wait":           {"5000", 5 * time.Second},
		"a wait above it":            {"3600000", 5 * time.Second},
		"a wait that would overflow": {fmt.Sprint(math.MaxInt64), 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// What the database is asked with tells how long the request may last: nobody has to wait for it.
			r, nc := serve(t, func(_ *service.Config, r *readpath.Reader) { r.Recheck = time.Millisecond })
			r.data.set(func(d *data) { d.position = 10; d.hold = make(chan struct{}); close(d.hold) })
			begin := time.Now()
			m := ask(t, nc, wire.VerbCommitted, `{"run_id":"run/1","sequence":10,"wait_ms":`+row.wait+`}`)
			took := time.Since(begin)
			require.Equal(t, `{"committed":true}`, string(m.Data))
			require.LessOrEqual(t, r.data.deadline[0], row.want)
			require.Greater(t, r.data.deadline[0], row.want-took-time.Millisecond)
		})
	}
}

func TestTooManyWaitsAreTurnedAway(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, r *readpath.Reader) { c.Waits, r.Recheck = 2, time.Millisecond })
	entered, hold := make(chan struct{}, 10), make(chan struct{})
	r.data.set(func(d *data) { d.entered, d.hold, d.position = entered, hold, 10 })
	// Of two partitions: the database is asked once for all who wait in one.
	const body, other = `{"run_id":"run/1","sequence":10,"wait_ms":5000}`, `{"run_id":"run/2","sequence":10,"wait_ms":5000}`
	require.NotEqual(t, wire.Partition("default", "run/1", partitions), wire.Partition("default", "run/2", partitions))
	one, two := askLater(t, nc, wire.VerbCommitted, body), askLater(t, nc, wire.VerbCommitted, other)
	<-entered
	<-entered
	require.Equal(t, "2 requests wait for their commit already", refused(t, ask(t, nc, wire.VerbCommitted, body), wire.StatusBusy))
	require.NoError(t, testutil.GatherAndCompare(r.reg, strings.NewReader(`
		# HELP persistd_requests_refused_total Requests on NATS that were not taken, by verb and status: 429 when too many wait for a commit, 503 when the replica is stopping.
		# TYPE persistd_requests_refused_total counter
		persistd_requests_refused_total{status="429",verb="committed"} 1
	`), "persistd_requests_refused_total"))
	close(hold)
	require.Equal(t, `{"committed":true}`, string(reply(t, one).Data))
	require.Equal(t, `{"committed":true}`, string(reply(t, two).Data))
	require.Equal(t, `{"committed":true}`, string(ask(t, nc, wire.VerbCommitted, body).Data), "there is room again")
}

func TestReadsBeyondTheirNumberWaitTheirTurn(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.Reads = 2 })
	entered, hold := make(chan struct{}, 10), make(chan struct{})
	r.data.set(func(d *data) { d.entered, d.hold = entered, hold })
	var subs [4]interface{ Unsubscribe() error }
	for i := range subs {
		subs[i] = askLater(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	}
	<-entered
	<-entered
	require.NoError(t, r.nc.Flush()) // the other two are with the replica
	require.Empty(t, entered, "two at a time")
	close(hold)
	<-entered
	<-entered
}

func TestReadThatTakesTooLongSaysSo(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.ReadTimeout = time.Second })
	r.data.set(func(d *data) { d.hold = make(chan struct{}) })
	require.Equal(t, "load latest: read row: read timed out after 1s",
		refused(t, ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`), wire.StatusUnavailable))
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`)
	problems, err := testutil.GatherAndLint(r.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}
