package stream

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// I6: a direct get is answered by any of several copies, so it is only for a log whose server is in no cluster.
func TestI6ALoneServerIsAskedForTheLastMessageByDirectGet(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 3)
	last := func(run string) (uint64, error) {
		return h.s.Last(within(t), 0, wire.DefaultNamespace, wire.KindRun, run)
	}
	get, direct := h.s.get, h.s.lastOfOne

	h.copies(1)
	h.s.get.subject = "nobody.listens"
	seq, err := last("run-001")
	require.NoError(t, err)
	require.Equal(t, h.seq[2], seq)
	require.Equal(t, []int{2}, steps(t, h.tail(t, "run-001", h.seq[2]-1)), "with what it says")
	require.Empty(t, h.tail(t, "run-001", h.seq[2]))
	_, err = last("run-003")
	require.Error(t, err, "that there is none, only the leader's answer tells")

	h.s.get = get
	seq, err = last("run-003")
	require.NoError(t, err)
	require.Zero(t, seq)
	h.s.lastOfOne = func(context.Context, string, uint64) (wire.Message, bool, error) {
		return wire.Message{}, false, errors.New("it may not be asked")
	}
	seq, err = last("run-001")
	require.NoError(t, err)
	require.Equal(t, h.seq[2], seq)

	connection := uint64(0)
	h.s.lead = newLead(h.s.lead.ask, func() uint64 { return connection })
	for _, asked := range []bool{false, true} { // by another read, before the answer came
		h.s.lastOfOne = func(ctx context.Context, subject string, after uint64) (wire.Message, bool, error) {
			connection++ // the answer came through it
			if asked {
				require.NoError(t, h.s.lead.confirm(ctx))
			}
			return wire.Message{Sequence: 1}, true, nil
		}
		seq, err = last("run-001")
		require.NoError(t, err)
		require.Equal(t, h.seq[2], seq, "of another server it is not known whether it was alone")
	}

	h.copies(3)
	h.s.lastOfOne = func(ctx context.Context, subject string, after uint64) (wire.Message, bool, error) {
		t.Error("one of several copies is asked")
		return direct(ctx, subject, after)
	}
	seq, err = last("run-001")
	require.NoError(t, err)
	require.Equal(t, h.seq[2], seq)
}
