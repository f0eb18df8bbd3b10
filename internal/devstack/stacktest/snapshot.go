package stacktest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/devstack"
)

// Snapshot is a stream's backup, as `nats stream backup` takes it.
type Snapshot struct {
	stream        string
	config, state json.RawMessage
	chunks        [][]byte
}

const snapshotWait = 30 * time.Second

type apiAnswer struct {
	Error   *struct{ Description string } `json:"error"`
	Config  json.RawMessage               `json:"config"`
	State   json.RawMessage               `json:"state"`
	Deliver string                        `json:"deliver_subject"`
}

// api asks JetStream for something that nats.go has no method for.
func api(t testing.TB, nc *nats.Conn, subject string, request any) apiAnswer {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := nc.Request(subject, body, snapshotWait)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return decode(t, subject, reply.Data)
}

func decode(t testing.TB, what string, data []byte) (a apiAnswer) {
	t.Helper()
	err := json.Unmarshal(data, &a)
	if err == nil && a.Error != nil {
		err = errors.New(a.Error.Description)
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return a
}

// TakeSnapshot backs a stream up.
func TakeSnapshot(t testing.TB, nc *nats.Conn, stream string) *Snapshot {
	t.Helper()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the test is over when the connection is gone
	answer := api(t, nc, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": sub.Subject, "no_consumers": true})
	s := &Snapshot{stream: stream, config: answer.Config, state: answer.State}
	for {
		m, err := sub.NextMsg(snapshotWait)
		if err != nil {
			t.Fatalf("snapshot of %s: %v", stream, err)
		}
		if len(m.Data) == 0 {
			return s
		}
		s.chunks = append(s.chunks, m.Data)
		if m.Reply == "" {
			continue
		}
		if err := m.Respond(nil); err != nil { // the server sends no more than a window ahead
			t.Fatal(err)
		}
	}
}

// Restore deletes the stream, if it is there, and makes it again from s. It has its events, with their sequences and times, and another time at
// which it was made.
func (s *Snapshot) Restore(t testing.TB, nc *nats.Conn) {
	t.Helper()
	if _, err := nc.Request("$JS.API.STREAM.DELETE."+s.stream, nil, snapshotWait); err != nil {
		t.Fatal(err)
	}
	to := api(t, nc, "$JS.API.STREAM.RESTORE."+s.stream, map[string]any{"config": s.config, "state": s.state}).Deliver
	for _, chunk := range append(s.chunks, nil) {
		reply, err := nc.Request(to, chunk, snapshotWait)
		if err != nil {
			t.Fatalf("restore %s: %v", s.stream, err)
		}
		if len(reply.Data) > 0 {
			decode(t, "restore "+s.stream, reply.Data)
		}
	}
}

// Rewind remembers the files of one stream of n, which it restarts, and returns what brings them back: the log has then lost its end, as in a power
// cut or with an older copy of the disk, and is by all else the same stream.
func Rewind(t testing.TB, n *devstack.NATS, stream string) (lose func()) {
	t.Helper()
	files := filepath.Join(n.Dir(), "data", "jetstream", "$G", "streams", stream)
	copied := filepath.Join(t.TempDir(), stream)
	whileStopped(t, n, func() error { return os.CopyFS(copied, os.DirFS(files)) })
	return func() {
		t.Helper()
		whileStopped(t, n, func() error { return errors.Join(os.RemoveAll(files), os.CopyFS(files, os.DirFS(copied))) })
	}
}

func whileStopped(t testing.TB, n *devstack.NATS, do func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	if err := errors.Join(n.Stop(), do(), n.Restart(ctx)); err != nil {
		t.Fatal(err)
	}
}
