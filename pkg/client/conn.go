package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

const (
	// connectTimeout is for one server, of several that the URL may name.
	connectTimeout = 5 * time.Second
	// writeTimeout is how long the socket may take no byte before the connection counts as lost.
	writeTimeout = 10 * time.Second
	// pingInterval and pingsUnanswered are how a server that is gone without a word is noticed, after 15 s: well before publishes that go
	// unanswered are given up, and before callers' deadlines of 30 s.
	pingInterval    = 5 * time.Second
	pingsUnanswered = 2
	// maxReconnectPause is the longest pause between two rounds over the servers.
	maxReconnectPause = 2 * time.Second
)

// connect makes the client's own connection.
func connect(ctx context.Context, natsURL string, cfg config) (*nats.Conn, error) {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if err := ctx.Err(); err != nil {
		return nil, &fault{kind: ErrUnavailable, err: fmt.Errorf("connect to %s: %w", redact(natsURL), err)}
	}
	opts := nats.GetDefaultOptions()
	for _, opt := range append([]nats.Option{
		nats.Name("persistd client"),
		nats.Timeout(timeout),
		nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsUnanswered),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials that are being exchanged must not end a worker
		nats.CustomReconnectDelay(reconnectPause),
		// A publish without a connection fails at once and is ours to retry; in a buffer it would sit unseen, past its ctx's end.
		nats.ReconnectBufSize(-1),
	}, cfg.natsOptions...) {
		if err := opt(&opts); err != nil {
			return nil, &fault{kind: ErrInvalidOption, err: fmt.Errorf("apply NATS option: %w", err)}
		}
	}
	servers, err := splitURL(natsURL)
	if err != nil {
		return nil, err
	}
	opts.Servers = servers
	if opts.AsyncErrorCB == nil { // the default writes to stderr
		opts.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.logger.Warn("connection reports an error", zap.Error(err))
		}
	}
	nc, err := opts.Connect()
	switch {
	case err == nil:
		return nc, nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return nil, &fault{kind: ErrPermission, err: fmt.Errorf("connect to %s: %w", redact(natsURL), err), hint: "check the user, password, token or credentials file"}
	default:
		return nil, &fault{kind: ErrUnavailable, err: fmt.Errorf("connect to %s: %w", redact(natsURL), err), hint: hintConn}
	}
}

// reconnectPause is the pause after the n-th round over the servers: 50 ms, doubling, each ±50 % so that workers do not all come
// at once.
func reconnectPause(n int) time.Duration {
	d := min(50*time.Millisecond<<min(n, 10), maxReconnectPause)
	return d/2 + rand.N(d)
}

// splitURL takes a comma-separated list apart and reports a part that is no URL, without what may be a password in it.
func splitURL(natsURL string) ([]string, error) {
	servers := strings.Split(natsURL, ",")
	for i, s := range servers {
		servers[i] = strings.TrimSpace(s)
		if !strings.Contains(servers[i], "://") {
			servers[i] = "nats://" + servers[i]
		}
		if _, err := url.Parse(servers[i]); err != nil {
			if wrong, ok := errors.AsType[*url.Error](err); ok {
				err = wrong.Err
			}
			return nil, &fault{kind: ErrInvalidOption, err: fmt.Errorf("parse URL %d of %d: %w", i+1, len(servers), err)}
		}
	}
	return servers, nil
}

// redact is natsURL without users, passwords and tokens.
func redact(natsURL string) string {
	servers := strings.Split(natsURL, ",")
	for i, s := range servers {
		scheme, rest, ok := strings.Cut(strings.TrimSpace(s), "://")
		if !ok {
			scheme, rest = "nats", scheme
		}
		rest = rest[strings.LastIndexByte(rest, '@')+1:]
		servers[i] = scheme + "://" + rest
	}
	return strings.Join(servers, ",")
}

// watchErrors has m's calls fail at once when the server forbids what they publish; otherwise they would wait for an answer in vain.
// What was set to be told of errors is told still.
func watchErrors(nc *nats.Conn, m *mux) {
	others := nc.ErrorHandler()
	nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if subject := deniedSubject(err); subject != "" {
			m.fail(subject, permissionFault("publish to "+subject))
		}
		if others != nil {
			others(nc, sub, err)
		}
	})
}

// lastError is nc's last error, where the client is not told of each (watchErrors): on a connection that others have as well.
func lastError(nc *nats.Conn, cfg config) error {
	if cfg.conn == nil {
		return nil
	}
	return nc.LastError()
}

// newlyDenied is the subject that the server forbids by now, the connection's last error, unless it had said so before, or "". The last error stays
// until there is another, and nothing tells of which publish it is: one of before a publish is not of that.
func newlyDenied(before, now error) string {
	subject := deniedSubject(now)
	if subject != "" && now == before { //nolint:errorlint // it is about this one: each refusal is an error of its own.
		return ""
	}
	return subject
}

var deniedPattern = regexp.MustCompile(`(?i)permissions violation for (?:publish|subscription) to "([^"]*)"`)

// deniedSubject is the subject that a server's error forbids, or "".
func deniedSubject(err error) string {
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return ""
	}
	if m := deniedPattern.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}
