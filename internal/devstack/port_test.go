package devstack

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	errTaken = errors.New("bind: Address already in use")
	errOther = errors.New("disk full")
)

// starts returns a start function that fails with errs in turn, then succeeds, and the
// ports it was called with.
func starts(errs ...error) (start func(int) error, ports *[]int) {
	ports = new([]int)
	return func(port int) error {
		*ports = append(*ports, port)
		if n := len(*ports); n <= len(errs) {
			return errs[n-1]
		}
		return nil
	}, ports
}

func TestTakenPortIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		port  int
		errs  []error
		want  error
		tries int
		waits time.Duration
	}{
		"a free port is taken at once":          {0, nil, nil, 1, 0},
		"a free port that was taken is changed": {0, []error{errTaken, errTaken}, nil, 3, 0},
		"a given port is waited for":            {4222, []error{errTaken, errTaken}, nil, 3, 400 * time.Millisecond},
		"another error is returned":             {0, []error{errOther}, errOther, 1, 0},
		"a port that stays taken is given up after 5 tries": {
			4222, []error{errTaken, errTaken, errTaken, errTaken, errTaken}, errTaken, 5, 800 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, ports := starts(row.errs...)
				began := time.Now()
				require.ErrorIs(t, onPort(t.Context(), row.port, start), row.want)
				require.Equal(t, row.waits, time.Since(began))
				require.Len(t, *ports, row.tries)
				if row.port != 0 {
					require.Equal(t, row.port, (*ports)[0])
				}
			})
		})
	}
}

func TestWaitForATakenPortEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start, ports := starts(errTaken)
	require.ErrorIs(t, onPort(ctx, 4222, start), errTaken)
	require.Len(t, *ports, 1)
}

func TestFreePortIsBindableAndBelowTheEphemeralRange(t *testing.T) {
	t.Parallel()
	port, err := freePort(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, port, 20000)
	require.Less(t, port, 32000)
	l, err := net.Listen("tcp", localAddr(port))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
