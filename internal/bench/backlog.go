package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// Of what is published every so many messages, or bytes, are acknowledged, and so many acknowledgements are outstanding: the server drops what it has
// not stored of 10,000 messages or 128 MiB.
const (
	ackMessages = 500
	ackBytes    = 4 << 20
	ackWindows  = 4
)

// fill publishes steps to the log, as clients do, in order, with the headers that theirs have; that one connection keeps the order, and the rows are
// counted, stands for waiting between the steps of a run, as chains want it. Not each is acknowledged, which costs the server and
// this process as much as storing it does: whether all arrived, the count of the rows tells.
func (b *Bench) fill(ctx context.Context, steps []Step) error {
	subjects, nc := wire.Subjects{Prefix: "persistd"}, b.Rig.Conn()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return fmt.Errorf("publish backlog: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection's trouble
	var body []byte
	ids, chains := rand.Text()+"-", map[string]wire.Chain{}
	messages, bytes, outstanding := 0, 0, 0
	for i, s := range steps {
		body = wire.AppendEvent(body[:0], wire.KindRun, s.Run, 0, nil, []wire.Op{
			{Type: wire.OpStep, Step: int32(s.Step), NodeID: s.Node, State: s.State}, //nolint:gosec // G115: of a run's steps.
		})
		id := ids + strconv.Itoa(i)
		link := wire.Chain{ID: s.Run, No: s.No}
		if s.No == 0 {
			link = wire.Chain{ID: cmp.Or(chains[s.Run].ID, id), No: chains[s.Run].No + 1}
			chains[s.Run] = link
		}
		m := &nats.Msg{Subject: subjects.Write(wire.DefaultNamespace, wire.KindRun, s.Run), Data: body, Header: nats.Header{
			wire.HeaderMsgID: {id}, wire.HeaderChain: {link.String()},
		}}
		messages, bytes = messages+1, bytes+len(body)
		if messages >= ackMessages || bytes >= ackBytes || i == len(steps)-1 {
			m.Reply, messages, bytes = sub.Subject, 0, 0
			outstanding++
		}
		if err := nc.PublishMsg(m); err != nil { // it keeps nothing of the body
			return fmt.Errorf("publish backlog: %w", err)
		}
		for ; outstanding > ackWindows; outstanding-- {
			if err := acknowledged(ctx, sub); err != nil {
				return err
			}
		}
	}
	for ; outstanding > 0; outstanding-- {
		if err := acknowledged(ctx, sub); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged waits for the next acknowledgement.
func acknowledged(ctx context.Context, sub *nats.Subscription) error {
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return fmt.Errorf("publish backlog: %w", err)
	}
	var said struct {
		Error *struct{ Description string }
	}
	if err = json.Unmarshal(m.Data, &said); err == nil && said.Error != nil {
		err = errors.New(said.Error.Description)
	}
	if err != nil {
		return fmt.Errorf("publish backlog: %w", err)
	}
	return nil
}
