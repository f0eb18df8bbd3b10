package mysqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/persistd/persistd/internal/batcher"
)

type metrics struct {
	reg        prometheus.Registerer
	registered []prometheus.Collector
	errors     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{
		reg: reg,
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persistd_database_errors_total",
			Help: "Errors of the database by what they mean for a batch and by the database's error number, 0 for a broken connection.",
		}, []string{"class", "number"}),
	}
	all := []prometheus.Collector{m.errors}
	for name, db := range map[string]*sql.DB{"writers": s.writers, "joints": s.joints, "readers": s.readers, "leases": s.leases} {
		all = append(all, collectors.NewDBStatsCollector(db, name))
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.reg.Unregister(c)
	}
}

func (m *metrics) failed(err error) {
	if e, ok := errors.AsType[*batcher.Error](err); ok {
		m.errors.WithLabelValues(e.Class.String(), strconv.Itoa(int(e.Number))).Inc()
	}
}
