package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/persistd/persistd/internal/archive"
	"github.com/persistd/persistd/pkg/client"
)

// exportCmd writes an archive of runs.
type exportCmd struct {
	runsFlags   `embed:""`
	Runs        []string `name:"run" help:"Export this run; may be given again."`
	Match       *string  `name:"prefix" help:"Export the runs whose ids begin with this."`
	Since       moment   `help:"Export the runs that were saved since: a time, or how long ago, like 24h."`
	All         bool     `help:"Export every run."`
	Checkpoints []string `name:"checkpoint" help:"Export this named checkpoint, too; may be given again."`
	Out         string   `short:"o" name:"out" default:"-" help:"The file, compressed if its name ends in .zst; - is standard output."`
}

// Run implements the command.
func (cmd *exportCmd) Run(parent context.Context, std std) (err error) {
	what := archive.Selection{Runs: cmd.Runs, Checkpoints: cmd.Checkpoints}
	if cmd.All || cmd.Match != nil || !cmd.Since.IsZero() {
		what.Filter = &client.RunFilter{UpdatedSince: cmd.Since.Time}
		if cmd.Match != nil {
			what.Filter.Prefix = *cmd.Match
		}
	}
	switch {
	case cmd.All && (cmd.Match != nil || !cmd.Since.IsZero()):
		return errors.New("export: give --all, or --prefix and --since, not both")
	case len(what.Runs)+len(what.Checkpoints) == 0 && what.Filter == nil:
		return errors.New("export: say what: --run, --prefix, --since, --checkpoint or --all")
	}
	ctx, _, stop := signals(parent)
	defer stop()
	st, closeAll, err := cmd.open(ctx, client.WithCodec(archive.Codec{}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	var written archive.Written
	err = writeFile(cmd.Out, std.out, func(w io.Writer) (err error) {
		written, err = archive.Export(ctx, st, what, w)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "exported %d runs, %d records\n", written.Runs, written.Records)
	return nil
}

// writeFile has write fill the file at path, which is there whole or not at all; - is out. One whose name ends in .zst is compressed.
func writeFile(path string, out io.Writer, write func(io.Writer) error) (err error) {
	if path == "-" {
		return write(out)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := compressed(path, f, write); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("name file: %w", err)
	}
	return f.Close() //nolint:wrapcheck // it says which file.
}

func compressed(path string, f io.Writer, write func(io.Writer) error) error {
	if !strings.HasSuffix(path, ".zst") {
		return write(f)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return errors.Join(write(z), z.Close())
}

// importCmd saves the runs of an archive.
type importCmd struct {
	runsFlags  `embed:""`
	File       string            `arg:"" help:"The file; - is standard input. What is compressed, by zstd or gzip, is told by its content."`
	IntoPrefix string            `help:"Put this before the id of every run and named checkpoint."`
	Rename     map[string]string `help:"Give one run another id: old=new; may be given again."`
	Replace    bool              `help:"Overwrite what is there with other content."`
	KeepKeys   bool              `help:"Save V2 checkpoints under their idempotency keys, which nothing else may have used."`
}

// Run implements the command. What it has saved stays when it ends early, and it can be run again.
func (cmd *importCmd) Run(parent context.Context, std std) (err error) {
	ctx, _, stop := signals(parent)
	defer stop()
	var in io.Reader = os.Stdin
	if cmd.File != "-" {
		f, err := os.Open(cmd.File)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer f.Close() // it is only read
		in = f
	}
	in, done, err := decompressed(in)
	if err != nil {
		return fmt.Errorf("import %s: %w", cmd.File, err)
	}
	defer done()
	st, closeAll, err := cmd.open(ctx, client.WithCodec(archive.Codec{}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	read, err := archive.Import(ctx, st, in, archive.Options{Rename: cmd.rename, Replace: cmd.Replace, KeepKeys: cmd.KeepKeys})
	if err != nil {
		if read.Written > 0 {
			err = fmt.Errorf("%w (%d records were saved; the same command goes on from there)", err, read.Written)
		}
		return fmt.Errorf("import %s: %w", cmd.File, err)
	}
	_, err = fmt.Fprintf(std.out, "imported %d runs: %d records saved, %d were there, %d of older attempts left out\n",
		read.Runs, read.Written, read.Same, read.Older)
	return err //nolint:wrapcheck // standard output's own words.
}

// decompressed is what in holds, whatever its name is: compressed by zstd or gzip it begins as no JSON does. done gives back what that takes.
func decompressed(in io.Reader) (out io.Reader, done func(), err error) {
	buffered := bufio.NewReader(in)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	switch {
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	default:
		return buffered, func() {}, nil
	}
}

func (cmd *importCmd) rename(id string) string {
	if to, ok := cmd.Rename[id]; ok {
		return to
	}
	return cmd.IntoPrefix + id
}
