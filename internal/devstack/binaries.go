package devstack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// MissingError says that a program this package starts is not on this machine.
type MissingError struct {
	Program string // what was looked for
	Install string // the command that installs it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("find %s: not installed; run `%s`", e.Program, e.Install)
}

// findMariaDB looks at $PERSISTD_MARIADBD, or else in PATH and in the sbin folders that
// a user's PATH often lacks.
func findMariaDB() (string, error) {
	names := []string{"mariadbd", "/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd", "/usr/libexec/mariadbd"}
	if path := os.Getenv("PERSISTD_MARIADBD"); path != "" {
		names = []string{path}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &MissingError{Program: "mariadbd", Install: "make deps"}
}

// findMySQL looks in $PERSISTD_MYSQL_HOME, or else in the repository's .cache/mysql;
// never in PATH, where `mysqld` is MariaDB on many machines.
func findMySQL() (string, error) {
	missing := &MissingError{Program: "mysqld", Install: "make deps-mysql"}
	home := os.Getenv("PERSISTD_MYSQL_HOME")
	if home == "" {
		root, err := RepoRoot()
		if err != nil {
			return "", missing
		}
		home = filepath.Join(root, ".cache", "mysql")
	}
	path, err := exec.LookPath(filepath.Join(home, "bin", "mysqld"))
	if err != nil {
		return "", missing
	}
	return path, nil
}

// findNATS looks at $PERSISTD_NATS_SERVER, or else in the repository's bin folder.
// Like MySQL it is not taken from PATH: Debian's nats-server is too old.
func findNATS() (string, error) {
	path := os.Getenv("PERSISTD_NATS_SERVER")
	if path == "" {
		if root, err := RepoRoot(); err == nil {
			path = filepath.Join(root, "bin", "nats-server")
		}
	}
	if found, err := exec.LookPath(path); err == nil {
		return found, nil
	}
	return "", &MissingError{Program: "nats-server", Install: "make bin/nats-server"}
}

var (
	errNoRepo  = errors.New("find repository: not at or above the working folder")
	moduleLine = []byte("module github.com/persistd/persistd\n")
)

// RepoRoot returns the folder at or above the working folder that holds persistd's
// own go.mod; the nested modules' go.mod files are passed over.
func RepoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, moduleLine) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errNoRepo
		}
		dir = parent
	}
}
