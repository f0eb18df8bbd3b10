package mysqlstore

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogger writes into log what a library says through log/slog.
func slogger(log *zap.Logger) *slog.Logger { return slog.New(&slogHandler{log: log}) }

type slogHandler struct{ log *zap.Logger }

var levels = map[slog.Level]zapcore.Level{
	slog.LevelDebug: zapcore.DebugLevel, slog.LevelInfo: zapcore.DebugLevel, slog.LevelWarn: zapcore.WarnLevel, slog.LevelError: zapcore.WarnLevel,
}

// Enabled implements [slog.Handler].
func (h *slogHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.Core().Enabled(levels[l])
}

// Handle implements [slog.Handler].
func (h *slogHandler) Handle(_ context.Context, r slog.Record) error {
	if e := h.log.Check(levels[r.Level], "schema lock"); e != nil {
		fields := []zap.Field{zap.String("message", r.Message)}
		r.Attrs(func(a slog.Attr) bool {
			fields = append(fields, zap.Any(a.Key, a.Value.Any()))
			return true
		})
		e.Write(fields...)
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make([]zap.Field, len(attrs))
	for i, a := range attrs {
		fields[i] = zap.Any(a.Key, a.Value.Any())
	}
	return &slogHandler{log: h.log.With(fields...)}
}

// WithGroup implements [slog.Handler].
func (h *slogHandler) WithGroup(name string) slog.Handler {
	return &slogHandler{log: h.log.Named(name)}
}
