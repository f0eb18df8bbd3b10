package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

const (
	// pullExpires is how long a pull stays open when nothing comes; the reader then opens another.
	pullExpires = 30 * time.Second
	// inactiveAfter is when the server forgets a consumer that nobody pulls from. A reader whose delivery is blocked for longer (the
	// database is away) finds it gone and makes another.
	inactiveAfter = 2 * time.Minute
	// messageRoom is what a message has beside its payload: the server allows 64 KiB of headers.
	messageRoom = 64<<10 + 4<<10
)

// natsServer is a nats-server.
type natsServer struct {
	js  jetstream.JetStream
	cfg Config
}

// natsConsumer is a consumer of this process only, in memory of the server, without acknowledgements.
type natsConsumer struct {
	nc         *nats.Conn
	cfg        Config
	sub        receiver
	inbox      string // pull n is answered under inbox.n
	next       string // where pulls are asked for
	reconnects uint64
	close      func() error
}

// receiver is the subscription; an interface so that a test can lose messages, which a server never does when asked.
type receiver interface {
	NextMsgWithContext(ctx context.Context) (*nats.Msg, error)
	NextMsg(timeout time.Duration) (*nats.Msg, error)
}

func (n natsServer) Open(ctx context.Context, partition int, from uint64) (Consumer, uint64, error) {
	return n.open(ctx, n.cfg.Subjects.LogPartition(partition), from)
}

func (n natsServer) OpenAll(ctx context.Context, from uint64) (Consumer, error) {
	n.cfg.ReadAheadBytes = n.cfg.pullBytes()
	c, _, err := n.open(ctx, "", from)
	return c, err
}

// open makes a consumer of what filter matches, of everything if it is empty.
func (n natsServer) open(ctx context.Context, filter string, from uint64) (_ Consumer, behind uint64, err error) {
	nc := n.js.Conn()
	c := &natsConsumer{nc: nc, cfg: n.cfg, inbox: nc.NewInbox(), reconnects: nc.Stats().Reconnects}
	sub, err := nc.SubscribeSync(c.inbox + ".*")
	if err != nil {
		return nil, 0, fmt.Errorf("subscribe: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(sub.Unsubscribe()))
		}
	}()
	// What is pending is bounded by the pull; a limit here would drop messages out of its middle.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, 0, fmt.Errorf("subscribe: %w", err)
	}
	c.sub = sub
	cfg := consumer(filter, from)
	cfg.Description, cfg.InactiveThreshold = "A reader of persistd; not needed to resume", inactiveAfter
	made, err := n.js.CreateConsumer(ctx, n.cfg.Stream, cfg)
	if err != nil {
		return nil, 0, fmt.Errorf("make consumer: %w", err)
	}
	info, api := made.CachedInfo(), apiPrefix(n.js)
	name := info.Name
	c.next = api + "CONSUMER.MSG.NEXT." + n.cfg.Stream + "." + name
	c.close = func() error {
		// The server forgets the consumer anyway; this only spares it the wait, so nobody waits for the answer.
		forget := nc.Publish(api+"CONSUMER.DELETE."+n.cfg.Stream+"."+name, nil)
		return errors.Join(ignoreClosed(forget), ignoreClosed(sub.Unsubscribe()))
	}
	return c, info.NumPending, nil
}

func consumer(filter string, from uint64) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		FilterSubject: filter,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   from,
		AckPolicy:     jetstream.AckNonePolicy,
		Replicas:      1,
		MemoryStorage: true,
	}
}

func (n natsServer) Stream(ctx context.Context) (made time.Time, last uint64, err error) {
	st, err := n.js.Stream(ctx, n.cfg.Stream)
	if err != nil {
		return made, 0, err //nolint:wrapcheck // the session says what was asked for.
	}
	info := st.CachedInfo()
	return info.Created.UTC().Truncate(time.Microsecond), info.State.LastSeq, nil
}

func (n natsServer) Logged(ctx context.Context, seq uint64) (at time.Time, found bool, err error) {
	st, err := n.js.Stream(ctx, n.cfg.Stream)
	if err != nil {
		return at, false, err //nolint:wrapcheck // the session says what was asked for.
	}
	m, err := st.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return at, false, nil
	case err != nil:
		return at, false, err //nolint:wrapcheck // the session says what was asked for.
	}
	return m.Time, true, nil
}

