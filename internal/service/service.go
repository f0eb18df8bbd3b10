package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// Config says who answers and how much at a time. The zero value of a number means its default.
type Config struct {
	Subjects wire.Subjects
	// Version is the daemon's, as semantic versioning has it: the service's discovery insists.
	Version string
	// Stream and Created tell which log the announcements that count are about.
	Stream  string
	Created time.Time
	// Leases is called when a replica, this one included, tells that leases changed hands. It must not block; nil ignores it.
	Leases func()
	// Reads bounds the reads answered at one time, and beside them those that wait until MySQL has what they read; further ones wait
	// their turn. Default 64.
	Reads int64
	// Waits bounds the requests held until a commit; a further one is told to ask again. Default 16384, about 16 MiB.
	Waits int64
	// ReadTimeout bounds one read. Default 10 s.
	ReadTimeout time.Duration
}

// Service answers on NATS from Start to Stop.
type Service struct {
	cfg     Config
	nc      *nats.Conn
	reader  *readpath.Reader
	tracker *position.Tracker
	status  func(context.Context) wire.Status
	metrics *metrics
	log     *zap.Logger

	// Places for requests, apart from each other so that what waits keeps nothing else from being answered: reads; those held until a
	// commit; reads of what MySQL must have first; the outbox's, which wait for each other's locks; and statuses, which are asked for
	// while everything else hangs.
	reads, waits, behind, outbox, statuses *semaphore.Weighted

	wg sync.WaitGroup

	mu       sync.Mutex    // guards what follows; nothing blocks while it is held
	starting chan struct{} // nil before Start, closed at its end
	svc      micro.Service
	subs     []*nats.Subscription
	release  context.CancelCauseFunc // ends the waits for commits
	cancel   context.CancelFunc      // ends everything
	stopped  bool                    // no request is taken any more: wg only counts down
}

// New prepares the service; status is asked for each request of the replica's status.
func New(cfg Config, nc *nats.Conn, reader *readpath.Reader, tracker *position.Tracker, status func(context.Context) wire.Status,
	reg prometheus.Registerer, log *zap.Logger,
) *Service {
	if cfg.Reads == 0 {
		cfg.Reads = 64
	}
	if cfg.Waits == 0 {
		cfg.Waits = 16384
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = 10 * time.Second
	}
	return &Service{
		cfg: cfg, nc: nc, reader: reader, tracker: tracker, status: status, metrics: newMetrics(reg), log: log,
		reads: semaphore.NewWeighted(cfg.Reads), waits: semaphore.NewWeighted(cfg.Waits),
		behind: semaphore.NewWeighted(cfg.Reads), outbox: semaphore.NewWeighted(4), statuses: semaphore.NewWeighted(4),
	}
}

// startWait bounds how long the server may take to know of the subscriptions.
const startWait = 10 * time.Second

// Start begins to answer. When it returns nil, the server knows of the subscriptions. A service lives once: a second Start, or one
// after Stop, is an error.
func (s *Service) Start(ctx context.Context) error {
	s.mu.Lock()
	stopped, started := s.stopped, s.starting != nil
	if !stopped && !started {
		s.starting = make(chan struct{})
	}
	s.mu.Unlock()
	switch {
	case stopped:
		return errors.New("start service: already stopped")
	case started:
		return errors.New("start service: already started")
	}
	err := s.start(ctx)
	close(s.starting)
	if err != nil {
		return errors.Join(fmt.Errorf("start service: %w", err), s.Stop(ctx))
	}
	return nil
}

func (s *Service) start(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	held, release := context.WithCancelCause(life)
	svc, err := micro.AddService(s.nc, micro.Config{
		Name: "persistd", Version: s.cfg.Version, Description: "persistd: reads with every acknowledged write",
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			s.log.Warn("service request failed", zap.String("subject", e.Subject), zap.String("reason", e.Description))
		},
	})
	if err != nil {
		release(err)
		cancel()
		return fmt.Errorf("register service: %w", err)
	}
	s.mu.Lock()
	s.svc, s.release, s.cancel = svc, release, cancel
	s.mu.Unlock()
	if err := s.listen(life, held, svc); err != nil {
		return err
	}
	return s.flush(ctx)
}

