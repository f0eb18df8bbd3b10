package devstack

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// natsLog writes an embedded server's log to its folder. Of the fatal errors, at
// which a nats-server process would exit, it keeps the first for the start to return.
type natsLog struct {
	mu    sync.Mutex // guards both; the server logs from many goroutines
	file  *os.File   // nil once closed
	first string
}

func openNATSLog(dir string) (*natsLog, error) {
	f, _, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	return &natsLog{file: f}, nil
}

func (l *natsLog) line(label, format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf(format, v...)
	if label == "FTL" && l.first == "" {
		l.first = text
	}
	if l.file != nil {
		// A log that cannot be written must not stop the server.
		_, _ = fmt.Fprintf(l.file, "%s [%s] %s\n", time.Now().Format(time.RFC3339Nano), label, text)
	}
}

func (l *natsLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *natsLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file
	if l.file = nil; f == nil {
		return nil
	}
	return f.Close()
}

// These are nats-server's Logger.

func (l *natsLog) Noticef(format string, v ...any) { l.line("INF", format, v) }
func (l *natsLog) Warnf(format string, v ...any)   { l.line("WRN", format, v) }
func (l *natsLog) Fatalf(format string, v ...any)  { l.line("FTL", format, v) }
func (l *natsLog) Errorf(format string, v ...any)  { l.line("ERR", format, v) }
func (l *natsLog) Debugf(format string, v ...any)  { l.line("DBG", format, v) }
func (l *natsLog) Tracef(format string, v ...any)  { l.line("TRC", format, v) }
