package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cenkalti/backoff/v4"

	"github.com/persistd/persistd/internal/relay"
	"github.com/persistd/persistd/internal/retention"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// background is what a replica does beside applying and answering: the relay, where it is on, and the retention. Neither holds anybody up, and
// what they do not get to, they or another replica do later.
type background struct {
	janitor *retention.Janitor

	opening sync.WaitGroup     // startRelay, which cancel ends
	cancel  context.CancelFunc // nil when the relay is off
	relay   *relay.Relay       // set by startRelay
}

// startBackground starts them. The relay waits by itself for a place where the relayed events can go to: the log is applied, read and
// watched meanwhile.
func (d *daemon) startBackground(ctx context.Context) (err error) {
	r := d.cfg.Retention
	d.background.janitor, err = retention.New(retention.Config{Keys: r.IdempotencyKeys, Events: r.EmittedEvents, Every: r.Interval},
		d.store, d.reg, d.log.Named("retention"))
	if err != nil {
		return fmt.Errorf("prepare retention: %w", err)
	}
	if err := d.background.janitor.Start(ctx); err != nil {
		return err //nolint:wrapcheck // it says what was started.
	}
	if d.cfg.Relay.Mode != "on" {
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.background.cancel = cancel
	d.background.opening.Go(func() {
		if err := d.startRelay(life); err != nil && life.Err() == nil {
			d.fail(err)
		}
	})
	return nil
}

// startRelay starts the relay. It blocks while there is no place for the relayed events.
func (d *daemon) startRelay(ctx context.Context) error {
	var sink *stream.Events
	err := d.persist(ctx, "open stream of relayed events", func(ctx context.Context) (err error) {
		sink, err = stream.EnsureEvents(ctx, d.js, streamConfig(d.cfg.Stream), stream.EventsConfig{
			MaxBytes: int64(d.cfg.Relay.MaxBytes), MaxAge: d.cfg.Relay.MaxAge,
		}, d.log.Named("stream"))
		if settings, ok := errors.AsType[*stream.ConfigError](err); ok {
			return backoff.Permanent(settings)
		}
		return err //nolint:wrapcheck // persist says what was tried.
	})
	if err != nil {
		return err
	}
	started, err := relay.New(relay.Config{
		Holder: "relay " + wire.Token(d.cfg.Instance), // of bounded length, and still the instance's own
		Batch:  d.cfg.Relay.Batch, Lease: d.cfg.Relay.Lease, Interval: d.cfg.Relay.Interval,
		RetryMin: d.cfg.Retry.Min, RetryMax: d.cfg.Retry.Max,
	}, d.store, sink, d.reg, d.log.Named("relay"))
	if err != nil {
		return err //nolint:wrapcheck // it names the setting.
	}
	d.background.relay = started
	d.relaying.Store(started)
	return started.Start(ctx) //nolint:wrapcheck // it says what was started.
}

// stop ends them; what the relay has under way it finishes until ctx ends.
func (b *background) stop(ctx context.Context) error {
	if b.cancel != nil {
		b.cancel()
		b.opening.Wait() // bounded: all that it waits for ends with its ctx
	}
	var errs []error
	if b.relay != nil {
		errs = append(errs, b.relay.Stop(ctx))
	}
	if b.janitor != nil {
		errs = append(errs, b.janitor.Stop(ctx))
	}
	return errors.Join(errs...)
}
