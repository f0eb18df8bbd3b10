package main

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// cuttingAt stands in front of the database of s, for daemons started from then on, and ends the connection of the first so many requests
// that have text in them.
func (s *stack) cuttingAt(text string, times int64) *atomic.Int64 {
	s.t.Helper()
	cfg, err := mysql.ParseDSN(s.dsn)
	require.NoError(s.t, err)
	target := cfg.Addr
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = ln.Close() })
	left := new(atomic.Int64)
	left.Store(times)
	go func() {
		for {
			down, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				_ = down.Close()
				continue
			}
			go func() { _, _ = io.Copy(down, up); _ = down.Close() }()
			go func() {
				defer func() { _, _ = up.Close(), down.Close() }()
				for buf := make([]byte, 64<<10); ; {
					n, err := down.Read(buf)
					if err != nil || bytes.Contains(buf[:n], []byte(text)) && left.Add(-1) >= 0 {
						return
					}
					if _, err := up.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	cfg.Addr = ln.Addr().String()
	s.dsn = cfg.FormatDSN()
	return left
}

func TestADatabaseThatDiesInTheMiddleOfAStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"INSERT INTO persistd_partitions", "SELECT @@max_allowed_packet, VERSION()"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			left := s.cuttingAt(at, 3)
			d := s.spawn("none", "PERSISTD_RETRY_MAX=100ms").serving()
			require.LessOrEqual(t, left.Load(), int64(0), "it died there")
			require.NoError(t, d.terminate())
		})
	}
}
