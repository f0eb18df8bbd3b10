package service_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// noise is a state of size bytes that compresses to no less than half of that.
func noise(t *testing.T, size int) []byte {
	t.Helper()
	b := make([]byte, size/2)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return []byte(`"` + hex.EncodeToString(b) + `"`)
}

// read asks for a page.
func read(t *testing.T, nc *nats.Conn, verb string, q, reply any, header ...string) {
	t.Helper()
	body, err := json.Marshal(q)
	require.NoError(t, err)
	m := ask(t, nc, verb, string(body), header...)
	require.Empty(t, m.Header.Get(wire.HeaderErrorCode), m.Header.Get(wire.HeaderError))
	if m.Header.Get(wire.HeaderEncoding) == "zstd" {
		m.Data, err = wire.Decompress(m.Data)
		require.NoError(t, err)
	}
	require.NoError(t, json.Unmarshal(m.Data, reply))
}

// A page that MySQL gives is larger than a message: it comes in several, and nothing is missing or there twice.
func TestPageThatExceedsMaxPayloadIsCut(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	const n = 7
	var want []int32
	r.data.set(func(d *data) {
		for i := range int32(n) {
			state := []byte(`"` + strings.Repeat("x", 300<<10) + `"`) // three of them fit a message, and no four
			want = append(want, i)
			d.history.steps = append(d.history.steps, wire.StepRecord{Step: i, Sequence: uint64(i) + 1, State: state})
			d.history.v2 = append(d.history.v2, wire.V2Record{StepID: i, State: state, Frontier: []byte("null"), RecordedIOs: []byte("null")})
			d.history.events = append(d.history.events, wire.OutboxRecord{EventID: fmt.Sprint(i), RunID: "r", Data: state})
		}
	})
	t.Run("steps", func(t *testing.T) {
		t.Parallel()
		var got []int32
		requests := 0
		for next := new(int32); next != nil; requests++ {
			var page wire.StepsReply
			read(t, nc, wire.VerbSteps, wire.StepsRequest{RunID: run, From: *next}, &page)
			for i := range page.Steps {
				got = append(got, page.Steps[i].Step)
			}
			next = page.Next
		}
		require.Equal(t, want, got)
		require.Less(t, requests, n)

		var page wire.StepsReply
		read(t, nc, wire.VerbSteps, wire.StepsRequest{RunID: run}, &page, wire.HeaderAccept, "zstd")
		require.Len(t, page.Steps, n, "compressed, it fits")
	})
	t.Run("V2 checkpoints", func(t *testing.T) {
		t.Parallel()
		var got []int32
		for next := new(int32); next != nil; {
			var page wire.V2ListReply
			read(t, nc, wire.VerbCheckpointsV2, wire.V2ListRequest{RunID: run, From: *next}, &page)
			for i := range page.Checkpoints {
				got = append(got, page.Checkpoints[i].StepID)
			}
			next = page.Next
		}
		require.Equal(t, want, got)
	})
	t.Run("a watch", func(t *testing.T) {
		t.Parallel()
		var got []int32
		for cursor := ""; ; {
			var page wire.WatchReply
			read(t, nc, wire.VerbWatch, wire.WatchRequest{RunID: run, Cursor: cursor}, &page)
			if len(page.Steps) == 0 {
				require.Equal(t, cursor, page.Cursor)
				break
			}
			for i := range page.Steps {
				got = append(got, page.Steps[i].Step)
			}
			cursor = page.Cursor
		}
		require.Equal(t, want, got)
	})
	t.Run("outbox events", func(t *testing.T) {
		t.Parallel()
		var got []int32
		for {
			var page wire.EventsReply
			read(t, nc, wire.VerbEvents, wire.EventsRequest{Limit: 1000, LeaseMS: 1000, Holder: "h"}, &page)
			if len(page.Events) == 0 {
				break
			}
			var ids []string
			for i := range page.Events {
				var no int32
				_, err := fmt.Sscan(page.Events[i].EventID, &no)
				require.NoError(t, err)
				got, ids = append(got, no), append(ids, page.Events[i].EventID)
			}
			var marked wire.EmittedReply
			read(t, nc, wire.VerbEmitted, wire.EmittedRequest{EventIDs: ids}, &marked)
			require.EqualValues(t, len(ids), marked.Marked)
		}
		require.Equal(t, want, got)
	})
}

func TestPageOfRunsThatExceedsMaxPayloadIsCut(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	var want []string
	for i := range 900 {
		want = append(want, fmt.Sprintf("%03d%s", i, strings.Repeat("\U0001f98a", 250)))
	}
	r.data.set(func(d *data) {
		for _, id := range want {
			d.history.runs = append(d.history.runs, wire.RunRecord{RunID: id, NodeID: strings.Repeat("\U0001f98a", 255)})
		}
	})
	var got []string
	for after, pages := "", 0; ; pages++ {
		var page wire.RunsReply
		m := ask(t, nc, wire.VerbRuns, fmt.Sprintf(`{"after":%q}`, after)) // uncompressed
		require.Empty(t, m.Header)
		require.NoError(t, json.Unmarshal(m.Data, &page))
		for i := range page.Runs {
			got = append(got, page.Runs[i].RunID)
		}
		if after = page.Next; after == "" {
			require.Positive(t, pages)
			break
		}
	}
	require.True(t, slices.Equal(want, got))
}

func TestRecordThatExceedsMaxPayloadAloneIsAnError(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	r.data.set(func(d *data) {
		d.history.steps = []wire.StepRecord{{Step: 1, Sequence: 1, State: []byte(`1`)}, {Step: 2, Sequence: 2, State: noise(t, 5<<19)}, {Step: 3, Sequence: 3, State: []byte(`3`)}}
	})
	var page wire.StepsReply
	read(t, nc, wire.VerbSteps, wire.StepsRequest{RunID: run}, &page, wire.HeaderAccept, "zstd")
	require.Len(t, page.Steps, 1)
	require.EqualValues(t, 2, *page.Next)
	for verb, q := range map[string]string{wire.VerbSteps: `{"run_id":"run/1","from":2}`, wire.VerbWatch: `{"run_id":"run/1","from":2}`} {
		require.Contains(t, refused(t, ask(t, nc, verb, q, wire.HeaderAccept, "zstd"), wire.StatusTooLarge), "raise max_payload", verb)
	}
	read(t, nc, wire.VerbSteps, wire.StepsRequest{RunID: run, From: 3}, &page, wire.HeaderAccept, "zstd")
	require.Len(t, page.Steps, 1)
}
