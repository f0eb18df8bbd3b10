package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/stream"
)

// letterbox shows how full the stream of the dead letters is. Only watch looks.
type letterbox struct {
	log                       *zap.Logger
	messages, bytes, maxBytes prometheus.Gauge
	warned                    bool
}

func newLetterbox(reg prometheus.Registerer, log *zap.Logger) *letterbox {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "persistd", Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	return &letterbox{
		log:      log,
		messages: gauge("dead_letters", "Messages in the stream of the dead letters: the letters, and further parts of large ones."),
		bytes:    gauge("dead_letters_bytes", "Bytes in the stream of the dead letters."),
		maxBytes: gauge("dead_letters_max_bytes", "Bytes that the stream of the dead letters may hold; when it is full, partitions wait at their poison."),
	}
}

// watch looks now and then, until ctx ends.
func (b *letterbox) watch(ctx context.Context, letters *stream.DeadLetters) {
	for {
		b.look(ctx, letters)
		select {
		case <-time.After(watchLogEvery):
		case <-ctx.Done():
			return
		}
	}
}

// look asks and shows; an answer that does not come leaves what was shown.
func (b *letterbox) look(ctx context.Context, letters *stream.DeadLetters) {
	fill, err := letters.Fill(ctx)
	if err != nil {
		return // the log's own check says when the server is away
	}
	b.messages.Set(float64(fill.Messages))
	b.bytes.Set(float64(fill.Bytes))
	b.maxBytes.Set(float64(fill.MaxBytes))
	full := nearlyFull(fill.Bytes, fill.MaxBytes)
	if full && !b.warned {
		b.log.Warn("stream of dead letters is nearly full", zap.Uint64("bytes", fill.Bytes), zap.Uint64("max_bytes", fill.MaxBytes),
			zap.Uint64("messages", fill.Messages), zap.String("hint", "partitions will wait at their poison: persistd dlq ls, and retry or drop; or raise poison.max_bytes"))
	}
	b.warned = full
}

// nearlyFull is from 80 % on.
func nearlyFull(bytes, most uint64) bool { return most > 0 && bytes >= most/5*4 }

// circuitConfig is how the configuration bounds poison.
func circuitConfig(c config.Poison, batching batcher.Config) batcher.CircuitConfig {
	return batcher.CircuitConfig{Off: c.Circuit == "off", Probe: c.Probe, Window: max(4000, 4*batching.MaxRows)}.WithDefaults()
}
