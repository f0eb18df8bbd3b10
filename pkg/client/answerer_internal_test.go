package client

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// answerer answers every request on a subject with the same, and allocates nothing for it, so that what the client allocates can be counted
// beside it. Of NATS's protocol it speaks what that takes.
type answerer struct {
	tcp net.Conn
	in  *bufio.Reader
	out []byte // what goes out next; reused
	say []byte
}

// answerOn answers until the test ends.
func answerOn(t *testing.T, natsURL, subject string, say []byte) {
	t.Helper()
	u, err := url.Parse(natsURL)
	require.NoError(t, err)
	tcp, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
	require.NoError(t, err)
	a := &answerer{in: bufio.NewReader(tcp), tcp: tcp, say: say}
	_, err = tcp.Write([]byte("CONNECT {\"verbose\":false}\r\nSUB " + subject + " 1\r\nPING\r\n"))
	require.NoError(t, err)
	require.NoError(t, a.until("PONG"))
	done := make(chan error, 1)
	go func() { done <- a.until("") }()
	t.Cleanup(func() {
		require.NoError(t, tcp.Close())
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
}

// until takes what the server says, and answers requests, until it says last.
func (a *answerer) until(last string) error {
	for {
		line, err := a.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch what, rest, _ := bytes.Cut(line, []byte(" ")); {
		case last != "" && string(what) == last:
			return nil
		case string(what) == "PING":
			a.out = append(a.out[:0], "PONG\r\n"...)
		case string(what) == "MSG": // <subject> <sid> <reply> <bytes>
			size := bytes.LastIndexByte(rest, ' ')
			reply := rest[bytes.LastIndexByte(rest[:size], ' ')+1 : size]
			a.out = append(append(append(a.out[:0], "PUB "...), reply...), ' ')
			a.out = strconv.AppendInt(a.out, int64(len(a.say)), 10)
			a.out = append(append(append(a.out, "\r\n"...), a.say...), "\r\n"...)
			n, err := strconv.Atoi(string(rest[size+1:]))
			if _, cut := a.in.Discard(n + len("\r\n")); err != nil || cut != nil {
				return errors.Join(err, cut)
			}
		default: // INFO
			continue
		}
		if _, err := a.tcp.Write(a.out); err != nil {
			return err
		}
	}
}
