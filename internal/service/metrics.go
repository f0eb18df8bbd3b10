package service

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests    *prometheus.HistogramVec
	refused     *prometheus.CounterVec
	unannounced prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "persistd", Name: "request_duration_seconds", Help: "Time to answer a request on NATS, by verb and result; committed, watch and steps include their waits.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 17),
		}, []string{"verb", "result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "persistd", Name: "requests_refused_total", Help: "Requests on NATS that were not taken, by verb and status: 429 when too many wait for a commit, 503 when the replica is stopping.",
		}, []string{"verb", "status"}),
		unannounced: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "persistd", Name: "announcements_dropped_total", Help: "Positions, and changes of leases, that could not be announced because NATS was away; who waits for them asks the database.",
		}),
	}
	reg.MustRegister(m.requests, m.refused, m.unannounced)
	return m
}
