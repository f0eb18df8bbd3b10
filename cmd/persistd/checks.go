package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/admin"
	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
)

// readyChecks are what a replica needs to answer reads, and what an operator has to mend. That another replica owns the partitions
// is no reason not to be ready.
func (d *daemon) readyChecks() []admin.Check {
	return []admin.Check{
		{Name: "started", Check: func(context.Context) error { return d.startedUp() }},
		{Name: "log", Check: d.whenStarted(func(ctx context.Context) error {
			_, err := d.stream.Info(ctx)
			return err
		})},
		{Name: "room", Check: d.whenStarted(func(ctx context.Context) error {
			info, err := d.stream.Info(ctx)
			if err != nil {
				return nil //nolint:nilerr // that is the log's check to say.
			}
			return logFull(info, d.largestEvent())
		})},
		{Name: "database", Check: d.whenStarted(func(ctx context.Context) error { return d.store.Answers(ctx) })},
		{Name: "restore", Check: d.whenStarted(func(context.Context) error { return d.recovery.restoring() })},
		{Name: "gaps", Check: d.whenStarted(func(context.Context) error { return d.recovery.gaps.check() })},
		{Name: "commits", Check: d.whenStarted(func(context.Context) error { return d.blocked() })},
	}
}

// startedUp is nil once everything runs, and says before that what is waited for.
func (d *daemon) startedUp() error {
	select {
	case <-d.ready:
		return nil
	default:
	}
	if r := d.waitingFor.Load(); r != nil {
		return fmt.Errorf("%s: %w", r.step, r.err)
	}
	return errors.New("starting")
}

func (d *daemon) whenStarted(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if d.startedUp() != nil {
			return errors.New("not started")
		}
		return check(ctx)
	}
}

// blocked says which partitions cannot go on until somebody does something.
func (d *daemon) blocked() error {
	var errs []error
	for _, p := range d.set.Status() {
		if p.State == partition.Applying && p.Phase.Name == batcher.Waiting && p.Phase.Class == batcher.Operator {
			errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, p.Phase.Err))
		}
	}
	return errors.Join(errs...)
}

// lag is how far the owned partitions are behind, looked up when it is asked for.
type lag struct{ d *daemon }

var (
	lagEvents = prometheus.NewDesc("persistd_lag_events", "Events of the owned partition that are in the log and not in MySQL.", []string{"partition"}, nil)
	lagTime   = prometheus.NewDesc("persistd_lag_seconds", "Age of the oldest event of the owned partition that was read from the log and is not in MySQL; 0 when there is none.", []string{"partition"}, nil)
	owned     = prometheus.NewDesc("persistd_partition_owned", "Whether this replica applies the partition: 1 or 0.", []string{"partition"}, nil)
)

// Describe implements prometheus.Collector.
func (l *lag) Describe(ch chan<- *prometheus.Desc) {
	ch <- lagEvents
	ch <- lagTime
	ch <- owned
}

// Collect implements prometheus.Collector.
func (l *lag) Collect(ch chan<- prometheus.Metric) {
	if l.d.startedUp() != nil {
		return
	}
	for _, p := range l.d.set.Status() {
		label := strconv.Itoa(p.Partition)
		if p.State != partition.Applying {
			ch <- prometheus.MustNewConstMetric(owned, prometheus.GaugeValue, 0, label)
			continue
		}
		ch <- prometheus.MustNewConstMetric(owned, prometheus.GaugeValue, 1, label)
		ch <- prometheus.MustNewConstMetric(lagEvents, prometheus.GaugeValue, float64(lagOf(p)), label)
		ch <- prometheus.MustNewConstMetric(lagTime, prometheus.GaugeValue, lagAge(p).Seconds(), label)
	}
}

func lagOf(p partition.Status) int64 { return p.Pending + int64(p.Queued) }

func lagAge(p partition.Status) time.Duration {
	if p.Oldest.IsZero() {
		return 0
	}
	return max(0, time.Since(p.Oldest))
}
