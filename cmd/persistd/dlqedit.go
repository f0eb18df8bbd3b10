package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/wire"
)

type dlqEditCmd struct {
	config.Flags `embed:""`
	Sequence     uint64 `arg:"" help:"Sequence of the event in the log; of a transaction in parts, of the part to mend."`
	Body         string `type:"path" placeholder:"FILE" help:"File with the new body, uncompressed; - is standard input. Without it the body is opened in $VISUAL or $EDITOR."`
	Force        bool   `help:"Apply it although its idempotency keys may have been used and removed for their age since (retention.idempotency_keys)."`
}

// Run implements the command. Nothing is applied that does not decode; and what was written in the editor is kept until it is applied.
func (cmd *dlqEditCmd) Run(ctx context.Context, env config.LookupEnv, std std) (err error) {
	r, err := openRetrier(ctx, &cmd.Flags, env)
	if err != nil {
		return err
	}
	defer r.close()
	r.force = cmd.Force
	x, err := r.one(ctx, cmd.Sequence)
	if err != nil {
		return err
	}
	all, err := r.List(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // it says what was listed.
	}
	chosen, err := (&dlqFilter{Sequences: []uint64{cmd.Sequence}, Partition: -1}).choose(all)
	if err != nil {
		return err
	}
	letters := transactions(all, chosen)[0]
	m, err := r.Open(ctx, x)
	if err != nil {
		return err //nolint:wrapcheck // it says what was opened.
	}
	body, draft, err := cmd.text(ctx, env, unpacked(m), std)
	if err != nil {
		return err
	}
	defer func() {
		if draft != "" && err != nil {
			err = fmt.Errorf("%w (what you wrote is in %s)", err, draft)
		} else if draft != "" {
			err = os.Remove(draft)
		}
	}()
	m.Header = maps.Clone(m.Header)
	delete(m.Header, wire.HeaderEncoding)
	m.Body = body
	if p := r.subjects.Decode(m).Poison; p != nil {
		return fmt.Errorf("edit event %d: it would be refused as %s: %s", x.Sequence, p.Code, p.Reason)
	}
	what, err := r.retry(ctx, letters, map[uint64]wire.Message{x.Sequence: m})
	if err != nil {
		return fmt.Errorf("edit event %d: %w", x.Sequence, err)
	}
	_, err = fmt.Fprintf(std.out, "%d\t%s\t%s\n", x.Sequence, visible(idOf(x)), what)
	return err //nolint:wrapcheck // standard output's own words.
}

// text is the new body; draft is the file that it was written in, if it is ours.
func (cmd *dlqEditCmd) text(ctx context.Context, env config.LookupEnv, old []byte, std std) (body []byte, draft string, err error) {
	switch {
	case cmd.Body == "-":
		body, err = io.ReadAll(os.Stdin)
	case cmd.Body != "":
		body, err = os.ReadFile(cmd.Body)
	default:
		return editor(ctx, env, old, std)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read --body: %w", err)
	}
	return bytes.TrimRight(body, "\n"), "", nil
}

// editor has the user change old, in a file that only the user may read.
func editor(ctx context.Context, env config.LookupEnv, old []byte, std std) (body []byte, draft string, err error) {
	program, _ := env("VISUAL")
	if program == "" {
		program, _ = env("EDITOR")
	}
	if program == "" {
		return nil, "", errors.New("edit: neither $VISUAL nor $EDITOR is set; set one, or give --body=FILE")
	}
	file, err := os.CreateTemp("", "persistd-dlq-*.json")
	if err != nil {
		return nil, "", fmt.Errorf("make file to edit: %w", err)
	}
	draft = file.Name()
	_, err = file.Write(old)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, "", errors.Join(fmt.Errorf("write file to edit: %w", err), os.Remove(draft))
	}
	c := exec.CommandContext(ctx, "sh", "-c", program+` "$1"`, "sh", draft) //nolint:gosec // the user's own editor, perhaps with arguments.
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, std.out, std.err
	if err := c.Run(); err != nil {
		return nil, "", errors.Join(fmt.Errorf("edit with %s: %w", program, err), os.Remove(draft))
	}
	body, err = os.ReadFile(draft)
	switch body = bytes.TrimRight(body, "\n"); {
	case err != nil:
		return nil, "", fmt.Errorf("read what was edited: %w", err)
	case bytes.Equal(body, bytes.TrimRight(old, "\n")):
		return nil, "", errors.Join(errors.New("edit: nothing was changed, so nothing is applied (persistd dlq retry applies it as it is)"), os.Remove(draft))
	}
	return body, draft, nil
}
