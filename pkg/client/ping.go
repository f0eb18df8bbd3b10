package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// pingID is the run that Ping asks for; whether it exists does not matter.
const pingID = "persistd-ping"

func (e *engine) ping(ctx context.Context) error {
	if e.isClosing() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.attemptTimeout)
	defer cancel()
	if err := e.nc.FlushWithContext(ctx); err != nil {
		return &fault{kind: ErrUnavailable, err: fmt.Errorf("ask NATS for a pong: %w", err), hint: hintConn}
	}
	if err := e.pingLog(ctx); err != nil {
		return err
	}
	_, err := ask(ctx, e, e.cfg.attemptTimeout, wire.VerbLatest, wire.LatestRequest{RunID: pingID}, wire.ParseLatest)
	return err
}

// pingLog has the stream's leader refuse a message, because it is for a stream of another name: that takes the whole way of a
// publish and no permission but the worker's own, and stores nothing.
func (e *engine) pingLog(ctx context.Context) error {
	reply, err := e.mux.request(ctx, &nats.Msg{
		Subject: e.subjects.Write(e.cfg.namespace, wire.KindRun, pingID),
		Header:  nats.Header{jetstream.ExpectedStreamHeader: {"none"}},
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", errNoAnswer, err)
		}
		return err
	}
	_, err = parseAck(reply)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == codeStreamMismatch {
		return nil
	}
	if err == nil {
		err = &fault{kind: ErrUnavailable, err: errors.New("log stored the ping: it does not know " + jetstream.ExpectedStreamHeader)}
	}
	return err
}
