package main

import (
	"net"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/config"
)

// What waiting cannot mend ends the start; it is not tried again for ever.
func TestStartRefusesALogThatCannotBe(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	env := s.settings()
	var flags config.Flags
	cfg, err := parseFlagsFrom(&flags, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	require.NoError(t, err)
	cfg.Stream.MaxBytes = 1 << 20 // which the configuration's own rules refuse, too
	out := &tail{}
	err = serve(t.Context(), t.Context(), cfg, std{out, out}, hooks{}, nil)
	require.ErrorContains(t, err, "max bytes 1048576")
	require.ErrorContains(t, cfg.Validate(), "stream.max_bytes")
	cfg.Stream.MaxBytes, cfg.Stream.Replicas = 0, 2
	require.ErrorContains(t, cfg.Validate(), "stream.replicas")
}

// A server that takes connections and says nothing is given up after mysql.connect_timeout.
func TestConnectTimeoutIsObeyed(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, mute.Close()) }()
	dsn, err := mysql.ParseDSN(s.dsn)
	require.NoError(t, err)
	dsn.Addr = mute.Addr().String()
	s.dsn = dsn.FormatDSN()
	d := s.spawn("none", "PERSISTD_MYSQL_CONNECT_TIMEOUT=100ms")
	d.says(`cannot start yet`)
	require.NoError(t, d.terminate())
}
