package relay

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events, failures prometheus.Counter
	oldest           prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "persistd", Subsystem: "relay", Name: "events_total", Help: "Outbox events that this replica published and marked as emitted.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "persistd", Subsystem: "relay", Name: "failures_total", Help: "Rounds in which the relay could not claim, publish or mark; it tries again.",
		}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "persistd", Subsystem: "relay", Name: "oldest_event_seconds",
			Help: "Age of the oldest outbox event that this replica last claimed, or that nobody takes; 0 when there was none.",
		}),
	}
	return m, errors.Join(reg.Register(m.events), reg.Register(m.failures), reg.Register(m.oldest))
}
