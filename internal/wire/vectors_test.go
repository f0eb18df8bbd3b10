package wire

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

var vector = regexp.MustCompile("(?m)^\\| `(\".*\")`.*? \\| `(.*)` \\| ([0-9]+) \\|$")

// Those who write a client in another language test it on the vectors of docs/protocol.md; so do we.
func TestTheProtocolsVectors(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	rows := vector.FindAllSubmatch(doc, -1)
	require.Len(t, rows, 8)
	for _, row := range rows {
		var id string
		require.NoError(t, json.Unmarshal(row[1], &id), "%s", row[1])
		require.Equal(t, string(row[2]), Token(id))
		require.Equal(t, string(row[3]), strconv.Itoa(Partition(DefaultNamespace, id, 8)))
	}
}

// Every code of poison is explained to those who find it on a dead letter.
func TestTheProtocolExplainsEveryCode(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	for _, code := range Codes() {
		require.Contains(t, string(doc), "| `"+code+"` | ")
	}
}
