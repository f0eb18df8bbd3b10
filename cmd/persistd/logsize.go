package main

import (
	"fmt"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/stream"
)

// logFull is the error of a log that takes no further event of the largest size, which is at most largest bytes, nil while it does. One
// percent is taken for full, too: nobody should find out whether the last one fits.
func logFull(info stream.Info, largest uint64) error {
	free := info.MaxBytes - min(info.MaxBytes, info.Bytes)
	if info.MaxBytes == 0 || free >= max(largest, info.MaxBytes/100) {
		return nil
	}
	return fmt.Errorf("log is full: %s of %s; events are refused until it is trimmed (see whether commits go on; else raise stream.max_bytes, or shorten stream.replay_window)",
		humanize.IBytes(info.Bytes), humanize.IBytes(info.MaxBytes))
}

// largestEvent is how many bytes an event may have at most.
func (d *daemon) largestEvent() uint64 { return uint64(max(0, d.nc.MaxPayload())) }

// logSize is how much the log holds, as of the last look at it: of a server that is away, it is what was there.
type logSize struct{ last atomic.Pointer[stream.Info] }

var (
	logEvents   = prometheus.NewDesc("persistd_log_events", "Messages in the log, committed ones within the replay window included.", nil, nil)
	logBytes    = prometheus.NewDesc("persistd_log_bytes", "Bytes that the log takes of persistd_log_max_bytes.", nil, nil)
	logMaxBytes = prometheus.NewDesc("persistd_log_max_bytes", "Bytes that the log may take: beyond it, publishers are refused.", nil, nil)
)

// Describe implements prometheus.Collector.
func (*logSize) Describe(ch chan<- *prometheus.Desc) {
	ch <- logEvents
	ch <- logBytes
	ch <- logMaxBytes
}

// Collect implements prometheus.Collector.
func (l *logSize) Collect(ch chan<- prometheus.Metric) {
	info := l.last.Load()
	if info == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(logEvents, prometheus.GaugeValue, float64(info.Events))
	ch <- prometheus.MustNewConstMetric(logBytes, prometheus.GaugeValue, float64(info.Bytes))
	ch <- prometheus.MustNewConstMetric(logMaxBytes, prometheus.GaugeValue, float64(info.MaxBytes))
}
