package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	lockFile = "lock"
	logFile  = "server.log"

	// lockWait is how long a start waits for the folder's previous server to end:
	// one that is being killed with its parent takes milliseconds to go.
	lockWait = 5 * time.Second

	// maxLog is the size at which a start begins the log file anew.
	maxLog = 16 << 20
)

var errLocked = errors.New("in use by another server")

// lockFolder takes the exclusive lock on dir. Handed to a child as an inherited
// file, the lock lasts until both the child is gone and the returned file closed.
func lockFolder(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
		}
		if !pause(ctx, 20*time.Millisecond) {
			holder, _ := io.ReadAll(io.LimitReader(f, 20))
			err = fmt.Errorf("lock %s: %w (pid %s)", dir, errLocked, bytes.TrimSpace(holder))
			return nil, errors.Join(err, f.Close())
		}
	}
}

// noteHolder writes the pid of the child that inherits the lock into it, for the
// error message of whoever finds it taken.
func noteHolder(lock *os.File, pid int) error {
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if _, err := lock.WriteAt(fmt.Appendf(nil, "%d\n", pid), 0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// openLog opens dir's log for appending and returns where this run's lines begin.
func openLog(dir string) (*os.File, int64, error) {
	f, err := os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > maxLog {
		size, err = 0, f.Truncate(0)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	return f, size, nil
}

// logTail returns what was logged from offset on, at most its last 2 KiB.
func logTail(dir string, offset int64) string {
	f, err := os.Open(filepath.Join(dir, logFile))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		offset = max(offset, size-2048)
	}
	tail, err := io.ReadAll(io.NewSectionReader(f, offset, 2048))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(tail))
}

// portTaken tells from a server's log or error that its port was not free.
func portTaken(text string) bool {
	return strings.Contains(strings.ToLower(text), "address already in use")
}

// pause waits for d; it returns false as soon as ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
