package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// marksBytes holds many times what the marks of the most partitions take, about 150 KiB; leastMarksBytes is some times that, for an account that
// has no more.
const (
	marksBytes      = 8 << 20
	leastMarksBytes = 1 << 20
)

// ErrForeign says that the log belongs to another database.
var ErrForeign = errors.New("log belongs to another database")

// errNoRoomForMarks is that all that may be stored is reserved by streams, the log first of all.
var errNoRoomForMarks = errors.New("all storage of the account is reserved by other streams")

// Mark is what the log knows of a partition beyond its events: what was removed from it, and how far a database had got.
type Mark struct {
	// Created is when the log was made that the sequences are of.
	Created time.Time `json:"stream_created"`
	// Reached is the highest position that a database was seen to have, about once a minute. A lower one has gone back.
	Reached wire.Place `json:"reached"`
	// Trimmed is the last event that was removed, written before it is. A database whose position is lower lacks events that the log
	// holds no more.
	Trimmed wire.Place `json:"trimmed"`
	// Last is the log's last sequence, of whichever partition, at the time At by the writer's clock.
	Last uint64    `json:"log_last"`
	At   time.Time `json:"at"`
	// Before is what was known of the logs of that name that were deleted, the latest last.
	Before []Former `json:"before,omitempty"`

	seq uint64 // of the mark's own message
}

// Former is what a mark keeps of a log that was deleted.
type Former struct {
	Created time.Time  `json:"stream_created"`
	Reached wire.Place `json:"reached"`
	Last    uint64     `json:"log_last"`
}

// mostFormer is how many deleted logs a mark remembers.
const mostFormer = 8

// Logs are the logs that the mark knows of, but for the one made at present.
func (m *Mark) Logs(present time.Time) []Former {
	if m.Created.IsZero() || m.Created.Equal(present) {
		return m.Before
	}
	return append(slices.Clip(m.Before), Former{Created: m.Created, Reached: m.Reached, Last: m.Last})
}

// of is the mark as one of the log made at created.
func (m *Mark) of(created time.Time) Mark {
	if m.Created.Equal(created) {
		return *m
	}
	before := m.Logs(created)
	return Mark{Created: created, Before: before[max(0, len(before)-mostFormer):], seq: m.seq}
}

// Owner is the database that the log belongs to.
type Owner struct {
	// Database is its id.
	Database string `json:"database"`
	// Created is when the log was made that it claimed.
	Created time.Time `json:"stream_created"`
	// By is the instance that claimed the log, at At by its clock.
	By string    `json:"by"`
	At time.Time `json:"at"`

	seq uint64
}

// Marks are kept in a stream beside the log, the newest of each. Each is written only over the one that was read, so that of two who
// write one learns it. Its methods may be called concurrently.
//
// They are as durable as the log is: what a power cut takes of the log without sync_interval: always it may take of them.
type Marks struct {
	js       jetstream.JetStream
	name     string
	created  time.Time // of the log
	subjects wire.Subjects
	get      getter
	timeout  time.Duration
	log      *zap.Logger
	// claimed is the database that this process claimed the log for; nil before [Marks.Claim].
	claimed atomic.Pointer[string]
}

// makeMarks finds or makes the stream of the marks.
func (e *ensurer) makeMarks(ctx context.Context) error {
	name, subjects := marksName(e.cfg), []string{e.cfg.Subjects.Marks()}
	want := e.kept(name, "What the log of persistd knows of itself: whose it is, and what was removed from it", subjects)
	want.Duplicates = e.cfg.DuplicateWindow
	want.MaxMsgsPerSubject = 1 // a new mark takes the place of the one before
	info, err := e.findOrCreate(ctx, want, sizing{most: marksBytes, least: leastMarksBytes})
	if noRoom(err) {
		return hinted("make stream "+name, errNoRoomForMarks, fmt.Sprintf("it needs %d MiB: raise the account's max_storage or the server's"+
			" max_file_store, or give up some of what another stream has reserved and does not use: nats stream edit %s --max-bytes=…", leastMarksBytes>>20, e.cfg.Name))
	}
	if err != nil {
		return err
	}
	c := &checker{cfg: e.cfg, found: info.Config}
	c.cfg.Name = name
	c.marks()
	if len(c.list) > 0 {
		return &ConfigError{Stream: name, Violations: c.list}
	}
	_, err = e.raise(ctx, info, subjects, 0) // its size is as it could be had
	return err
}

func marksName(cfg Config) string { return cfg.Name + "_MARKS" }

func (e *ensurer) openMarks(created time.Time) *Marks {
	name := marksName(e.cfg)
	return &Marks{
		js: e.js, name: name, created: created, subjects: e.cfg.Subjects, timeout: e.cfg.RequestTimeout,
		get: newGetter(e.js, name, e.cfg.RequestTimeout), log: e.log.With(zap.String("name", name)),
	}
}

// Name is the stream's name.
func (m *Marks) Name() string { return m.name }

// Partition is the mark of a partition; the zero Mark when there is none. One whose Created is not the log's is of the log before.
func (m *Marks) Partition(ctx context.Context, partition int) (mark Mark, err error) {
	mark.seq, err = m.read(ctx, m.subjects.MarkPartition(partition), &mark)
	if err != nil {
		return Mark{}, fmt.Errorf("read mark of partition %d: %w", partition, err)
	}
	return mark, nil
}

