package ingest

import (
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/wire"
)

type metrics struct {
	events *prometheus.CounterVec
	bytes  *prometheus.CounterVec
	poison *prometheus.CounterVec
	resets *prometheus.CounterVec
	shared prometheus.Gauge
	failed prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_ingest_events_total",
			Help: "The number of events received from the log, by partition; a transaction in parts is one. An event that is read again after a restart counts again.",
		}, []string{"partition"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_ingest_bytes_total",
			Help: "The bytes of the bodies received from the log, as they were published, by partition.",
		}, []string{"partition"}),
		poison: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_ingest_poison_total",
			Help: "The number of events received that can never be applied, by the code of the reason.",
		}, []string{"code"}),
		resets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_ingest_resets_total",
			Help: "The number of times a partition's reader had to start again after the event delivered last, by partition.",
		}, []string{"partition"}),
		shared: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "persistd_ingest_shared",
			Help: "1 while all partitions are read through one consumer, to catch up with a backlog; else 0.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "persistd_ingest_shared_failures_total",
			Help: "The number of times the consumer of all partitions failed, and each was read through its own again after the event delivered last.",
		}),
	}
	for _, c := range []prometheus.Collector{m.events, m.bytes, m.poison, m.resets, m.shared, m.failed} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register reader metrics: %w", err)
		}
	}
	return m, nil
}

// partitionMetrics are a partition's own counters, looked up once.
type partitionMetrics struct {
	events, bytes, resets prometheus.Counter
	poison                *prometheus.CounterVec
}

func (m *metrics) of(partition int) partitionMetrics {
	p := strconv.Itoa(partition)
	return partitionMetrics{events: m.events.WithLabelValues(p), bytes: m.bytes.WithLabelValues(p), resets: m.resets.WithLabelValues(p), poison: m.poison}
}

func (p partitionMetrics) received(ev *wire.Event) {
	p.events.Inc()
	if ev.Parts == nil {
		p.bytes.Add(float64(len(ev.Message.Body)))
	}
	for i := range ev.Parts {
		p.bytes.Add(float64(len(ev.Parts[i].Body)))
	}
	if ev.Poison != nil {
		p.poison.WithLabelValues(ev.Poison.Code).Inc()
	}
}
