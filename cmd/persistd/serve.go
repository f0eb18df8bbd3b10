package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persistd/persistd/internal/admin"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/logging"
)

type serveCmd struct {
	config.Flags `embed:""`
}

// Run implements the command.
func (cmd *serveCmd) Run(parent context.Context, env config.LookupEnv, std std) error {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	first, second, stop := signals(parent)
	defer stop()
	return serve(first, second, cfg, std, hooks{}, nil)
}

// serve runs a daemon until ctx ends, and takes it down; skip ends the drain early. up, which may be nil, is called once it serves.
func serve(ctx, skip context.Context, cfg config.Config, std std, h hooks, up func(*daemon)) (err error) {
	log, level, err := logging.New(zapcore.Lock(zapcore.AddSync(std.err)), cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return fmt.Errorf("prepare log: %w", err)
	}
	for _, name := range config.UnknownEnv(os.Environ()) {
		log.Warn("variable is no setting of persistd", zap.String("variable", name), zap.String("hint", "docs/configuration.md lists all of them"))
	}
	// Without a limit the collector lets the heap double; in a container that ends in an OOM kill long before memory is short.
	if _, err := memlimit.Set(memlimit.WithRatio(0.9)); err != nil {
		log.Debug("no memory limit found", zap.Error(err))
	}
	collectLess()
	d, err := newDaemon(cfg, log, admin.Options{LogLevel: level}, h)
	if err != nil {
		return err
	}
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = d.start(starting)
	if err == nil {
		if up != nil {
			up(d)
		}
		select {
		case <-ctx.Done():
			log.Info("stopping", zap.Duration("drain_timeout", cfg.Shutdown.DrainTimeout))
		case err = <-d.failed:
		case err = <-d.admin.Failed():
		}
	} else if ctx.Err() != nil {
		err = nil // asked to stop before it was up: nothing was read
	}
	if err != nil {
		log.Error("cannot go on", zap.Error(err))
	}
	if stopErr := d.stop(skip); stopErr != nil {
		log.Error("stopped with work unfinished; it is still in the log", zap.Error(stopErr))
		err = errors.Join(err, stopErr)
	} else {
		log.Info("stopped")
	}
	return err
}

type migrateCmd struct {
	config.Flags `embed:""`
}

// Run implements the command.
func (cmd *migrateCmd) Run(ctx context.Context, env config.LookupEnv, std std) error {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	first, _, stop := signals(ctx)
	defer stop()
	return migrate(first, cfg, std)
}

type configCmd struct {
	Print configPrintCmd `cmd:"" help:"Print the settings in force as a YAML file, secrets masked."`
	Check configCheckCmd `cmd:"" help:"Say everything that is wrong with the configuration."`
}

type configPrintCmd struct {
	config.Flags `embed:""`
}

// Run implements the command.
func (cmd *configPrintCmd) Run(env config.LookupEnv, std std) error {
	cfg, err := cmd.Complete(env)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	_, err = fmt.Fprint(std.out, cfg.Redacted())
	return err //nolint:wrapcheck // standard output's own words.
}

type configCheckCmd struct {
	config.Flags `embed:""`
}

// Run implements the command.
func (cmd *configCheckCmd) Run(env config.LookupEnv, std std) error {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	_, err = fmt.Fprintln(std.out, "configuration is valid")
	return err //nolint:wrapcheck // standard output's own words.
}
