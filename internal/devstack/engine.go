package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Engine is a database server persistd runs on.
type Engine string

// The engines that StartDatabase can start.
const (
	MariaDB Engine = "mariadb"
	MySQL   Engine = "mysql"
)

// ParseEngine reads an engine's name; an empty one is MariaDB.
func ParseEngine(name string) (Engine, error) {
	switch e := Engine(strings.ToLower(name)); e {
	case "":
		return MariaDB, nil
	case MariaDB, MySQL:
		return e, nil
	default:
		return "", fmt.Errorf("parse engine %q: want %s or %s", name, MariaDB, MySQL)
	}
}

// find returns the path of the engine's server program.
func (e Engine) find() (string, error) {
	if e == MySQL {
		return findMySQL()
	}
	return findMariaDB()
}

// baseArgs are the arguments of both a start and an initialisation. Some settings
// (the redo log's size) must be the same in both, or the first start rebuilds files.
func (e Engine) baseArgs(data string) []string {
	args := []string{
		"--no-defaults", // must be the first
		"--datadir=" + data,
		"--character-set-server=utf8mb4", // MariaDB's own default is latin1
		"--performance-schema=OFF",
		"--skip-log-bin",
	}
	if e == MySQL {
		args = append(args, "--secure-file-priv=NULL") // Debian's default is a folder only its package makes
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // both refuse to run as root unasked
	}
	return args
}

// serveArgs are the arguments of a start. No initFile runs none.
func (e Engine) serveArgs(data, initFile string, port int, relaxed bool) []string {
	args := append(e.baseArgs(data),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--port=%d", port),
		"--socket="+socketFile,
		"--pid-file="+pidFile,
		"--tmpdir="+data, // a server removes what it finds of temporary tables when it starts: not another's
		"--skip-name-resolve",
		"--max-connections=500",
		"--innodb-buffer-pool-size=128M",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--table-open-cache=400",
	)
	if initFile != "" {
		args = append(args, "--init-file="+initFile)
	}
	if relaxed {
		args = append(args, "--innodb-flush-log-at-trx-commit=2")
	}
	if e == MySQL {
		args = append(args, "--mysqlx=OFF")
	}
	return args
}

// initialise fills the empty folder data with the engine's system tables.
func (e Engine) initialise(ctx context.Context, binary, data string) error {
	if e == MySQL {
		return runInit(exec.CommandContext(ctx, binary, append(e.baseArgs(data), "--initialize-insecure")...))
	}
	script, err := mariaDBBootstrap(binary)
	if err != nil {
		return err
	}
	// The script fills the schema `mysql`, which is but a folder before there is a server.
	if err := os.Mkdir(filepath.Join(data, "mysql"), 0o700); err != nil {
		return fmt.Errorf("initialise %s: %w", e, err)
	}
	cmd := exec.CommandContext(ctx, binary, append(e.baseArgs(data), "--bootstrap")...)
	cmd.Stdin = script
	return runInit(cmd)
}

func runInit(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil && !bytes.Contains(out, []byte("[ERROR]")) && !bytes.Contains(out, []byte("ERROR:")) {
		return nil
	}
	if err == nil {
		err = errors.New("errors logged")
	}
	return fmt.Errorf("initialise with %s: %w\n%s", filepath.Base(cmd.Path), err, out[max(0, len(out)-2048):])
}

// mariaDBBootstrap is the SQL that makes MariaDB's system tables, in the order in
// which mariadb-install-db feeds it. That script itself is not used: it needs the
// client package next to the server's and takes three times as long.
func mariaDBBootstrap(binary string) (io.Reader, error) {
	if target, err := filepath.EvalSymlinks(binary); err == nil {
		binary = target
	}
	prefix := filepath.Dir(filepath.Dir(binary))
	var tried []string
	for _, share := range []string{"share/mysql", "share/mariadb", "share"} {
		dir := filepath.Join(prefix, share)
		tried = append(tried, dir)
		for _, brand := range []string{"mariadb", "mysql"} { // renamed in MariaDB 11
			script, err := readScripts(dir, brand+"_system_tables.sql", brand+"_performance_tables.sql",
				brand+"_system_tables_data.sql", "maria_add_gis_sp_bootstrap.sql")
			if err == nil {
				return io.MultiReader(strings.NewReader("USE mysql;\nSET @auth_root_socket=NULL;\n"), script), nil
			}
			if !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
	}
	return nil, &MissingError{
		Program: "MariaDB's system tables (looked in " + strings.Join(tried, ", ") + ")", Install: "make deps",
	}
}

func readScripts(dir string, names ...string) (io.Reader, error) {
	var all bytes.Buffer
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read bootstrap script: %w", err)
		}
		all.Write(append(text, '\n'))
	}
	return &all, nil
}

// accountSQL gives root its password, one statement a line as --init-file wants it.
// It runs at every start, so that a lost password file heals itself, and it leaves
// no account without a password.
func (e Engine) accountSQL(password string) string {
	lines := []string{
		"CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';",
		"GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;",
		"ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '" + password + "', 'root'@'localhost' IDENTIFIED BY '" + password + "';",
	}
	if e == MariaDB { // its bootstrap makes more of them
		lines = append(lines, "DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost','127.0.0.1') AND User='root';",
			"FLUSH PRIVILEGES;")
	}
	return strings.Join(lines, "\n") + "\n"
}
