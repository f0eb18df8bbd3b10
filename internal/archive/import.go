package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// Options say how an archive is imported.
type Options struct {
	// Rename is the name that a run or a named checkpoint gets; nil keeps it.
	Rename func(id string) string
	// Replace overwrites what is there with other content. Without it that is an error, before anything of its batch is written.
	Replace bool
	// KeepKeys saves V2 checkpoints under their idempotency keys. They are global: a copy beside the original can not have them.
	KeepKeys bool
}

// Read is what was imported.
type Read struct {
	Runs int
	// Written records were saved; Same were there already; Older are steps of an older attempt than the run's, which are left out: without
	// their attempt they would be taken for its latest.
	Written, Same, Older int
}

const (
	// longestLine holds the largest V2 checkpoint: three times the largest body, escaped at its worst.
	longestLine = 64 << 20
	// A transaction of an import has so many records, or so many bytes of them, at most.
	batchRecords = 200
	batchBytes   = 512 << 10
)

// Import saves what r holds, by way of the log. It may be ended and begun again: what is there with the same content is not written anew. An
// error names the line; what came before it may be imported or not. st must have been opened with [Codec].
func Import(ctx context.Context, st client.Store[json.RawMessage], r io.Reader, o Options) (Read, error) {
	if o.Rename == nil {
		o.Rename = func(id string) string { return id }
	}
	m := &importer{st: st, options: o}
	defer m.leave()
	lines := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := nextLine(lines)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		m.line++
		if err == nil || errors.Is(err, io.EOF) {
			err = m.take(ctx, line)
		}
		if err != nil {
			return m.read, fmt.Errorf("line %d: %w", m.line, err)
		}
	}
	switch {
	case m.line == 0:
		return m.read, errors.New("archive is empty")
	case !m.ended:
		return m.read, fmt.Errorf("archive is cut off after line %d: it has no end record", m.line)
	}
	return m.read, nil
}

// importer is one import at work.
type importer struct {
	st      client.Store[json.RawMessage]
	options Options
	read    Read
	line    int
	headed  bool
	ended   bool
	records int

	current *run // nil between runs
	target  *existing
	batch   []func(tx client.Tx[json.RawMessage]) error
	size    int
}

// take takes a line.
func (m *importer) take(ctx context.Context, line []byte) error {
	var kind struct {
		Record string `json:"record"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return fmt.Errorf("is no JSON object: %w", err)
	}
	switch {
	case m.ended:
		return errors.New("there is something after the end record")
	case !m.headed && kind.Record != kindArchive:
		return fmt.Errorf("is a record %q; an archive begins with a record %q", kind.Record, kindArchive)
	}
	switch kind.Record {
	case kindArchive:
		return m.head(line)
	case kindRun:
		return m.begin(ctx, line)
	case kindStep:
		return m.step(ctx, line)
	case kindCheckpointV2:
		return m.checkpointV2(ctx, line)
	case kindCheckpoint:
		return m.checkpoint(ctx, line)
	case kindEnd:
		return m.end(ctx, line)
	default:
		return fmt.Errorf("record %q is unknown: the archive may be of a newer version", kind.Record)
	}
}

func (m *importer) head(line []byte) error {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	switch {
	case m.headed:
		return errors.New("is a second header")
	case h.Format != Format:
		return fmt.Errorf("format is %q, not %q", h.Format, Format)
	case h.Version != Version:
		return fmt.Errorf("version is %d, this persistd reads %d", h.Version, Version)
	}
	m.headed = true
	return nil
}

func (m *importer) begin(ctx context.Context, line []byte) error {
	var r run
	if err := decodeStrictly(line, &r); err != nil {
		return fmt.Errorf("read run: %w", err)
	}
	if err := m.finish(ctx); err != nil {
		return err
	}
	id := m.options.Rename(r.RunID)
	if err := wire.CheckID(id); err != nil {
		return fmt.Errorf("run %w", err)
	}
	m.current, m.target = &r, newExisting(ctx, m.st, id)
	m.read.Runs++
	return nil
}

func (m *importer) step(ctx context.Context, line []byte) error {
	var s step
	if err := decodeStrictly(line, &s); err != nil {
		return fmt.Errorf("read step: %w", err)
	}
	m.records++
	switch {
	case m.current == nil:
		return errors.New("is a step without a run before it")
	case m.current.Attempt > 0 && m.current.LastStep != nil && s.Step > *m.current.LastStep:
		m.read.Older++
		return nil
	}
	there, same, err := m.target.step(&s)
	if err != nil {
		return fmt.Errorf("step %d: %w", s.Step, err)
	}
	return m.save(ctx, there, same, len(line), fmt.Sprintf("step %d of run %q", s.Step, m.target.id), func(tx client.Tx[json.RawMessage]) error {
		return tx.SaveStep(m.target.id, s.Step, s.NodeID, s.State)
	})
}

// save adds a record to the batch, unless it is there.
func (m *importer) save(ctx context.Context, there, same bool, size int, what string, write func(client.Tx[json.RawMessage]) error) error {
	switch {
	case same:
		m.read.Same++
		return nil
	case there && !m.options.Replace:
		return fmt.Errorf("%s is there with other content: --replace overwrites it, --into-prefix or --rename imports under another name", what)
	}
	if m.size+size > batchBytes {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	m.batch, m.size = append(m.batch, write), m.size+size
	if len(m.batch) >= batchRecords {
		return m.flush(ctx)
	}
	return nil
}

// flush writes the batch, as one transaction.
func (m *importer) flush(ctx context.Context) error {
	if len(m.batch) == 0 {
		return nil
	}
	err := m.st.WithTransaction(ctx, func(tx client.Tx[json.RawMessage]) error {
		for _, write := range m.batch {
			if err := write(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, client.ErrStaleAttempt) {
		err = fmt.Errorf("%w (the run has attempts here, and an archive none: import it under another name)", err)
	}
	if err != nil {
		return fmt.Errorf("save the %d records up to here: %w", len(m.batch), err)
	}
	m.read.Written += len(m.batch)
	m.batch, m.size = m.batch[:0], 0
	return nil
}

// finish ends the current run, if there is one.
func (m *importer) finish(ctx context.Context) error {
	err := m.flush(ctx)
	m.leave()
	return err
}

func (m *importer) leave() {
	if m.target != nil {
		m.target.close()
	}
	m.current, m.target = nil, nil
}

func (m *importer) end(ctx context.Context, line []byte) error {
	var e end
	if err := decodeStrictly(line, &e); err != nil {
		return fmt.Errorf("read end: %w", err)
	}
	if err := m.finish(ctx); err != nil {
		return err
	}
	if e.Runs != m.read.Runs || e.Records != m.records {
		return fmt.Errorf("archive has %d runs and %d records, and says that it had %d and %d: lines are missing", m.read.Runs, m.records, e.Runs, e.Records)
	}
	m.ended = true
	return nil
}
