package batcher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/wire"
)

// Metrics counts what all batchers of a process do.
type Metrics struct {
	committedEvents    prometheus.Counter
	committedRows      prometheus.Counter
	retries            *prometheus.CounterVec
	deadLetters        *prometheus.CounterVec
	splits             prometheus.Counter
	separations        prometheus.Counter
	transactionBatches prometheus.Histogram
	circuitOpen        prometheus.Gauge
	circuitTrips       prometheus.Counter
	batchRows          prometheus.Histogram
	batchBytes         prometheus.Histogram
	commitSeconds      prometheus.Histogram
	position           *prometheus.GaugeVec
	queuedEvents       *prometheus.GaugeVec
	queuedBytes        *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "persistd", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "persistd", Name: name, Help: help}
	}
	m := &Metrics{
		committedEvents: prometheus.NewCounter(counter("events_committed_total", "Events whose transaction committed in MySQL, poison ones that a dead letter was kept of included.")),
		committedRows:   prometheus.NewCounter(counter("rows_committed_total", "Rows written to MySQL by committed batches.")),
		retries:         prometheus.NewCounterVec(counter("retries_total", "Attempts to commit, or to keep a dead letter, that are made again, by the class of the failure."), []string{"class"}),
		deadLetters:     prometheus.NewCounterVec(counter("events_dead_lettered_total", "Events that can never be applied and were kept as dead letters, by the code of the reason."), []string{"code"}),
		splits:          prometheus.NewCounter(counter("batch_splits_total", "Batches halved because the database refused one of their events for good.")),
		separations:     prometheus.NewCounter(counter("batch_separations_total", "Transactions of several partitions' batches that failed, after which each batch was committed alone.")),
		transactionBatches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "persistd", Name: "transaction_batches", Help: "Batches, each of another partition, that a committed transaction had.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		circuitOpen:  prometheus.NewGauge(gauge("poison_circuit_open", "Whether nearly every event is poison, so that no dead letters are written and partitions wait at it: 1 or 0.")),
		circuitTrips: prometheus.NewCounter(counter("poison_circuit_trips_total", "How often nearly every event was found to be poison.")),
		batchRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "persistd", Name: "batch_rows", Help: "Rows of a committed batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 14),
		}),
		batchBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "persistd", Name: "batch_bytes", Help: "Bytes of the events of a committed batch.", Buckets: prometheus.ExponentialBuckets(256, 4, 10),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "persistd", Name: "batch_commit_duration_seconds", Help: "Time from the first attempt to commit a batch until it was committed, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17),
		}),
		position:     prometheus.NewGaugeVec(gauge("partition_position", "Log sequence up to which the partition is in MySQL, as its owner committed it last."), []string{"partition"}),
		queuedEvents: prometheus.NewGaugeVec(gauge("queue_events", "Events of the partition that are read from the log and not committed."), []string{"partition"}),
		queuedBytes:  prometheus.NewGaugeVec(gauge("queue_bytes", "Bytes of the events of the partition that are read from the log and not committed."), []string{"partition"}),
	}
	reg.MustRegister(m.committedEvents, m.committedRows, m.retries, m.deadLetters, m.splits, m.separations, m.transactionBatches, m.circuitOpen, m.circuitTrips, m.batchRows, m.batchBytes,
		m.commitSeconds, m.position, m.queuedEvents, m.queuedBytes)
	// A counter that exists at 0 can be alerted on: the first event of its kind is then an increase.
	for _, c := range []Class{Again, Operator} {
		m.retries.WithLabelValues(c.String())
	}
	for _, code := range wire.Codes() {
		m.deadLetters.WithLabelValues(code)
	}
	return m
}
