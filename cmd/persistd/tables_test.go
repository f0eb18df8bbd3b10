package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// Who may publish chooses ids and names; what they hold does not reach the operator's terminal as a command to it.
func TestIDsInTablesMoveNoCursor(t *testing.T) {
	t.Parallel()
	require.Equal(t, `\x1b[31mred\u202e\r\u0085 äöü 日本`, visible("\x1b[31mred\u202e\r\u0085 äöü 日本"))
	require.Equal(t, "two\nlines", visible("two\nlines"))
	out := newTable("run")
	out.AppendRow([]any{"a\x1b[2Jb"})
	require.Contains(t, out.Render(), `a\x1b[2Jb`)
}

// What is wrong may take a sentence; the table stays one that fits a terminal.
func TestAStatusThatIsNotReadyFitsATerminal(t *testing.T) {
	t.Parallel()
	why := "gaps: events are lost: " + strings.Repeat("partition 2 after 4000 through 5995; ", 20)
	var out bytes.Buffer
	require.NoError(t, printStatus(std{&out, nil}, []wire.Status{{
		Instance: "a", NotReady: []string{why, "room: log is full"},
		Partitions: []wire.PartitionStatus{{Partition: 0}, {Partition: 1, Error: why}, {Partition: 2, Error: why}, {Partition: 3, Error: "another"}, {Partition: 4, Error: why}},
	}}))
	for line := range strings.Lines(out.String()) {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 140, line)
	}
	require.Contains(t, out.String(), "│ room: log is full ")
	require.Equal(t, 2, strings.Count(out.String(), "as partition 1"), "what holds for many partitions is said once")
	require.Contains(t, out.String(), "│ another ")
}
