package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// counter asks how many messages the stream holds of a subject. The server keeps that number.
type counter struct {
	nc      *nats.Conn
	subject string
}

// held is answered by the leader, or, while there is none, by any of the copies. One that has the stream's message last has all before it, of
// which trims may be missing; the count of another is an error.
func (c counter) held(ctx context.Context, subject string, last uint64) (uint64, error) {
	body, err := json.Marshal(map[string]string{"subjects_filter": subject})
	if err != nil {
		return 0, fmt.Errorf("encode request: %w", err)
	}
	reply, err := c.nc.RequestWithContext(ctx, c.subject, body)
	if err != nil {
		return 0, fmt.Errorf("ask how many messages there are: %w", err)
	}
	var info struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			LastSeq  uint64            `json:"last_seq"`
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		return 0, fmt.Errorf("read how many messages there are: %w", err)
	}
	if info.Error != nil {
		return 0, fmt.Errorf("ask how many messages there are: %w", info.Error)
	}
	if info.State.LastSeq < last {
		return 0, fmt.Errorf("ask how many messages there are: it was answered by a copy that is at %d, behind %d", info.State.LastSeq, last)
	}
	return info.State.Subjects[subject], nil
}

// firstTimeout is how long a tail waits to be told that it need not be read.
const firstTimeout = 500 * time.Millisecond

// first is the oldest message of subject at or after from, and how many there are from it on, by a copy that has the message last.
//
//	the server is in no cluster: one direct get tells both
//	else: whoever answers that may be behind, and count too few. So it is asked for apart, and only for the beginning:
//	  held ← how many there are                 of one that has last
//	  m    ← the oldest, from the leader        what was trimmed in between is counted, and held is too many then, not too few
//
// The leader is believed as long as it is when it is asked for the last message of a subject.
func (s *Stream) first(ctx context.Context, subject string, from, last uint64) (m wire.Message, held uint64, exists bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(firstTimeout, s.cfg.RequestTimeout))
	defer cancel()
	if err := s.lead.confirm(ctx); err != nil {
		return m, 0, false, err
	}
	if w := s.lead.lone(); w != nil {
		m, held, exists, err = s.firstOfOne(ctx, subject, from)
		return m, held, exists && s.lead.stands(w), err // another server may be behind, and count too few
	}
	if from > 1 {
		return m, 0, false, nil
	}
	held, err = s.counter.held(ctx, subject, last)
	if err == nil {
		err = s.lead.confirm(ctx)
	}
	if err != nil || held == 0 {
		return m, 0, false, err
	}
	m, err = s.get.next(ctx, subject, 1)
	if errors.Is(err, errNotFound) {
		return m, 0, false, nil
	}
	return m, held, err == nil, err
}
