package devstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"
)

// portTries is how often a start tries to bind a port: one that was seen free may be
// taken by somebody else before the server binds it.
const portTries = 5

var errNoFreePort = errors.New("find free port: none among 200 tried")

// freePort returns a TCP port nobody listens on at 127.0.0.1. It does not ask the
// kernel for one: the kernel's are from the range that outgoing connections use as
// well, and while a killed server is down, any connection of any process could
// take its port and break the restart. 20000–31999 lies below that range.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	for range 200 {
		port := 20000 + rand.IntN(12000)
		l, err := config.Listen(ctx, "tcp", localAddr(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("close probe of port %d: %w", port, err)
		}
		return port, nil
	}
	return 0, errNoFreePort
}

func localAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// onPort has start serve on port or, when that is zero, on a free one. An error that
// says the port is taken is answered with another try: on another free port, or on
// the given one a moment later.
func onPort(ctx context.Context, port int, start func(port int) error) error {
	for try := 1; ; try++ {
		chosen := port
		if port == 0 {
			var err error
			if chosen, err = freePort(ctx); err != nil {
				return err
			}
		}
		err := start(chosen)
		if err == nil || try == portTries || !portTaken(err.Error()) {
			return err
		}
		if port != 0 && !pause(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

// freePorts returns n free ports, all different.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}
