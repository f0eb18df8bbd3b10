package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

type dlqRetryCmd struct {
	config.Flags `embed:""`
	dlqFilter    `embed:""`
	All          bool `help:"All letters there are."`
	Force        bool `help:"Apply also events whose idempotency keys may have been used and removed for their age since (retention.idempotency_keys)."`
	DryRun       bool `short:"n" help:"Only say what this version makes of the events; the database is not asked."`
}

// Run implements the command.
func (cmd *dlqRetryCmd) Run(parent context.Context, env config.LookupEnv, std std) error {
	if !cmd.names() && !cmd.All {
		return fmt.Errorf("retry dead letters: %w", errWhich)
	}
	ctx, _, stop := signals(parent)
	defer stop()
	r, err := openRetrier(ctx, &cmd.Flags, env)
	if err != nil {
		return err
	}
	defer r.close()
	r.force = cmd.Force
	all, err := r.List(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // it says what was listed.
	}
	chosen, err := cmd.choose(all)
	if err != nil {
		return err
	}
	refused, n := 0, 0
	for _, letters := range transactions(all, chosen) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("retried %d events: %w", n, err)
		}
		n++
		var what string
		if cmd.DryRun {
			what, err = r.judge(ctx, letters)
		} else {
			what, err = r.retry(ctx, letters, nil)
		}
		var still *refusal
		switch {
		case errors.As(err, &still):
			refused++
			what = "refused: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		case errors.Is(err, mysqlstore.ErrUntold):
			refused++
			what = "not applied: " + mysqlstore.ErrUntold.Error() + ", so it may have been a duplicate (--force applies it)"
		case err != nil:
			return fmt.Errorf("retried %d events before this one: %w", n-1, err)
		}
		last := letters[len(letters)-1]
		if _, err := fmt.Fprintf(std.out, "%d\t%s\t%s\n", last.Sequence, visible(idOf(last)), visible(what)); err != nil {
			return err //nolint:wrapcheck // standard output's own words.
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %s not applied; the letters are there still, and say why", refused, countOf(n, "event"))
	}
	return say(std, "%s\n", countOf(n, "event"))
}

// transactions are the events of the chosen letters, in the order of the log: mostly one letter each; of a transaction in parts all the
// letters that there are, whichever of them was chosen.
func transactions(all, chosen []*stream.Letter) (events [][]*stream.Letter) {
	type key struct {
		log       time.Time
		partition int
		id        string
	}
	of := func(x *stream.Letter) key { return key{x.StreamCreated, x.Partition, x.Part.Transaction} }
	parts := map[key][]*stream.Letter{}
	for _, x := range all {
		if x.Part.Transaction != "" {
			parts[of(x)] = append(parts[of(x)], x)
		}
	}
	for _, x := range chosen {
		if x.Part.Transaction == "" {
			events = append(events, []*stream.Letter{x})
		} else if list := parts[of(x)]; list != nil {
			sortLetters(list)
			events = append(events, list)
			delete(parts, of(x))
		}
	}
	return events
}

// refusal is an event that is refused again.
type refusal struct{ why wire.Poison }

func (r *refusal) Error() string { return r.why.Code + ": " + r.why.Reason }

// retrier applies events of letters, directly in the database.
type retrier struct {
	*letterFile
	cfg   config.Config
	store *mysqlstore.Store
	// force is that an event applies though nobody knows any more whether its keys were used.
	force bool
}

