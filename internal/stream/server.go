package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The oldest server that has atomic batches, and the one to use.
const (
	minMajor, minMinor = 2, 12
	recommended        = "2.15"
)

// ServerError is a server that the log cannot be on, whatever the stream's settings.
type ServerError struct {
	// Reason says what the server is or lacks.
	Reason string
	// Hint says what to do about it.
	Hint string
	Err  error
}

// Error is the reason, the hint and the cause.
func (e *ServerError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v (%s)", e.Reason, e.Err, e.Hint)
	}
	return fmt.Sprintf("%s (%s)", e.Reason, e.Hint)
}

// Unwrap is the cause, if there is one.
func (e *ServerError) Unwrap() error { return e.Err }

// checkServer refuses a server that is too old. In a cluster it sees the one that this process is connected to.
func checkServer(nc *nats.Conn) error {
	version := nc.ConnectedServerVersion()
	if version == "" {
		return errors.New("ask for the server's version: not connected")
	}
	return checkVersion(nc.ConnectedServerName(), version)
}

func checkVersion(name, version string) error {
	major, minor, ok := parseVersion(version)
	if ok && (major > minMajor || major == minMajor && minor >= minMinor) {
		return nil
	}
	return &ServerError{
		Reason: fmt.Sprintf("nats-server %q is version %q, older than %d.%d, which brought atomic batches", name, version, minMajor, minMinor),
		Hint:   "install nats-server " + recommended + " from https://nats.io/download; the package of Debian 12 is 2.9",
	}
}

// parseVersion reads the first two numbers of a version; a pre-release counts as what it precedes.
func parseVersion(v string) (major, minor int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// account asks whether JetStream is there, and what the account may store. A user who may not ask hears nothing: timeout is for that.
func account(ctx context.Context, js jetstream.JetStream, timeout time.Duration) (*jetstream.AccountInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := js.AccountInfo(ctx)
	switch {
	case err == nil:
		return info, nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, &ServerError{
			Reason: "JetStream is off for this account", Err: err,
			Hint: `put "jetstream: enabled" into the account's configuration, or connect with an account that has it`,
		}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return nil, &ServerError{
			Reason: "the server has no JetStream", Err: err,
			Hint: `start nats-server with -js, or put "jetstream { store_dir: … }" into its configuration`,
		}
	default:
		return nil, fmt.Errorf("ask for JetStream account: %w", err)
	}
}

// freeBytes is what the account may still store in streams of replicas, and whether that is known: an account without a limit
// has what its servers have, which a client cannot ask.
func freeBytes(info *jetstream.AccountInfo, replicas int) (free int64, known bool) {
	tier, copies := info.Tier, int64(replicas) // an untiered limit counts every copy
	if t, ok := info.Tiers[fmt.Sprintf("R%d", replicas)]; ok {
		tier, copies = t, 1 // a tier's limit is of what is stored, each copy once
	}
	limit := tier.Limits.MaxStore
	if limit <= 0 {
		return 0, false
	}
	taken := max(tier.Store, tier.ReservedStore)
	free = max(0, limit-int64(min(taken, uint64(limit)))) / copies //nolint:gosec // G115: at most limit.
	if most := tier.Limits.StoreMaxStreamBytes; most > 0 {
		free = min(free, most)
	}
	return free, true
}
