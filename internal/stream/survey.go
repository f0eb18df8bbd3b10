package stream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Survey is what there is of a log and its server, looked at and left alone.
type Survey struct {
	// Server is why the log cannot be on this server at all, a [*ServerError]; nil when it can.
	Server error
	// Version is the version of the server that was asked, Name its name; MaxPayload the largest message it takes, in bytes.
	Version, Name string
	MaxPayload    int64
	// Log and Letters are the streams as they are; nil where there is none.
	Log, Letters *jetstream.StreamInfo
	// Violations are the settings of both by which a promise is broken.
	Violations []Violation
}

// Look looks at the log of cfg as [Ensure] does, and makes and changes nothing. An error says that it could not look.
func Look(ctx context.Context, js jetstream.JetStream, cfg Config) (x Survey, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return x, err
	}
	ctx, cancel := boundRequests(ctx, cfg)
	defer cancel()
	nc := js.Conn()
	x.Version, x.Name, x.MaxPayload = nc.ConnectedServerVersion(), nc.ConnectedServerName(), nc.MaxPayload()
	if x.Server = checkServer(nc); x.Server != nil {
		return x, nil
	}
	if _, err := account(ctx, js, cfg.RequestTimeout); err != nil {
		if _, ok := errors.AsType[*ServerError](err); ok {
			x.Server = err
			return x, nil
		}
		return x, err
	}
	e := &ensurer{js: js, cfg: cfg}
	if x.Log, err = e.find(ctx, cfg.Name); err != nil {
		return x, err
	}
	if x.Log != nil {
		_, err := check(cfg, x.Log.Config, x.MaxPayload)
		if settings, ok := errors.AsType[*ConfigError](err); ok {
			x.Violations = append(x.Violations, settings.Violations...)
		}
	}
	letters := cfg
	letters.Name = cfg.Name + "_DLQ"
	if x.Letters, err = e.find(ctx, letters.Name); err != nil {
		return x, err
	}
	if x.Letters != nil {
		c := &checker{cfg: letters, found: x.Letters.Config}
		c.deadLetters()
		x.Violations = append(x.Violations, c.list...)
	}
	return x, nil
}
