package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// dlqCmd is what can be done with dead letters, the events that could never be applied; docs/deadletters.md tells when to do what.
type dlqCmd struct {
	Ls    dlqListCmd  `cmd:"" help:"List dead letters, and why they are dead."`
	Show  dlqShowCmd  `cmd:"" help:"Show one, with the event's headers, and with its body if that is asked for."`
	Retry dlqRetryCmd `cmd:"" help:"Apply events again, at their old place in the log: what is newer stays. What is applied has no letter any more; what is refused keeps it, with the new reason."`
	Edit  dlqEditCmd  `cmd:"" help:"Mend the body of one, in $EDITOR or from a file, and apply it."`
	Drop  dlqDropCmd  `cmd:"" help:"Remove letters, and their events with them."`
}

// dlqFlags say where the letters are.
type dlqFlags struct {
	natsFlags `embed:""`
	Stream    string `name:"stream-name" default:"PERSISTD" help:"Name of the log's stream."`
}

func (f *dlqFlags) open(ctx context.Context) (*letterFile, error) {
	return openLetters(ctx, f.NATS, stream.Config{Name: f.Stream, Subjects: wire.Subjects{Prefix: f.Prefix}})
}

// letterFile is the dead letters, and the connection to them.
type letterFile struct {
	*stream.Letters
	subjects wire.Subjects
	close    func()
}

func openLetters(ctx context.Context, n config.NATS, cfg stream.Config) (*letterFile, error) {
	nc, err := connectNATS(n, "persistd dlq", zap.NewNop())
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	letters, err := stream.OpenLetters(ctx, js, cfg)
	if err != nil {
		nc.Close()
		return nil, err //nolint:wrapcheck // it says what was not found.
	}
	return &letterFile{letters, cfg.WithDefaults().Subjects, nc.Close}, nil
}

// dlqFilter says which letters.
type dlqFilter struct {
	Sequences []uint64 `arg:"" optional:"" name:"sequence" help:"Sequences of the events in the log. Of several logs' letters with one sequence the newest log's is meant."`
	Run       string   `help:"Only letters of this run's events."`
	Code      string   `help:"Only letters with this code, e.g. refused_by_db."`
	Partition int      `default:"-1" help:"Only letters of this partition. Below zero is all."`
	Since     moment   `help:"Only letters kept since: a time, or how long ago, like 24h."`
}

// names reports whether f says anything.
func (f *dlqFilter) names() bool {
	return len(f.Sequences) > 0 || f.Run != "" || f.Code != "" || f.Partition >= 0 || !f.Since.IsZero()
}

// choose are those of all letters that f means, in the order of the log.
func (f *dlqFilter) choose(all []*stream.Letter) ([]*stream.Letter, error) {
	newest := map[uint64]*stream.Letter{}
	for _, x := range all {
		if old := newest[x.Sequence]; old == nil || x.StreamCreated.After(old.StreamCreated) {
			newest[x.Sequence] = x
		}
	}
	for _, seq := range f.Sequences {
		if newest[seq] == nil {
			return nil, fmt.Errorf("event %d has no dead letter (see persistd dlq ls)", seq)
		}
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(x *stream.Letter) bool {
		return len(f.Sequences) > 0 && (!slices.Contains(f.Sequences, x.Sequence) || newest[x.Sequence] != x) ||
			f.Run != "" && tokenOf(x) != wire.Token(f.Run) || f.Code != "" && x.Poison.Code != f.Code ||
			f.Partition >= 0 && x.Partition != f.Partition || x.Kept.Before(f.Since.Time)
	})
	sortLetters(chosen)
	return chosen, nil
}

func sortLetters(list []*stream.Letter) {
	slices.SortFunc(list, func(a, b *stream.Letter) int {
		if d := a.StreamCreated.Compare(b.StreamCreated); d != 0 {
			return d
		}
		return int(int64(a.Sequence) - int64(b.Sequence)) //nolint:gosec // sequences are far from the end.
	})
}

// errWhich is what a command is told that would change letters, and does not know which.
var errWhich = errors.New("say which letters: their sequences, or --run, --code, --partition or --since, or --all")

// tokenOf is the last token of the event's subject.
func tokenOf(x *stream.Letter) string {
	for i := len(x.Subject) - 1; i >= 0; i-- {
		if x.Subject[i] == '.' {
			return x.Subject[i+1:]
		}
	}
	return x.Subject
}

// idOf is the id that the event's subject names: a run's, or a named checkpoint's. What does not name one is shown as it is.
func idOf(x *stream.Letter) string {
	token := tokenOf(x)
	if id, err := wire.DecodeToken(token); err == nil {
		return id
	}
	return token
}
