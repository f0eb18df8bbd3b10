package devstack

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// galeraCluster is what the nodes of a cluster have in common.
type galeraCluster struct {
	name, dir, provider string
	ports               []int // two per node: of the group, and of what a returning node is given
}

// galeraNode is what makes a database one of a cluster.
type galeraNode struct {
	cluster *galeraCluster
	no      int
	founds  bool // starts a cluster instead of joining one
}

// transferMethod is the way of giving a node what it lacks, and part of a script's name.
const transferMethod = "devstack"

// args are what the server needs beside those of every other. The group notices a dead node after suspect_timeout: a fraction of the
// default, 5 s, of which a test would see little but waiting.
func (n *galeraNode) args() []string {
	var group []string
	for no := 0; no < len(n.cluster.ports)/2; no++ {
		group = append(group, localAddr(n.groupPort(no)))
	}
	args := []string{
		"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON",
		"--wsrep-provider=" + n.cluster.provider,
		"--wsrep-cluster-name=" + n.cluster.name,
		fmt.Sprintf("--wsrep-node-name=node-%d", n.no),
		"--wsrep-node-address=127.0.0.1",
		"--wsrep-cluster-address=gcomm://" + strings.Join(group, ","),
		"--wsrep-sst-method=" + transferMethod,
		"--wsrep-provider-options=" + strings.Join([]string{
			"gmcast.listen_addr=tcp://" + localAddr(n.groupPort(n.no)),
			"ist.recv_addr=" + localAddr(n.cluster.ports[2*n.no+1]),
			"gcache.size=64M", "gcache.recover=yes",
			"evs.keepalive_period=PT0.5S", "evs.inactive_check_period=PT0.5S", "evs.suspect_timeout=PT2S", "evs.inactive_timeout=PT10S",
		}, ";"),
	}
	if n.founds {
		args = append(args, "--wsrep-new-cluster")
	}
	return args
}

func (n *galeraNode) groupPort(no int) int { return n.cluster.ports[2*no] }

// environment lets the server find the script that hands over.
func (n *galeraNode) environment() []string {
	return append(os.Environ(), "PATH="+n.cluster.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

var (
	recoveredAt = regexp.MustCompile(`Recovered position: (\S+)`)
	noPosition  = regexp.MustCompile(`(?m)^seqno:\s*-1\s*$`)
)

// position is the argument that tells a server how far it got, when it could not write that down: InnoDB knows.
func (n *galeraNode) position(ctx context.Context, binary, data string, args []string) ([]string, error) {
	state, err := os.ReadFile(filepath.Join(data, "grastate.dat"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !noPosition.Match(state) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of the node: %w", err)
	}
	out, err := exec.CommandContext(ctx, binary, append(args, "--wsrep-recover", "--log-error="+filepath.Join(data, "..", "recover.log"))...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("recover position of the node: %w\n%s", err, out)
	}
	log, err := os.ReadFile(filepath.Join(data, "..", "recover.log"))
	if err != nil {
		return nil, fmt.Errorf("recover position of the node: %w", err)
	}
	found := recoveredAt.FindAllSubmatch(log, -1)
	if len(found) == 0 {
		return nil, fmt.Errorf("recover position of the node: none in the log:\n%s", bytes.TrimSpace(log))
	}
	return []string{"--wsrep-start-position=" + string(found[len(found)-1][1])}, nil
}

// ready reports whether the node is in the cluster and takes statements.
func (n *galeraNode) ready(ctx context.Context, db *sql.DB) error {
	var name, value string
	if err := db.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_ready'").Scan(&name, &value); err != nil {
		return fmt.Errorf("ask whether node is ready: %w", err)
	}
	if value != "ON" {
		return errors.New("node is not ready")
	}
	return nil
}

// transferScript is what a server calls on both sides when a node joins. Of a node that was there before, only the transactions that it
// missed are handed over, and those the servers hand over themselves: the script has but to tell the joining side how far that goes.
const transferScript = `#!/bin/sh
# Written by devstack.
role= address= gtid= bypass= parent=
while [ $# -gt 0 ]; do
  case $1 in
  --role) role=$2; shift ;;
  --address) address=$2; shift ;;
  --gtid) gtid=$2; shift ;;
  --parent) parent=$2; shift ;;
  --bypass) bypass=1 ;;
  esac
  shift
done
case $role in
joiner)
  file=$(mktemp -d "$(dirname "$0")/joining-XXXXXX")/gtid
  echo "ready 127.0.0.1$file"
  until [ -e "$file" ]; do
    [ -z "$parent" ] || kill -0 "$parent" || exit 1
    sleep 0.05
  done
  cat "$file"
  ;;
donor)
  if [ -z "$bypass" ]; then
    echo "the joining node lacks more than this node remembers, and there is no way here to give it everything" >&2
    exit 1
  fi
  file=${address#127.0.0.1}
  echo "$gtid" >"$file.new" && mv "$file.new" "$file" && echo "done $gtid"
  ;;
esac
`

func writeTransferScript(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	path := filepath.Join(dir, "wsrep_sst_"+transferMethod)
	if err := os.WriteFile(path, []byte(transferScript), 0o700); err != nil { //nolint:gosec // G306: it is a program.
		return fmt.Errorf("write transfer script: %w", err)
	}
	return nil
}

// findGalera looks at $PERSISTD_GALERA, or else where distributions put the library that makes MariaDB servers a cluster.
func findGalera() (string, error) {
	paths := []string{
		"/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so", "/usr/lib64/galera/libgalera_smm.so",
		"/usr/lib/libgalera_smm.so", "/usr/local/lib/libgalera_smm.so",
	}
	if path := os.Getenv("PERSISTD_GALERA"); path != "" {
		paths = []string{path}
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil { //nolint:gosec // G703: who sets the variable starts the server.
			return path, nil
		}
	}
	return "", &MissingError{Program: "libgalera_smm.so", Install: "make deps"}
}