// Owner is the database that the log belongs to; the zero Owner when it is nobody's. One whose Created is not the log's claimed the log before.
func (m *Marks) Owner(ctx context.Context) (owner Owner, err error) {
	owner.seq, err = m.read(ctx, m.subjects.MarkDatabase(), &owner)
	if err != nil {
		return Owner{}, fmt.Errorf("read whose the log is: %w", err)
	}
	return owner, nil
}

// Claim makes the log this database's, if it is nobody's: whose the log before was does not matter, unless this one is a copy of it. Of several databases that claim it at once one gets it; the others, and whoever
// comes later, get an error that wraps [ErrForeign] and names both. It is idempotent.
func (m *Marks) Claim(ctx context.Context, database, by string, copied bool) error {
	for range 3 { // one who was faster makes the second round; a third is for the server
		owner, err := m.Owner(ctx)
		if err != nil {
			return err
		}
		switch present := owner.Created.Equal(m.created); {
		case present && owner.Database == database:
			m.claimed.Store(&database)
			return nil
		case (present || copied) && owner.Database != "" && owner.Database != database:
			return m.foreign(database, owner)
		}
		err = m.write(ctx, m.subjects.MarkDatabase(), owner.seq, Owner{Database: database, Created: m.created, By: by, At: time.Now().UTC()})
		if err != nil && !wrongLastSequence(err) {
			return fmt.Errorf("claim the log: %w", err)
		}
	}
	return errors.New("claim the log: somebody else claims it, again and again")
}

func (m *Marks) foreign(database string, owner Owner) error {
	return fmt.Errorf("%w: it is of database %s (claimed by %q at %s), this one is %s", ErrForeign, owner.Database, owner.By,
		owner.At.Format(time.RFC3339), database)
}

// Take makes the log this database's, whosever it was.
func (m *Marks) Take(ctx context.Context, database, by string) error {
	owner, err := m.Owner(ctx)
	if err != nil {
		return err
	}
	err = m.write(ctx, m.subjects.MarkDatabase(), owner.seq, Owner{Database: database, Created: m.created, By: by, At: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("take the log: %w", err)
	}
	return nil
}

// Ours returns an error that wraps [ErrForeign] when another database has taken the log since it was claimed.
func (m *Marks) Ours(ctx context.Context) error {
	database := m.claimed.Load()
	if database == nil {
		return nil
	}
	owner, err := m.Owner(ctx)
	if err != nil {
		return err
	}
	if owner.Created.Equal(m.created) && owner.Database != *database { // a mark that was removed says nothing
		return m.foreign(*database, owner)
	}
	return nil
}

// advance raises the mark of a partition. It never lowers one: a restored database, or a trim that was overtaken, is behind. When it returns nil
// the mark is stored.
func (m *Marks) advance(ctx context.Context, partition int, reached, trimmed wire.Place, last uint64) error {
	if err := m.Ours(ctx); err != nil {
		return err
	}
	was, err := m.Partition(ctx, partition)
	if err != nil {
		return err
	}
	mark := was.of(m.created)
	raise(&mark.Reached, reached)
	raise(&mark.Trimmed, trimmed)
	mark.Last = max(mark.Last, last)
	if mark.Created.Equal(was.Created) && mark.Reached == was.Reached && mark.Trimmed == was.Trimmed && mark.Last == was.Last {
		return nil
	}
	return m.put(ctx, partition, mark)
}

// raise sets p to at when that is further.
func raise(p *wire.Place, at wire.Place) {
	if at.Sequence > p.Sequence {
		*p = at
	}
}

// Rewind sets the mark of a partition to a position of a log that lost its end, or of a copy: what was reached or removed beyond it is no more.
func (m *Marks) Rewind(ctx context.Context, partition int, to wire.Place) error {
	mark, err := m.Partition(ctx, partition)
	if err != nil || mark.Created.IsZero() {
		return err
	}
	mark.Created, mark.Reached, mark.Last = m.created, to, 0 // of a copy it is the same log under another time
	if mark.Trimmed.Sequence > to.Sequence {
		mark.Trimmed = to
	}
	return m.put(ctx, partition, mark)
}

func (m *Marks) put(ctx context.Context, partition int, mark Mark) error {
	mark.At = time.Now().UTC()
	if err := m.write(ctx, m.subjects.MarkPartition(partition), mark.seq, mark); err != nil {
		return fmt.Errorf("mark partition %d: %w", partition, err)
	}
	return nil
}

// read decodes the newest message of subject into v and returns its sequence, 0 when there is none.
func (m *Marks) read(ctx context.Context, subject string, v any) (uint64, error) {
	msg, err := m.get.last(ctx, subject)
	var api *jetstream.APIError
	switch {
	case errors.Is(err, errNotFound), errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return 0, nil
	case err != nil:
		return 0, err
	}
	if err := json.Unmarshal(msg.Body, v); err != nil {
		return 0, fmt.Errorf("decode message %d of stream %s: %w", msg.Sequence, m.name, err)
	}
	return msg.Sequence, nil
}

// write stores v under subject, if the newest message there is the one of sequence after.
func (m *Marks) write(ctx context.Context, subject string, after uint64, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	msg := nats.NewMsg(subject)
	msg.Data = body
	_, err = m.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(m.name), jetstream.WithExpectLastSequencePerSubject(after), jetstream.WithRetryAttempts(0))
	return err //nolint:wrapcheck // the caller says what was written.
}
