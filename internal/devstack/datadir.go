package devstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	dataFolder   = "data"
	passwordFile = "password"

	// Within the data folder, and named relative to it: a whole path may pass the 108
	// bytes that a socket's may have.
	socketFile = "server.sock"
	pidFile    = "server.pid"
)

// ensureData initialises dir's data folder unless it is there. It becomes visible
// under its name only when complete, so a start that dies half-way is made good by
// the next one.
func ensureData(ctx context.Context, engine Engine, binary, dir, templates string) error {
	data := filepath.Join(dir, dataFolder)
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	if templates == "" {
		return buildFolder(data, func(tmp string) error { return engine.initialise(ctx, binary, tmp) })
	}
	template, err := ensureTemplate(ctx, engine, binary, templates)
	if err != nil {
		return err
	}
	return buildFolder(data, func(tmp string) error { return copyFolder(ctx, template, tmp) })
}

// ensureTemplate returns an initialised data folder of exactly this server program,
// kept under templates. Processes that want the same one at once build it once.
func ensureTemplate(ctx context.Context, engine Engine, binary, templates string) (string, error) {
	version, err := exec.CommandContext(ctx, binary, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask version of %s: %w", binary, err)
	}
	// The arguments are part of the name: another redo log size is another template.
	key := sha256.Sum256(fmt.Append(version, engine.baseArgs("")))
	dir := filepath.Join(templates, string(engine)+"-"+hex.EncodeToString(key[:6]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make template folder: %w", err)
	}
	data := filepath.Join(dir, dataFolder)
	if _, err := os.Stat(data); err == nil {
		return data, nil
	}
	lock, err := lockTemplate(ctx, dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	return data, ensureData(ctx, engine, binary, dir, "")
}

// lockTemplate is lockFolder for a wait as long as an initialisation takes.
func lockTemplate(ctx context.Context, dir string) (*os.File, error) {
	for {
		lock, err := lockFolder(ctx, dir)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errLocked) {
			return lock, err
		}
	}
}

// buildFolder has fill make the folder's content under another name and renames it.
func buildFolder(path string, fill func(tmp string) error) error {
	tmp := path + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("remove half-made %s: %w", tmp, err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", tmp, err)
	}
	if err := fill(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("finish %s: %w", path, err)
	}
	return nil
}

// copyFolder copies a tree of folders and files. Blocks of zeros, which are most of
// a fresh redo log, become holes.
func copyFolder(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case entry.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return fmt.Errorf("copy %s: %w", path, err)
			}
			return nil
		case entry.Type().IsRegular():
			return copySparse(path, target)
		default:
			return nil // a socket or link left behind is not data
		}
	})
}

func copySparse(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()

	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	var size int64
	for {
		n, err := io.ReadFull(src, block)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := dst.WriteAt(block[:n], size); err != nil {
				return fmt.Errorf("copy %s: %w", from, err)
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	if err := dst.Truncate(size); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// removeStale removes what a killed server left besides its data. MySQL refuses to
// start when the pid in there exists, be it another program's or an unreaped zombie's;
// we hold the folder's lock and know better.
func removeStale(data string) error {
	for _, name := range []string{socketFile, socketFile + ".lock", pidFile} {
		if err := os.Remove(filepath.Join(data, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale file: %w", err)
		}
	}
	return nil
}

// ensurePassword returns the password kept in dir, drawing it first if there is none.
func ensurePassword(dir string) (string, error) {
	path := filepath.Join(dir, passwordFile)
	kept, err := os.ReadFile(path)
	if password := strings.TrimSpace(string(kept)); err == nil && password != "" {
		return password, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := rand.Text()
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write password: %w", err)
	}
	return password, nil
}
