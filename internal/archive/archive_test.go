package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/archive"
	"github.com/persistd/persistd/pkg/client"
)

func open(t *testing.T) client.Store[json.RawMessage] {
	t.Helper()
	st := client.NewMemStore[json.RawMessage](client.WithCodec(archive.Codec{}))
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// export is an archive without its first line, which has a time.
func export(t *testing.T, st client.Store[json.RawMessage], what archive.Selection) string {
	t.Helper()
	var out bytes.Buffer
	written, err := archive.Export(t.Context(), st, what, &out)
	require.NoError(t, err)
	require.Contains(t, out.String(), fmt.Sprintf(`{"record":"end","runs":%d,"records":%d}`, written.Runs, written.Records))
	_, rest, _ := strings.Cut(out.String(), "\n")
	return rest
}

var everything = archive.Selection{Filter: &client.RunFilter{}}

// An import writes many records at once: none falls between two such transactions, however they are cut, by number or by size, at the end of
// a run or of the archive, or before a key that has one of its own.
func TestNoRecordIsLostWhereTransactionsMeet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		steps, v2     int
		size, keyEach int
	}{
		{"one fewer than a transaction has", 199, 0, 1, 0},
		{"exactly one transaction", 200, 0, 1, 0},
		{"one more", 201, 0, 1, 0},
		{"several, and a rest", 650, 3, 1, 0},
		{"cut by their size", 9, 2, 200 << 10, 0},
		{"each as large as a transaction may be", 3, 0, 600 << 10, 0},
		{"keys between them", 30, 30, 1, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			from := open(t)
			for _, run := range []string{"a", "b"} {
				for i := range row.steps {
					state := json.RawMessage(fmt.Sprintf(`{"n":%d,"x":%q}`, i, strings.Repeat("x", row.size)))
					require.NoError(t, from.SaveStep(t.Context(), run, i, "node", state))
				}
				for i := range row.v2 {
					cp := client.CheckpointV2[json.RawMessage]{RunID: run, StepID: i, State: json.RawMessage(fmt.Sprint(i))}
					if row.keyEach > 0 && i%row.keyEach == 0 {
						cp.IdempotencyKey = fmt.Sprintf("%s/%d", run, i)
					}
					require.NoError(t, from.SaveCheckpointV2(t.Context(), cp))
				}
			}
			want := export(t, from, everything)

			to := open(t)
			head := `{"record":"archive","format":"persistd-runs","version":1,"exported_at":"2026-01-01T00:00:00Z"}` + "\n"
			read, err := archive.Import(t.Context(), to, strings.NewReader(head+want), archive.Options{KeepKeys: true})
			require.NoError(t, err)
			require.Equal(t, archive.Read{Runs: 2, Written: 2 * (row.steps + row.v2)}, read)
			require.Equal(t, timeless(want), timeless(export(t, to, everything)))
			read, err = archive.Import(t.Context(), to, strings.NewReader(head+want), archive.Options{KeepKeys: true})
			require.NoError(t, err)
			require.Equal(t, archive.Read{Runs: 2, Same: 2 * (row.steps + row.v2)}, read)
		})
	}
}

// timeless is an archive without the times at which its steps were saved: an import saves them anew.
func timeless(lines string) (out []string) {
	for line := range strings.Lines(lines) {
		before, rest, ok := strings.Cut(line, `"saved_at":"`)
		if _, after, _ := strings.Cut(rest, `"`); ok {
			line = before + after
		}
		out = append(out, line)
	}
	return out
}

// deletedAt is a store in which somebody deletes a run in the middle of its export.
type deletedAt struct {
	client.Store[json.RawMessage]
	afterLatest bool
	afterSteps  int // 0 is not
	before      int // as many steps were seen
}

func (d *deletedAt) LoadLatest(ctx context.Context, id string) (json.RawMessage, int, error) {
	state, step, err := d.Store.LoadLatest(ctx, id)
	if err == nil && d.afterLatest {
		err = d.DeleteRun(ctx, id)
	}
	return state, step, err
}

// Steps ends as the pages of a run do that is gone when the next is asked for.
func (d *deletedAt) Steps(ctx context.Context, id string, from, limit int) iter.Seq2[client.Step[json.RawMessage], error] {
	return func(yield func(client.Step[json.RawMessage], error) bool) {
		for s, err := range d.Store.Steps(ctx, id, from, limit) {
			if d.afterSteps > 0 && d.before == d.afterSteps {
				return
			}
			d.before++
			if !yield(s, err) {
				return
			}
		}
	}
}

func TestARunThatIsDeletedWhileItIsExportedIsNotThereInPart(t *testing.T) {
	t.Parallel()
	filled := func(t *testing.T) client.Store[json.RawMessage] {
		st := open(t)
		for i := range 5 {
			require.NoError(t, st.SaveStep(t.Context(), "run", i, "node", json.RawMessage(`1`)))
		}
		return st
	}
	t.Run("before anything of it was read", func(t *testing.T) {
		t.Parallel()
		st := &deletedAt{Store: filled(t), afterLatest: true}
		require.JSONEq(t, `{"record":"end","runs":0,"records":0}`, export(t, st, everything))
		st = &deletedAt{Store: filled(t), afterLatest: true}
		_, err := archive.Export(t.Context(), st, archive.Selection{Runs: []string{"run"}}, io.Discard)
		require.ErrorIs(t, err, client.ErrNotFound, "it was asked for by name")
	})
	t.Run("between two pages", func(t *testing.T) {
		t.Parallel()
		st := &deletedAt{Store: filled(t), afterSteps: 3}
		_, err := archive.Export(t.Context(), st, everything, io.Discard)
		require.ErrorContains(t, err, `export run "run": it was deleted while it was read`)
	})
}
