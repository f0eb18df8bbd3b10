package partition

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what the sets of a process count.
type Metrics struct {
	acquisitions prometheus.Counter
	handovers    *prometheus.CounterVec // by reason
	losses       *prometheus.CounterVec // by reason
	share        prometheus.Gauge
	replicas     prometheus.Gauge
}

// The reasons of handovers and losses.
const (
	forBalance = "balance"
	forStop    = "stop"
	leaseLost  = "lease"
	moved      = "position"
	failed     = "error"
)

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		acquisitions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "persistd_partition_acquisitions_total", Help: "Terms that this replica began: partitions it became the owner of.",
		}),
		handovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_partition_handovers_total",
			Help: "Terms that this replica ended with everything committed that it had read, by reason: balance for another replica's share, stop for its own end.",
		}, []string{"reason"}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_partition_losses_total",
			Help: "Terms that ended otherwise, by reason: lease when another replica took it, position when that was not where it was left, error when the log could not be read or work was cut short.",
		}, []string{"reason"}),
		share: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "persistd_partition_share", Help: "Partitions that this replica is to have, as far as it can see.",
		}),
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "persistd_replicas", Help: "Replicas that share in the partitions, as this one last saw it.",
		}),
	}
	for _, reason := range []string{forBalance, forStop} {
		m.handovers.WithLabelValues(reason)
	}
	for _, reason := range []string{leaseLost, moved, failed} {
		m.losses.WithLabelValues(reason)
	}
	reg.MustRegister(m.acquisitions, m.handovers, m.losses, m.share, m.replicas)
	return m
}
