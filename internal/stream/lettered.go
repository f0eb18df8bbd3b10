package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Lettered is which events had a dead letter when it was made. Its method may be called concurrently.
type Lettered struct {
	d *DeadLetters
	// subjects are those of letters by partition and sequence; which log a letter is of, only the letter says.
	subjects map[int]map[uint64]struct{}
}

// Lettered lists the dead letters that there are: a look-up for each event of a log would take too long. It holds some tens of bytes a letter.
func (d *DeadLetters) Lettered(ctx context.Context) (*Lettered, error) {
	l := &Lettered{d: d, subjects: map[int]map[uint64]struct{}{}}
	st, err := d.js.Stream(ctx, d.name)
	if err != nil {
		return nil, fmt.Errorf("ask for stream %s: %w", d.name, err)
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(d.subjects.DeadLetters()))
	if err != nil {
		return nil, fmt.Errorf("list subjects of stream %s: %w", d.name, err)
	}
	for subject := range info.State.Subjects {
		tokens := strings.Split(subject, ".")
		if len(tokens) < 2 {
			continue
		}
		p, err1 := strconv.Atoi(tokens[len(tokens)-2])
		seq, err2 := strconv.ParseUint(tokens[len(tokens)-1], 10, 64)
		if errors.Join(err1, err2) != nil {
			continue // a further part of a letter
		}
		if l.subjects[p] == nil {
			l.subjects[p] = map[uint64]struct{}{}
		}
		l.subjects[p][seq] = struct{}{}
	}
	return l, nil
}

// Has reports whether the event at seq of partition has a dead letter.
func (l *Lettered) Has(ctx context.Context, partition int, seq uint64) (bool, error) {
	if _, ok := l.subjects[partition][seq]; !ok {
		return false, nil
	}
	_, found, err := l.d.DeadLetter(ctx, partition, seq)
	return found, err
}
