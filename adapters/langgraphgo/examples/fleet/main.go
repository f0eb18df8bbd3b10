// Fleet runs worker processes of LangGraph-Go's engine on one persistd, kills some of them, has others resume their runs, and counts what was lost.
//
//	go run ./examples/fleet                                 its own persistd, as make build has built it
//	go run ./examples/fleet --nats-url nats://127.0.0.1:4222
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

var errLost = errors.New("acknowledged steps are lost")

func run(ctx context.Context) (err error) {
	natsURL := flag.String("nats-url", "", "NATS server of a persistd that runs; none starts a private one")
	persistd := flag.String("persistd", "../../bin/persistd", "program that the private one is")
	workers := flag.Int("workers", 20, "worker processes at a time")
	duration := flag.Duration("for", 20*time.Second, "how long they begin new runs")
	runID := flag.String("run", "", "be a worker process, with this run")
	flag.Parse()
	if *runID != "" {
		return work(ctx, *natsURL, *runID, os.Stdout)
	}
	if *natsURL == "" {
		private, startErr := startPrivate(ctx, *persistd)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, private.stop()) }()
		*natsURL = private.natsURL
	}

	f := &fleet{natsURL: *natsURL, prefix: "fleet-" + rand.Text()[:6], acked: map[string]int{}}
	fmt.Printf("%d workers begin runs for %s, named %s/…; about every other process is killed\n", *workers, *duration, f.prefix)
	working, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	var g errgroup.Group
	for w := range *workers {
		g.Go(func() error { return f.keep(working, w) })
	}
	if err := errors.Join(g.Wait(), f.verify(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	steps := 0
	for _, acked := range f.acked {
		steps += acked
	}
	fmt.Printf("runs %d\nsteps acknowledged %d\nprocesses killed %d\nruns resumed %d\nlost %d\n", len(f.acked), steps, f.killed, f.resumed, f.lost)
	if f.lost > 0 {
		return errLost
	}
	return nil
}
