// Package logging makes the daemon's logger: one line per entry, with a constant message and constant keys.
//
//	{"level":"info","ts":"2026-01-02T03:04:05.678901234Z","logger":"ingest","msg":"partition taken over","partition":3}
//
// What is logged is the caller's part of the contract: never a state, never a secret.
package logging

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a logger that writes to out entries of at least the level, as "json" or, for people, "console". The returned
// level can be changed while the logger is in use, and is an http.Handler that does so.
func New(out zapcore.WriteSyncer, level, format string) (*zap.Logger, zap.AtomicLevel, error) {
	at, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, at, fmt.Errorf("parse log level: %w", err)
	}
	keys := zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", NameKey: "logger", MessageKey: "msg", LineEnding: zapcore.DefaultLineEnding,
		EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeName: zapcore.FullNameEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	var encoder zapcore.Encoder
	switch format {
	case "json":
		keys.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
			enc.AppendString(t.UTC().Format(time.RFC3339Nano))
		}
		encoder = zapcore.NewJSONEncoder(keys)
	case "console":
		keys.EncodeLevel = zapcore.CapitalLevelEncoder
		keys.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		keys.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(keys)
	default:
		return nil, at, fmt.Errorf("make logger: format %q is neither json nor console", format)
	}
	out = zapcore.Lock(out)
	return zap.New(zapcore.NewCore(encoder, out, at), zap.ErrorOutput(out)), at, nil
}
