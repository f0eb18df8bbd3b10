package ingest

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
)

// errLost ends a session whose connection was lost: the server sends nothing more through it, and answers nothing.
var errLost = errors.New("the connection was lost")

// Attend implements [Server]. A connection that is lost is known at once; without it a session would wait for the silence to be long enough,
// and a request that was under way for its own time, after the server is back.
func (n natsServer) Attend(ctx context.Context) (context.Context, func(), error) {
	nc := n.js.Conn()
	// Before the status is asked for, so that no change falls between.
	changed := nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	for nc.Status() != nats.CONNECTED {
		if nc.IsClosed() {
			nc.RemoveStatusListener(changed)
			return nil, nil, nats.ErrConnectionClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			nc.RemoveStatusListener(changed)
			return nil, nil, context.Cause(ctx)
		}
	}
	attended, end := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case status := <-changed:
				switch status { //nolint:exhaustive // no other is told.
				case nats.CLOSED:
					end(nats.ErrConnectionClosed)
				case nats.RECONNECTING, nats.DISCONNECTED:
					end(errLost)
				default: // that of before it was connected
					continue
				}
				return
			case <-attended.Done():
				return
			}
		}
	})
	return attended, func() {
		end(nil)
		watcher.Wait()
		nc.RemoveStatusListener(changed)
	}, nil
}
