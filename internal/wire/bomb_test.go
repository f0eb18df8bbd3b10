package wire

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// zeros is a frame that unpacks to so many MiB of zeros.
func zeros(t testing.TB, mib int, options ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, options...)
	require.NoError(t, err)
	for range mib {
		_, err = w.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// I7: whatever is sent, its decoding costs a few bodies' memory at most, and it is poison with a reason that fits a line.
func TestNoMessageCostsMoreThanAFewBodies(t *testing.T) { //nolint:paralleltest // what it allocates is measured: nothing runs beside it.
	member := func(value string) []byte { return []byte(`{"step":1,"node_id":"n","state":` + value + `}`) }
	tests := []struct {
		name   string
		code   string
		packed bool
		body   []byte
	}{
		{"a frame that unpacks to half a GiB", CodeEncoding, true, zeros(t, 512)},
		{"a hundred frames, none of them too large", CodeEncoding, true, bytes.Repeat(zeros(t, 7), 100)},
		{"a frame with a window of half a GiB", CodeEncoding, true, zeros(t, 8, zstd.WithWindowSize(512<<20))},
		{"a frame in a frame, of which only the outer one is unpacked", CodeNotJSON, true, Compress(zeros(t, 512))},
		{"ten thousand levels", CodeDepth, false, member(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))},
		{"ten thousand levels without an end", CodeDepth, false, member(strings.Repeat("[", 10_000))},
		{"seven million levels", CodeDepth, false, member(strings.Repeat("[", 7_000_000))},
		{"ten thousand levels of objects, packed", CodeDepth, true, Compress(member(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)))},
		{"seven million levels where the event should be", CodeBody, false, []byte(strings.Repeat("[", 7_000_000))},
		{"a number of seven million digits", CodeStep, false, []byte(`{"step":` + strings.Repeat("9", 7_000_000) + `,"node_id":"n","state":{}}`)},
		{"a member with a name of seven million letters", CodeBody, false, []byte(`{"` + strings.Repeat("x", 7_000_000) + `":1}`)},
		{"a node id of seven million letters", CodeNode, false, []byte(`{"step":1,"node_id":"` + strings.Repeat("x", 7_000_000) + `","state":{}}`)},
		{"two hundred thousand ops", CodeBody, false, []byte(`{"ops":[` + strings.Repeat(`{"op":"delete_run"},`, 200_000) + `{}]}`)},
		{"zeros", CodeNotJSON, false, make([]byte, 7_000_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // as above.
			m := logged("")
			m.Body = tt.body
			if tt.packed {
				m.Header = Header{HeaderEncoding: {EncodingZstd}}
			}
			decoder() // which is made once
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ev := subjects.Decode(m)
			runtime.ReadMemStats(&after)
			require.NotNil(t, ev.Poison)
			require.Equal(t, tt.code, ev.Poison.Code, ev.Poison.Reason)
			require.Less(t, len(ev.Poison.Reason), 2000)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8*MaxBody))
		})
	}
}