// flush waits until the server knows of the subscriptions. A connection that is lost meanwhile tells it of them when it is back.
func (s *Service) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		err := s.nc.FlushWithContext(ctx)
		if err == nil {
			return nil
		}
		if !s.nc.IsReconnecting() && !s.nc.IsConnected() || ctx.Err() != nil {
			return fmt.Errorf("flush subscriptions: %w", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// listen subscribes: reads live until life ends, waits for commits until held does.
func (s *Service) listen(life, held context.Context, svc micro.Service) error {
	for subject, heard := range map[string]nats.MsgHandler{
		s.cfg.Subjects.Positions(): s.heard, s.cfg.Subjects.Leases(): s.heardOfLeases,
	} {
		sub, err := s.nc.Subscribe(subject, heard)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		s.mu.Lock()
		s.subs = append(s.subs, sub)
		s.mu.Unlock()
	}
	return errors.Join(
		s.verbs(life, held, svc),
		svc.AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) { s.spawn(life, s.statuses, r, s.answerStatus) }),
			micro.WithEndpointSubject(s.cfg.Subjects.Status()), micro.WithEndpointQueueGroupDisabled()),
	)
}

// errStopping is what the requests get that this replica will not answer; another one will.
var errStopping = &fault{wire.StatusUnavailable, errors.New("replica is stopping")}

// Stop takes no more requests and answers those it has: reads with what they ask for, waits for a commit with word to ask another
// replica. When ctx ends before, reads are cancelled. It may be called before Start, more than once, and concurrently: each call waits.
func (s *Service) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	starting := s.starting
	s.mu.Unlock()
	if starting == nil {
		return nil
	}
	<-starting // bounded: Start waits for one flush
	s.mu.Lock()
	svc, subs, release, cancel := s.svc, s.subs, s.release, s.cancel
	s.svc, s.subs = nil, nil
	s.mu.Unlock()
	if cancel == nil { // it did not start
		return nil
	}
	defer context.AfterFunc(ctx, cancel)()
	if svc == nil { // another call stops it
		s.wg.Wait()
		return nil
	}
	var err error
	for _, sub := range subs {
		err = errors.Join(err, ignoreClosed(sub.Unsubscribe()))
	}
	err = errors.Join(err, svc.Stop())
	release(errStopping)
	s.wg.Wait() // bounded: every request ends with ctx or with its own timeout
	cancel()
	if err != nil {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}

// enter counts a request in, unless the service is stopping.
func (s *Service) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.wg.Add(1)
	}
	return !s.stopped
}

func ignoreClosed(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err
}

// Announce tells the other replicas of a commit of this one. It does not block and cannot fail: an announcement is a hint.
func (s *Service) Announce(c position.Commit) {
	a := wire.Announcement{Stream: s.cfg.Stream, Created: s.cfg.Created, Partition: c.Partition, Partitions: s.reader.Partitions, From: c.From, Position: c.To}
	for seq, p := range c.Rejected {
		if a.Rejected == nil {
			a.Rejected = map[uint64]wire.Rejection{}
		}
		a.Rejected[seq] = *wire.RejectionOf(&p)
	}
	body, err := json.Marshal(a)
	if err == nil {
		err = s.nc.Publish(s.cfg.Subjects.Position(c.Partition), body)
	}
	if err != nil {
		s.metrics.unannounced.Inc()
	}
}

// heard takes an announcement, its own ones included.
func (s *Service) heard(m *nats.Msg) {
	var a wire.Announcement
	if err := json.Unmarshal(m.Data, &a); err != nil {
		s.log.Warn("announcement is not understood", zap.String("subject", m.Subject), zap.Error(err))
		return
	}
	if a.Stream != s.cfg.Stream || !a.Created.Equal(s.cfg.Created) || a.Partition < 0 || a.Partition >= s.reader.Partitions {
		return // of another log
	}
	s.tracker.Advance(position.CommitOf(a))
}

// AnnounceLeases tells the other replicas to look at who owns what. It does not block and cannot fail: it is a hint.
func (s *Service) AnnounceLeases() {
	body, err := json.Marshal(wire.LeasesChanged{Stream: s.cfg.Stream, Created: s.cfg.Created})
	if err == nil {
		err = s.nc.Publish(s.cfg.Subjects.Leases(), body)
	}
	if err != nil {
		s.metrics.unannounced.Inc()
	}
}

// heardOfLeases takes a hint, its own ones included: another process may have the same name.
func (s *Service) heardOfLeases(m *nats.Msg) {
	var a wire.LeasesChanged
	if err := json.Unmarshal(m.Data, &a); err != nil {
		s.log.Warn("announcement is not understood", zap.String("subject", m.Subject), zap.Error(err))
		return
	}
	if s.cfg.Leases != nil && a.Stream == s.cfg.Stream && a.Created.Equal(s.cfg.Created) {
		s.cfg.Leases()
	}
}
