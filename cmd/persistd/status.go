package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// statusTimeout bounds what a replica asks others to make its status: `persistd status` waits a second for it, also while the
// database hangs.
const statusTimeout = 600 * time.Millisecond

// status is what this replica says of itself. What does not answer in time is left out, but for what is remembered here.
func (d *daemon) status(ctx context.Context) wire.Status {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	window := d.cfg.Stream.ReplayWindow.Seconds()
	st := wire.Status{
		Instance: d.cfg.Instance, Version: version, StartedAt: d.started.UTC(),
		Stream: d.stream.Name(), Created: d.stream.Created(), ReplayWindowSeconds: &window,
	}
	var asked sync.WaitGroup // each ends with ctx
	checks := d.readyChecks()
	failed := make([]error, len(checks))
	for i, c := range checks {
		asked.Go(func() { failed[i] = c.Check(ctx) })
	}
	asked.Go(func() {
		if info, err := d.stream.Info(ctx); err == nil {
			st.LastSeq, st.LogBytes, st.MaxBytes = info.Last, info.Bytes, info.MaxBytes
		}
	})
	asked.Go(func() {
		if fill, err := d.stream.DeadLetters().Fill(ctx); err == nil {
			st.DeadLetters, st.DeadLetterBytes, st.DeadLetterMaxBytes = fill.Messages, fill.Bytes, fill.MaxBytes
		}
	})
	var rows []mysqlstore.PartitionRow
	asked.Go(func() { rows, _ = d.store.Positions(ctx) }) // why not is the database check's to say
	asked.Wait()

	for i, err := range failed {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer for %s", statusTimeout)
		}
		if err != nil {
			st.NotReady = append(st.NotReady, checks[i].Name+": "+err.Error())
		}
	}
	st.Ready = len(st.NotReady) == 0
	st.Partitions = d.partitions(rows)
	for name, r := range d.set.Sharing().Replicas {
		st.Replicas = append(st.Replicas, wire.ReplicaShare{Instance: name, Share: r.Share, Has: r.Has})
	}
	slices.SortFunc(st.Replicas, func(a, b wire.ReplicaShare) int { return cmp.Compare(a.Instance, b.Instance) })
	return st
}

// partitions are the rows in MySQL, in so far as they could be read, with what this replica knows of those that it owns.
func (d *daemon) partitions(rows []mysqlstore.PartitionRow) []wire.PartitionStatus {
	mine := d.set.Status()
	all := make([]wire.PartitionStatus, len(mine))
	for p, m := range mine {
		s := &all[p]
		s.Partition, s.Position = p, max(m.Position, d.tracker.Bound(p))
		s.State, s.Since = string(m.State), m.Since.UTC().Format(time.RFC3339)
		s.Phase, s.LagEvents, s.LagSeconds = string(m.Phase.Name), lagOf(m), lagAge(m).Seconds()
		if m.State == partition.Applying {
			s.Owner, s.Epoch = d.cfg.Instance, m.Epoch
		}
		if err := errors.Join(m.Err, m.Phase.Err); err != nil {
			s.Error = err.Error()
		}
	}
	for _, r := range rows {
		if r.Partition < len(all) {
			s := &all[r.Partition]
			s.Owner, s.Epoch, s.Position = r.Owner, r.Epoch, r.Position
		}
	}
	return all
}

type statusCmd struct {
	natsFlags `embed:""`
	Wait      time.Duration `default:"1s" help:"How long to listen for replicas."`
	Output    string        `short:"o" enum:"table,json" default:"table" help:"table for people, json for machines."`
}

// Run implements the command.
func (cmd *statusCmd) Run(ctx context.Context, std std) error {
	nc, err := connectNATS(cmd.NATS, "persistd status", zap.NewNop())
	if err != nil {
		return err
	}
	defer nc.Close()
	replicas, err := askStatus(ctx, nc, wire.Subjects{Prefix: cmd.Prefix}, cmd.Wait)
	if err != nil {
		return err
	}
	if len(replicas) == 0 {
		return fmt.Errorf("no replica answered within %s on %s: is `persistd serve` running, on this server and with this prefix? One that still starts does not answer: see its /readyz?verbose", cmd.Wait, nc.ConnectedUrlRedacted())
	}
	if cmd.Output == "json" {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		return out.Encode(replicas) //nolint:wrapcheck // standard output's own words.
	}
	return printStatus(std, replicas)
}

