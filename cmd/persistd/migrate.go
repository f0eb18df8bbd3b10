package main

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/logging"
	"github.com/persistd/persistd/internal/mysqlstore"
)

// migrate brings the schema up to date and returns.
func migrate(ctx context.Context, cfg config.Config, std std) error {
	log, _, err := logging.New(zapcore.Lock(zapcore.AddSync(std.err)), cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return fmt.Errorf("prepare log: %w", err)
	}
	store, err := mysqlstore.Open(storeConfig(cfg), log.Named("mysqlstore"), prometheus.NewRegistry())
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	_, err = fmt.Fprintln(std.out, "schema is up to date")
	return err //nolint:wrapcheck // standard output's own words.
}
