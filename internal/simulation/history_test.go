package simulation

import (
	"context"
	"errors"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// history is what readers find in the database. Of it only positions and steps are played here.
type history struct{ conn }

var errNotPlayed = errors.New("not played here")

func (h history) Position(ctx context.Context, no int) (uint64, error) {
	return h.conn.Position(ctx, no)
}

func (h history) Steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	all, err := call(ctx, h.p.w, h.p, mysql, "steps", func() ([]wire.StepRecord, error) { return h.p.w.db.history(q.RunID), nil })
	return wire.StepsReply{Steps: all}, err
}

func (h history) Changes(context.Context, string, int32, readpath.Cursor) ([]readpath.Change, error) {
	return nil, errNotPlayed
}

func (h history) CheckpointV2(context.Context, wire.V2Request) (*wire.V2Record, error) {
	return nil, errNotPlayed
}

func (h history) CheckpointsV2(context.Context, wire.V2ListRequest) (wire.V2ListReply, error) {
	return wire.V2ListReply{}, errNotPlayed
}

func (h history) Runs(context.Context, wire.RunsRequest) (wire.RunsReply, error) {
	return wire.RunsReply{}, errNotPlayed
}

func (h history) Attempt(context.Context, string) (uint32, error) { return 0, errNotPlayed }

func (h history) Keys(context.Context, []string) ([]readpath.Key, error) { return nil, errNotPlayed }