// askStatus collects the answers of all replicas that come within wait.
func askStatus(ctx context.Context, nc *nats.Conn, subjects wire.Subjects, wait time.Duration) ([]wire.Status, error) {
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("listen for replicas: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection closes next.
	if err := nc.PublishRequest(subjects.Status(), inbox, nil); err != nil {
		return nil, fmt.Errorf("ask for status: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var replicas []wire.Status
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("listen for replicas: %w", err)
		}
		var st wire.Status
		if err := json.Unmarshal(m.Data, &st); err != nil {
			return nil, fmt.Errorf("decode status: %w", err)
		}
		replicas = append(replicas, st)
	}
	slices.SortFunc(replicas, func(a, b wire.Status) int { return a.StartedAt.Compare(b.StartedAt) })
	return replicas, nil
}

// statusWidth is how wide a column may get that says what is wrong: the table is to be read on a terminal.
const statusWidth = 60

func printStatus(std std, replicas []wire.Status) error {
	t := newTable("replica", "version", "up", "ready", "owns", "share")
	newest := replicas[0]
	shares := map[string]wire.ReplicaShare{} // of those that have not answered
	for _, r := range replicas {
		for _, other := range r.Replicas {
			shares[other.Instance] = other
		}
	}
	owners := map[int]wire.PartitionStatus{}
	for _, r := range replicas {
		owns := 0
		for _, p := range r.Partitions {
			if p.State == "applying" {
				owns++
				owners[p.Partition] = p
			}
		}
		ready := "yes"
		if !r.Ready {
			var lines []string
			for _, why := range r.NotReady {
				lines = append(lines, text.WrapSoft(why, statusWidth))
			}
			ready = strings.Join(lines, "\n")
		}
		share := ""
		if s, ok := shares[r.Instance]; ok {
			share = strconv.Itoa(s.Share)
		}
		delete(shares, r.Instance)
		t.AppendRow(table.Row{r.Instance, r.Version, time.Since(r.StartedAt).Round(time.Second), ready, owns, share})
		if r.LastSeq > newest.LastSeq {
			newest = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		t.AppendRow(table.Row{name, "", "", "no answer", shares[name].Has, shares[name].Share})
	}
	out := t.Render()
	out += fmt.Sprintf("\n\nlog %s: last sequence %d, %s of %s, %d dead letters", newest.Stream, newest.LastSeq,
		humanize.IBytes(newest.LogBytes), humanize.IBytes(newest.MaxBytes), newest.DeadLetters)
	if newest.DeadLetters > 0 {
		out += fmt.Sprintf(" (%s of %s", humanize.IBytes(newest.DeadLetterBytes), humanize.IBytes(newest.DeadLetterMaxBytes))
		if nearlyFull(newest.DeadLetterBytes, newest.DeadLetterMaxBytes) {
			out += ": nearly full"
		}
		out += "; see persistd dlq ls)"
	}
	out += "\n\n"
	t = newTable("partition", "owner", "epoch", "position", "lag events", "lag", "phase", "error")
	said := map[string]int{} // by which partition, of what is the same for many of them
	for _, p := range newest.Partitions {
		if o, ok := owners[p.Partition]; ok {
			p.Phase, p.LagEvents, p.LagSeconds, p.Error = o.Phase, o.LagEvents, o.LagSeconds, o.Error
		}
		if first, ok := said[p.Error]; ok && p.Error != "" {
			p.Error = fmt.Sprintf("as partition %d", first)
		} else {
			said[p.Error] = p.Partition
		}
		lag := time.Duration(p.LagSeconds * float64(time.Second)).Round(time.Millisecond)
		t.AppendRow(table.Row{p.Partition, p.Owner, p.Epoch, p.Position, p.LagEvents, lag, p.Phase, text.WrapSoft(p.Error, statusWidth)})
	}
	_, err := fmt.Fprintln(std.out, out+t.Render())
	return err //nolint:wrapcheck // standard output's own words.
}