func openRetrier(ctx context.Context, flags *config.Flags, env config.LookupEnv) (*retrier, error) {
	cfg, err := flags.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	f, err := openLetters(ctx, cfg.NATS, streamConfig(cfg.Stream))
	if err != nil {
		return nil, err
	}
	store, err := mysqlstore.Open(storeConfig(cfg), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		f.close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	r := &retrier{letterFile: &letterFile{f.Letters, f.subjects, func() { _ = store.Close(); f.close() }}, cfg: cfg, store: store}
	if err := store.CheckSchema(ctx); err != nil {
		r.close()
		return nil, err //nolint:wrapcheck // it says what was checked.
	}
	return r, nil
}

// event is the event of letters, which may be poison. edited, which may be nil, is the last letter's message in another form.
func (r *retrier) event(ctx context.Context, letters []*stream.Letter, edited map[uint64]wire.Message) (wire.Event, error) {
	parts := make([]wire.Event, len(letters))
	for i, x := range letters {
		m, ok := edited[x.Sequence]
		if !ok {
			var err error
			if m, err = r.Open(ctx, x); err != nil {
				return wire.Event{}, err //nolint:wrapcheck // it says what was opened.
			}
		}
		parts[i] = r.subjects.Decode(m)
	}
	last := letters[len(letters)-1]
	if last.Part.Transaction == "" {
		return parts[0], nil
	}
	for i := range parts {
		if len(parts) != last.Part.Of || letters[i].Part.No != i+1 {
			return wire.Event{Message: parts[len(parts)-1].Message, Poison: &wire.Poison{
				Code: wire.CodePart, Reason: fmt.Sprintf("of transaction %q with %d parts there are not the letters of each, once", last.Part.Transaction, last.Part.Of),
			}}, nil
		}
	}
	return wire.Join(parts), nil
}

// judge says what this version makes of an event, without applying it.
func (r *retrier) judge(ctx context.Context, letters []*stream.Letter) (string, error) {
	ev, err := r.event(ctx, letters, nil)
	switch {
	case err != nil:
		return "", err
	case ev.Poison != nil:
		return "", &refusal{*ev.Poison}
	}
	return fmt.Sprintf("would be applied: %d ops", len(ev.Ops)), nil
}

// retry applies the event of letters, and removes them. The error is a *refusal when the event is refused again: then the letters stay, with
// the new reason. After any other they are as they were.
//
//	apply the event, at its place       (died here: the letters are there; applied again, it changes nothing)
//	remove its letters, the last first  (died here: further parts' letters are left, of an event that is applied)
func (r *retrier) retry(ctx context.Context, letters []*stream.Letter, edited map[uint64]wire.Message) (string, error) {
	ev, err := r.event(ctx, letters, edited)
	if err != nil {
		return "", err
	}
	last := letters[len(letters)-1]
	what := mysqlstore.Retried("")
	if ev.Poison == nil {
		var cancel context.CancelFunc
		ctx, cancel := context.WithTimeout(ctx, r.cfg.MySQL.CommitTimeout+time.Duration(ev.Size>>20)*time.Second)
		defer cancel()
		what, err = r.store.Retry(ctx, mysqlstore.Log{Stream: r.cfg.Stream.Name, Created: last.StreamCreated}, last.Partition, &ev, r.keysKept())
		ev.Poison = refusedBy(err, ev.Message.Sequence)
	}
	switch {
	case ev.Poison != nil:
		return "", errors.Join(&refusal{*ev.Poison}, r.amend(ctx, letters, *ev.Poison))
	case err != nil:
		return "", err //nolint:wrapcheck // it says what was tried.
	}
	for _, x := range slices.Backward(letters) {
		if err := r.Drop(ctx, x); err != nil {
			return "", fmt.Errorf("event is applied, and its letter is there still: %w", err)
		}
	}
	return string(what), nil
}

// keysKept is for how long keys are kept that count.
func (r *retrier) keysKept() time.Duration {
	if r.force {
		return 0
	}
	return r.cfg.Retention.IdempotencyKeys
}

// refusedBy is why err refuses the event for good; nil when it does not.
func refusedBy(err error, seq uint64) *wire.Poison {
	e, ok := errors.AsType[*batcher.Error](err)
	if !ok {
		return nil
	}
	if why, named := e.Refused[seq]; named {
		return &why
	}
	if e.Class == batcher.Never {
		return &wire.Poison{Code: wire.CodeDatabase, Reason: e.Error(), ErrorNumber: e.Number}
	}
	return nil
}

// amend writes the reason into the letters, where it is another.
func (r *retrier) amend(ctx context.Context, letters []*stream.Letter, why wire.Poison) error {
	for _, x := range letters {
		if x.Poison == why {
			continue
		}
		if _, err := r.Amend(ctx, x, why); err != nil {
			return err //nolint:wrapcheck // it says what was written.
		}
	}
	return nil
}
