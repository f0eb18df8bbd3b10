package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
)

func (s *setup) examineDatabase(ctx context.Context, r *report) {
	store, err := mysqlstore.Open(storeConfig(s.cfg), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		r.add(areaDatabase, "settings", failed, err.Error(), "")
		return
	}
	defer store.Close()
	x, err := store.Examine(ctx)
	if err != nil {
		r.add(areaDatabase, "connection", failed, err.Error(), "nothing about the database can be told without it")
		return
	}
	s.database = true
	where := x.Address
	if x.Addresses > 1 {
		where = fmt.Sprintf("%s, of %d addresses", x.Address, x.Addresses)
	}
	r.add(areaDatabase, "server", fine, fmt.Sprintf("%s %s at %s", x.Limits.Engine, x.Limits.Version, where), "")
	r.either(x.Schema == nil, areaDatabase, "schema", failed, cmpText(x.Schema == nil, "up to date", errorText(x.Schema)), "persistd migrate, or persistd serve with mysql.migrate auto")
	if x.Schema == nil {
		r.either(len(x.Missing) == 0, areaDatabase, "rights", failed, cmpText(len(x.Missing) == 0, "all that serve needs", "missing: "+strings.Join(x.Missing, ", ")), "docs/schema.md has the GRANT statements")
		gaps, err := store.Gaps(ctx, s.cfg.Stream.Name, true)
		r.either(err == nil && len(gaps) == 0, areaDatabase, "gaps", failed, fmt.Sprintf("%d not accepted %s", len(gaps), errorText(err)), "events are in neither log nor database: persistd recover shows them, and accepts them")
	}
	s.examineDurability(r, x.Variables)
	s.examineRole(r, x)
	r.either(x.Limits.MaxAllowedPacket >= 16<<20, areaDatabase, "max_allowed_packet", warn, humanize.IBytes(uint64(max(0, x.Limits.MaxAllowedPacket))),
		"16 MiB or more: a row that is larger is refused for good, and a batch is at most a quarter of it")
	r.either(x.Ahead.Abs() <= 2*time.Second+x.Took, areaDatabase, "clock", warn, fmt.Sprintf("%s ahead of this machine's, give or take %s", x.Ahead.Round(time.Millisecond), (x.Took/2).Round(time.Millisecond)),
		"leases go by the database's clock alone, but the ages of what is trimmed do not: synchronise the clocks")
}

func (s *setup) examineDurability(r *report, v map[string]string) {
	s.flushed = v["innodb_flush_log_at_trx_commit"] == "1"
	r.either(s.flushed, areaDatabase, "innodb_flush_log_at_trx_commit", warn, v["innodb_flush_log_at_trx_commit"],
		"1: otherwise a power cut takes back commits of the last second. Positions go back with their rows, and the log applies them again, for as long as it keeps them")
	if v["log_bin"] == "ON" {
		r.either(v["sync_binlog"] == "1", areaDatabase, "sync_binlog", warn, v["sync_binlog"], "1: otherwise the binary log, and the replicas that it feeds, may lack what is committed")
		r.either(v["binlog_format"] != "STATEMENT", areaDatabase, "binlog_format", failed, v["binlog_format"], "ROW or MIXED: commits are READ COMMITTED, which STATEMENT refuses")
	}
	if v["innodb_doublewrite"] != "" {
		r.either(v["innodb_doublewrite"] != "OFF" && v["innodb_doublewrite"] != "0", areaDatabase, "innodb_doublewrite", warn, v["innodb_doublewrite"], "ON, unless the file system writes pages whole")
	}
}

// examineRole tells what the server is among others.
func (s *setup) examineRole(r *report, x mysqlstore.Examination) {
	v, state := x.Variables, x.Status
	readOnly := v["read_only"] == "ON" || v["super_read_only"] == "ON"
	r.either(!readOnly, areaDatabase, "writable", failed, cmpText(readOnly, "read-only", "yes"), "persistd reads and writes a primary; this is a replica or was demoted: name the primary in mysql.dsn")
	if state["slave_running"] == "ON" || state["replica_running"] == "ON" {
		r.add(areaDatabase, "role", failed, "a replica: it replays another server's writes", "reads here miss what is not replayed yet, and writes are undone by nobody: name the primary in mysql.dsn")
	}
	if group := v["group_replication_group_name"]; group != "" {
		mode := v["group_replication_consistency"]
		r.either(mode != "EVENTUAL", areaDatabase, "group replication", warn, "group_replication_consistency "+mode,
			"BEFORE_ON_PRIMARY_FAILOVER or stronger, and name the primary only: otherwise a new primary answers reads before it has applied what the old one acknowledged")
	}
	if v["wsrep_on"] != "ON" || v["wsrep_provider"] == "" || v["wsrep_provider"] == "none" {
		return
	}
	s.nodes, _ = strconv.Atoi(state["wsrep_cluster_size"])
	r.either(s.nodes >= 3, areaDatabase, "Galera nodes", warn, fmt.Sprintf("%d, this one is %s", s.nodes, strings.ToLower(state["wsrep_local_state_comment"])),
		"with fewer than three the loss of one stops the cluster")
	r.either(x.Addresses >= min(2, s.nodes), areaDatabase, "Galera addresses", warn, fmt.Sprintf("mysql.dsn names %d", x.Addresses),
		"name all nodes, tcp(a:3306,b:3306,c:3306), unless it is a proxy's address: otherwise this node's loss stops persistd")
	r.add(areaDatabase, "Galera reads", fine, "wait for what was committed on other nodes (wsrep_sync_wait, set by persistd)", "")
}
