package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
)

// faultHooks understands a child's fault:
//
//	none            nothing
//	kill-after:N    SIGKILL to itself after the N-th commit returned, before anybody learns of it
//	slow:N          commits and reads dawdle, by times drawn from the seed N
//	stop-before:N   SIGSTOP to itself before the N-th commit; when it is continued the commit goes on, whatever time has passed
func faultHooks(fault string) (hooks, error) {
	name, arg, _ := strings.Cut(fault, ":")
	n, err := strconv.Atoi(arg)
	if arg != "" && err != nil {
		return hooks{}, fmt.Errorf("fault %q: %w", fault, err)
	}
	switch name {
	case "none":
		return hooks{}, nil
	case "kill-after":
		return hooks{store: func(s batcher.Store) batcher.Store {
			var commits atomic.Int64
			return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
				err := s.Commit(ctx, b)
				if err == nil && commits.Add(1) == int64(n) {
					killSelf()
				}
				return err
			})
		}}, nil
	case "slow":
		return slow(uint64(n)), nil
	case "stop-before":
		return hooks{store: func(s batcher.Store) batcher.Store {
			var commits atomic.Int64
			return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
				if commits.Add(1) == int64(n) {
					stopSelf()
					ctx = context.WithoutCancel(ctx) // the pause was within the commit: nothing of this process was there to end it
				}
				return s.Commit(ctx, b)
			})
		}}, nil
	default:
		return hooks{}, fmt.Errorf("fault %q is unknown", fault)
	}
}

// killSelf is a crash at this line: SIGKILL cannot be handled, and nothing deferred runs.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// stopSelf is a pause of the whole process at this line: a virtual machine that is moved, a laptop that is closed.
func stopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
}

func newParser(flags *config.Flags, env config.LookupEnv) (*kong.Kong, error) {
	return kong.New(flags, append(config.Options(env), kong.Name("persistd"), kong.Exit(func(int) {}))...)
}
