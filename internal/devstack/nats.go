package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSOptions says which nats-server to start, and where. JetStream is always on.
type NATSOptions struct {
	// Dir is the server's folder, made if absent; required. A folder that has served
	// before is started with the streams it has.
	Dir string
	// Port is the TCP port on 127.0.0.1; zero is a free one.
	Port int
	// SyncAlways fsyncs each publish before it is acknowledged (`sync_interval:
	// always`). Zero is the server's default, an fsync every two minutes:
	// acknowledged messages then survive a killed server but not a power cut.
	SyncAlways bool
	// MaxStore bounds the bytes all streams may take; zero is the server's default,
	// three quarters of the free disk.
	MaxStore int64
	// OutliveParent lets a server started as a process run on when this one dies. It
	// means nothing to an embedded server.
	OutliveParent bool
	// Monitor has a server started as a process answer HTTP requests of its state, on a free port: see [NATSProcess.MonitorURL].
	Monitor bool

	cluster     *natsCluster // nil of a server that stands alone
	clusterNode int
}

func (o NATSOptions) prepared() (NATSOptions, error) {
	if o.Dir == "" {
		return o, errors.New("start nats-server: no folder given")
	}
	dir, err := filepath.Abs(o.Dir)
	if err == nil {
		o.Dir = dir
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return o, fmt.Errorf("start nats-server: %w", err)
	}
	return o, nil
}

// NATS is a nats-server embedded in this process. To see one die by SIGKILL, start it
// as a process: see StartNATSProcess.
type NATS struct {
	options NATSOptions

	mu   sync.Mutex // guards all below, over a whole start or stop
	port int
	run  *natsRun // nil while stopped
}

// natsRun is what one run of an embedded server holds until it is stopped.
type natsRun struct {
	server *server.Server
	lock   *os.File
	log    *natsLog
}

// StartNATS starts an embedded server and returns when it takes connections. ctx
// bounds that wait.
func StartNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	o, err := o.prepared()
	if err != nil {
		return nil, err
	}
	n := &NATS{options: o, port: o.Port}
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// URL is what clients connect to, the same over all restarts.
func (n *NATS) URL() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "nats://" + localAddr(n.port)
}

// Dir is the server's folder.
func (n *NATS) Dir() string { return n.options.Dir }

// Stop shuts the server down and returns when all its goroutines that touch its
// folder are gone. It is idempotent.
func (n *NATS) Stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stopLocked()
}

// Restart shuts the server down, if it runs, and starts another on the same folder
// and port. Clients reconnect by themselves.
func (n *NATS) Restart(ctx context.Context) error {
	n.mu.Lock()
	err := n.stopLocked()
	n.mu.Unlock()
	if err != nil {
		return err
	}
	return n.start(ctx)
}

func (n *NATS) stopLocked() error {
	if n.run == nil {
		return nil
	}
	r := n.run
	n.run = nil
	return r.stop()
}

func (r *natsRun) stop() error {
	r.server.Shutdown()
	r.server.WaitForShutdown()
	if err := errors.Join(r.log.close(), r.lock.Close()); err != nil {
		return fmt.Errorf("stop nats-server: %w", err)
	}
	return nil
}

func (n *NATS) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.run != nil {
		return nil // another Restart was first
	}
	return onPort(ctx, n.port, func(port int) error {
		r, err := runNATS(ctx, n.options, port)
		if err != nil {
			return fmt.Errorf("start nats-server: %w", err)
		}
		n.run, n.port = r, port
		return nil
	})
}

// runNATS starts a server once; if it does not come up, nothing of it is left.
func runNATS(ctx context.Context, o NATSOptions, port int) (_ *natsRun, err error) {
	lock, err := lockFolder(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	log, err := openNATSLog(o.Dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s, err := server.NewServer(&server.Options{
		ServerName:        drawServerName(),
		Host:              "127.0.0.1",
		Port:              port,
		JetStream:         true,
		StoreDir:          filepath.Join(o.Dir, dataFolder),
		JetStreamMaxStore: o.MaxStore,
		SyncAlways:        o.SyncAlways,
		NoSigs:            true, // signals are the program's, not its server's
	})
	if err != nil {
		return nil, errors.Join(err, log.close(), lock.Close())
	}
	s.SetLoggerV2(log, false, false, false)
	r := &natsRun{server: s, lock: lock, log: log}
	if err := errors.Join(noteHolder(lock, os.Getpid()), r.serve(ctx)); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// serve starts the server and waits until it takes connections. What would end a
// nats-server process ends the wait.
func (r *natsRun) serve(ctx context.Context) error {
	started := make(chan struct{})
	go func() { // Start returns once all listeners are up, or at a fatal error
		defer close(started)
		r.server.Start()
	}()
	select {
	case <-ctx.Done():
		r.server.Shutdown() // unblocks Start
		<-started
		return context.Cause(ctx)
	case <-started:
	}
	if fatal := r.log.fatal(); fatal != "" {
		return errors.New(fatal)
	}
	if !r.server.ReadyForConnections(5 * time.Second) {
		return errors.New("takes no connections")
	}
	return nil
}

// drawServerName returns a name that no other server has: it tells ours from a
// stranger on the same port.
func drawServerName() string { return "devstack-" + rand.Text() }
