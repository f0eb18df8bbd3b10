package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

type dlqListCmd struct {
	dlqFlags  `embed:""`
	dlqFilter `embed:""`
	Limit     int    `default:"100" help:"How many at most. Zero is no limit."`
	Output    string `short:"o" enum:"table,json" default:"table" help:"table for people, json (a line each) for machines."`
}

// letterLine is a letter as JSON.
type letterLine struct {
	Sequence      uint64              `json:"sequence"`
	Partition     int                 `json:"partition"`
	StreamCreated time.Time           `json:"stream_created"`
	Subject       string              `json:"subject"`
	ID            string              `json:"id"`
	Part          string              `json:"part,omitempty"`
	LoggedAt      time.Time           `json:"logged_at"`
	KeptAt        time.Time           `json:"kept_at"`
	Code          string              `json:"code"`
	ErrorNumber   uint16              `json:"error_number,omitempty"`
	Reason        string              `json:"reason"`
	Size          int                 `json:"size"`
	Headers       map[string][]string `json:"headers,omitempty"`
	Body          *string             `json:"body,omitempty"`
}

func lineOf(x *stream.Letter) letterLine {
	l := letterLine{
		Sequence: x.Sequence, Partition: x.Partition, StreamCreated: x.StreamCreated, Subject: x.Subject, ID: idOf(x), LoggedAt: x.Logged,
		KeptAt: x.Kept, Code: x.Poison.Code, ErrorNumber: x.Poison.ErrorNumber, Reason: x.Poison.Reason, Size: x.Size,
	}
	if x.Part.Transaction != "" {
		l.Part = x.Part.String()
	}
	return l
}

// Run implements the command.
func (cmd *dlqListCmd) Run(ctx context.Context, std std) error {
	f, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	all, err := f.List(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // it says what was listed.
	}
	chosen, err := cmd.choose(all)
	if err != nil {
		return err
	}
	more := 0
	if cmd.Limit > 0 && len(chosen) > cmd.Limit {
		chosen, more = chosen[:cmd.Limit], len(chosen)-cmd.Limit
	}
	t := newTable("sequence", "partition", "of", "logged", "size", "code", "error", "reason")
	for _, x := range chosen {
		if cmd.Output == "json" {
			if err := printJSON(std, lineOf(x)); err != nil {
				return err
			}
			continue
		}
		t.AppendRow(table.Row{
			x.Sequence, x.Partition, clipped(idOf(x), 40), humanize.Time(x.Logged), humanize.IBytes(uint64(x.Size)), x.Poison.Code, //nolint:gosec // never negative.
			dash(int(x.Poison.ErrorNumber)), clipped(x.Poison.Reason, 60),
		})
	}
	if cmd.Output == "json" {
		return nil
	}
	out := t.Render() + "\n"
	if more > 0 {
		out += fmt.Sprintf("and %d more (--limit=0 shows all)\n", more)
	}
	_, err = fmt.Fprint(std.out, out)
	return err //nolint:wrapcheck // standard output's own words.
}

func clipped(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

type dlqShowCmd struct {
	dlqFlags `embed:""`
	Sequence uint64 `arg:"" help:"Sequence of the event in the log."`
	Body     bool   `help:"Show the event's body, unpacked: it may hold what only some may see."`
	Output   string `short:"o" enum:"text,json" default:"text" help:"text for people, json for machines."`
}

// Run implements the command.
func (cmd *dlqShowCmd) Run(ctx context.Context, std std) error {
	f, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	x, err := f.one(ctx, cmd.Sequence)
	if err != nil {
		return err
	}
	m, err := f.Open(ctx, x)
	if err != nil {
		return err //nolint:wrapcheck // it says what was opened.
	}
	line := lineOf(x)
	line.Headers = m.Header
	if cmd.Body {
		body := string(unpacked(m))
		line.Body = &body
	}
	if cmd.Output == "json" {
		return printJSON(std, line)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "event      %d of partition %d, in the log of %s\nsubject    %s\nid         %s\n", line.Sequence, line.Partition,
		line.StreamCreated.Format(time.RFC3339), visible(line.Subject), visible(line.ID))
	if line.Part != "" {
		fmt.Fprintf(&out, "part       %s\n", line.Part)
	}
	fmt.Fprintf(&out, "logged     %s\nkept       %s\ncode       %s\nerror      %d\nreason     %s\nbody       %s\n", line.LoggedAt.Format(time.RFC3339Nano),
		line.KeptAt.Format(time.RFC3339Nano), line.Code, line.ErrorNumber, visible(line.Reason), humanize.IBytes(uint64(len(m.Body))))
	for _, key := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(&out, "header     %s: %s\n", visible(key), visible(strings.Join(m.Header[key], ", ")))
	}
	if cmd.Body {
		out.WriteString("\n" + *line.Body + "\n")
	}
	_, err = fmt.Fprint(std.out, out.String())
	return err //nolint:wrapcheck // standard output's own words.
}

// one is the letter of the event at seq.
func (f *letterFile) one(ctx context.Context, seq uint64) (*stream.Letter, error) {
	all, err := f.List(ctx, nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was listed.
	}
	chosen, err := (&dlqFilter{Sequences: []uint64{seq}, Partition: -1}).choose(all)
	if err != nil {
		return nil, err
	}
	if len(chosen) != 1 {
		return nil, errors.New("assertion: one sequence chose several letters")
	}
	return chosen[0], nil
}

// unpacked is the body of m as it was before it was compressed; as it is when it cannot be unpacked.
func unpacked(m wire.Message) []byte {
	if m.Header.Get(wire.HeaderEncoding) == wire.EncodingZstd {
		if plain, err := wire.Decompress(m.Body); err == nil {
			return plain
		}
	}
	return m.Body
}
