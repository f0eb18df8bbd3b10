package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Somebody published a part by itself, as the first message that the log ever had: before it there is less than it says.
func TestAReaderBeginsBeforeAStrayPart(t *testing.T) {
	t.Parallel()
	s := ensure(t, connect(t), Config{Partitions: 1})
	logged := saveParts(t, s, 3, 3, 3)
	after, found, err := s.After(within(t), 0, 1)
	require.NoError(t, err)
	require.True(t, found)
	require.Zero(t, after)
	after, found, err = s.Since(within(t), 0, logged[0].Add(-time.Hour))
	require.NoError(t, err)
	require.True(t, found)
	require.Zero(t, after)
}
