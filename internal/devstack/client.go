package devstack

import (
	"os"
	"os/exec"
	"path/filepath"
)

// FindClient returns the path of the engine's client program, which runs SQL from its standard input, and of its dump program. MariaDB's
// are those in PATH; MySQL's are in $PERSISTD_MYSQL_CLIENT_HOME, or else in the repository's .cache/mysql-client, as MariaDB's go by MySQL's
// names, too.
func (e Engine) FindClient() (client, dump string, err error) {
	if e == MariaDB {
		return findBoth("mariadb", "mariadb-dump", "make deps")
	}
	home := os.Getenv("PERSISTD_MYSQL_CLIENT_HOME")
	if home == "" {
		root, err := RepoRoot()
		if err != nil {
			return "", "", err
		}
		home = filepath.Join(root, ".cache", "mysql-client")
	}
	return findBoth(filepath.Join(home, "bin", "mysql"), filepath.Join(home, "bin", "mysqldump"), "make deps-mysql")
}

func findBoth(client, dump, install string) (string, string, error) {
	var found [2]string
	for i, name := range []string{client, dump} {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", "", &MissingError{Program: filepath.Base(name), Install: install}
		}
		found[i] = path
	}
	return found[0], found[1], nil
}