// Pending has the server count, which it does when it makes a consumer; this one is never read from.
func (n natsServer) Pending(ctx context.Context, partition int, after uint64) (int64, error) {
	cfg := consumer(n.cfg.Subjects.LogPartition(partition), after+1)
	cfg.Description = "Counts what a partition of persistd has pending; not needed"
	cfg.InactiveThreshold = time.Second // the server forgets it if we do not get to delete it
	c, err := n.js.CreateConsumer(ctx, n.cfg.Stream, cfg)
	if err != nil {
		return 0, err //nolint:wrapcheck // Reader.Pending does.
	}
	info := c.CachedInfo()
	if err := n.js.DeleteConsumer(ctx, n.cfg.Stream, info.Name); err != nil {
		return 0, fmt.Errorf("delete consumer that counted: %w", err)
	}
	return int64(min(info.NumPending, 1<<62)), nil
}

type pullRequest struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

func (c *natsConsumer) Ask(pull, messages int) error {
	body, err := json.Marshal(pullRequest{
		Batch: messages, MaxBytes: max(c.cfg.ReadAheadBytes, int(c.nc.MaxPayload())+messageRoom),
		Expires: max(pullExpires, 4*c.cfg.Heartbeat), Heartbeat: c.cfg.Heartbeat,
	})
	if err != nil {
		return fmt.Errorf("encode pull: %w", err)
	}
	if err := c.nc.PublishRequest(c.next, c.inbox+"."+strconv.Itoa(pull), body); err != nil {
		return fmt.Errorf("ask for messages: %w", err)
	}
	return nil
}

// Ready does not look whether the connection was lost, for which it would need the connection's lock: a gap before what came shows by its
// place, and once nothing is ready Receive looks.
func (c *natsConsumer) Ready() (d Delivery, ok bool, err error) {
	m, err := c.sub.NextMsg(0)
	switch {
	case errors.Is(err, nats.ErrTimeout):
		return d, false, nil
	case err != nil:
		return d, false, err //nolint:wrapcheck // the session says what it waited for.
	}
	d, err = c.delivery(m)
	return d, err == nil, err
}

func (c *natsConsumer) Receive(ctx context.Context) (Delivery, error) {
	if err := c.connected(); err != nil {
		return Delivery{}, err
	}
	m, err := c.sub.NextMsgWithContext(ctx)
	if err != nil {
		return Delivery{}, err //nolint:wrapcheck // the session says what it waited for.
	}
	if err := c.connected(); err != nil {
		return Delivery{}, err
	}
	return c.delivery(m)
}

// connected fails once the connection has broken: what was under way is lost without a trace, if nothing comes after it.
func (c *natsConsumer) connected() error {
	if c.nc.Stats().Reconnects != c.reconnects {
		return errLost
	}
	return nil
}

func (c *natsConsumer) delivery(m *nats.Msg) (Delivery, error) {
	if m.Reply == "" {
		return Delivery{Status: c.status(m)}, nil
	}
	at, err := placeOf(m)
	if err != nil {
		return Delivery{}, err
	}
	return Delivery{Place: at.consumer, Behind: at.behind, Message: wire.Message{
		Subject: m.Subject, Header: wire.Header(m.Header), HeaderBytes: m.Size() - len(m.Subject) - len(m.Reply) - len(m.Data), Body: m.Data,
		Sequence: at.stream, Logged: at.logged,
	}}, nil
}

func (c *natsConsumer) status(m *nats.Msg) Status {
	s := Status{Code: m.Header.Get("Status"), Text: m.Header.Get("Description")}
	if pull, err := strconv.Atoi(strings.TrimPrefix(m.Subject, c.inbox+".")); err == nil {
		s.Pull = pull
	}
	if sent, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil {
		s.Sent = sent
	}
	return s
}

func (c *natsConsumer) Close() error { return c.close() }

func ignoreClosed(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err //nolint:wrapcheck // joined to the session's error.
}

// apiPrefix is what the subjects of the server's API begin with, up to and with the dot.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}
