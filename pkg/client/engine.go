package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// engine is the backend that writes behind: into the log, from where persistd brings it to MySQL; and that reads by asking persistd.
//
//	apply, begin ──▶ publisher ──publish──▶ NATS ──answer──▶ mux ──▶ publisher
//	latest, committed, attempt, ping ──mux.request──▶ NATS ──answer──▶ mux
//	many that wait for their commits ◀──listener◀──announcements── NATS
type engine struct {
	cfg       config
	subjects  wire.Subjects
	nc        *nats.Conn
	mux       *mux
	publisher *publisher
	commits   *listener
	fences    fences

	// idPrefix is random, so that message ids of different clients, or of one before and after its restart, never meet.
	idPrefix string
	lastID   atomic.Uint64

	closing  sync.Once
	closeErr error // set by closing
}

// openEngine connects, unless cfg has a connection, and checks that answers can come back.
func openEngine(ctx context.Context, natsURL string, cfg config) (*engine, error) {
	e := &engine{cfg: cfg, subjects: wire.Subjects{Prefix: cfg.prefix}, nc: cfg.conn}
	var random [12]byte
	rand.Read(random[:])
	e.idPrefix = base64.RawURLEncoding.EncodeToString(random[:]) + "-"

	ctx, cancel := e.withDeadline(ctx)
	defer cancel()
	var err error
	if e.nc == nil {
		if e.nc, err = connect(ctx, natsURL, cfg); err != nil {
			return nil, err
		}
	}
	if err := e.start(ctx); err != nil {
		e.disconnect()
		return nil, err
	}
	return e, nil
}

func (e *engine) start(ctx context.Context) (err error) {
	if e.mux, err = newMux(e.nc); err != nil {
		return &fault{kind: ErrUnavailable, err: err}
	}
	if e.cfg.conn == nil {
		watchErrors(e.nc, e.mux)
	}
	if e.nc.IsConnected() { // not yet so with nats.RetryOnFailedConnect
		if err := e.mux.check(ctx); err != nil {
			return errors.Join(err, e.mux.close())
		}
	}
	e.publisher = newPublisher(e.nc, e.mux, e.cfg)
	e.commits = newListener(e.nc, e.subjects)
	return nil
}

// disconnect closes the connection that is the client's own.
func (e *engine) disconnect() {
	if e.cfg.conn == nil {
		e.nc.Close()
	}
}

// withDeadline gives ctx the default deadline when it has none.
func (e *engine) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, e.cfg.timeout)
}

func (e *engine) isClosing() bool {
	select {
	case <-e.publisher.closing:
		return true
	default:
		return false
	}
}

func (e *engine) flush(ctx context.Context) error {
	if e.isClosing() {
		return ErrClosed
	}
	return e.publisher.flush(ctx)
}

// close stops intake, flushes, and hangs up: the three phases of ending.
func (e *engine) close() error {
	e.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), e.cfg.closeTimeout)
		defer cancel()
		e.closeErr = errors.Join(e.publisher.close(ctx), e.mux.close(), e.commits.close())
		e.disconnect()
	})
	return e.closeErr
}
