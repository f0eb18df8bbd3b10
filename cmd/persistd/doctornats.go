package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// setup is what is known of the setup, in so far as what it survives depends on it.
type setup struct {
	cfg config.Config

	log      bool // there is one
	broken   int  // settings of it that break a promise
	copies   int  // of the log
	synced   sync3
	interval time.Duration // between two syncs, where it is known that not every write is one

	replicas int           // of persistd that answered
	replays  time.Duration // how long what is committed stays in the log

	database bool // it answered
	flushed  bool // each commit is
	nodes    int  // of a Galera cluster; 0 where there is none
}

// sync3 is whether the servers sync what they acknowledge.
type sync3 int

const (
	syncUnknown sync3 = iota
	syncNever
	syncAlways
)

const areaNATS, areaReplicas, areaDatabase = "NATS", "persistd", "database"

// clientRetries is how long a client repeats a publish at most, by default (client.WithRetryLimit).
const clientRetries = 90 * time.Second

func (s *setup) examineNATS(ctx context.Context, r *report, monitors []string, wait time.Duration) {
	nc, err := connectNATS(s.cfg.NATS, "persistd doctor", zap.NewNop())
	if err != nil {
		r.add(areaNATS, "connection", failed, err.Error(), "nothing about the log can be told without it")
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.add(areaNATS, "JetStream", failed, err.Error(), "")
		return
	}
	x, err := stream.Look(ctx, js, streamConfig(s.cfg.Stream))
	if err != nil {
		r.add(areaNATS, "log", failed, err.Error(), "see that the user may use $JS.API.> and its inbox")
		return
	}
	r.either(x.Server == nil, areaNATS, "server", failed, strings.TrimSpace(fmt.Sprintf("%s %s", x.Version, errorText(x.Server))), "install a newer one, or switch JetStream on")
	if x.Server != nil {
		return
	}
	for _, v := range x.Violations {
		r.add(areaNATS, "setting "+v.Setting, failed, fmt.Sprintf("%s, must be %s", v.Found, v.Needed), v.Why+". "+v.Fix)
	}
	if x.Log == nil {
		r.add(areaNATS, "log", warn, "stream "+s.cfg.Stream.Name+" is not there", "persistd serve makes it, with the right settings")
	} else {
		s.examineLog(r, x)
	}
	s.examineSync(ctx, r, nc, monitors)
	r.either(x.MaxPayload >= 1<<20, areaNATS, "max_payload", warn, humanize.IBytes(uint64(max(0, x.MaxPayload))), "states above it are refused: raise max_payload of the servers")
	all := s.examineReplicas(ctx, r, nc, wait)
	s.examineWindow(r, all)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *setup) examineLog(r *report, x stream.Survey) {
	c := x.Log.Config
	s.log, s.copies, s.broken = true, c.Replicas, len(x.Violations)
	r.either(len(x.Violations) == 0, areaNATS, "log", failed, fmt.Sprintf("stream %s, %d events", c.Name, x.Log.State.Msgs), "mend its settings, as said above")
	r.either(c.Replicas >= 3, areaNATS, "copies of the log", warn, fmt.Sprint(c.Replicas),
		"the loss of that server's disk is the loss of what is not yet in MySQL: stream.replicas 3, on three servers")
	if x.Log.Cluster != nil && c.Replicas > 1 {
		var late []string
		for _, p := range x.Log.Cluster.Replicas {
			if p.Offline || !p.Current {
				late = append(late, p.Name)
			}
		}
		r.either(len(late) == 0, areaNATS, "state of the copies", warn, cmpText(len(late) == 0, "all current", "not current: "+strings.Join(late, ", ")),
			"until they are, the loss of another server stops the log, or loses what only it has")
	}
	r.either(c.Duplicates >= clientRetries, areaNATS, "duplicate window", failed, config.ShowDuration(c.Duplicates),
		fmt.Sprintf("clients repeat a publish for %s: what is repeated after the window is written twice. Set stream.duplicate_window", clientRetries))
	used := float64(x.Log.State.Bytes) / float64(max(1, c.MaxBytes))
	r.add(areaNATS, "room in the log", roomLevel(used), fmt.Sprintf("%s of %s", humanize.IBytes(x.Log.State.Bytes), humanize.IBytes(uint64(max(0, c.MaxBytes)))),
		"when it is full, publishers get errors: raise stream.max_bytes, shorten stream.replay_window, or see why MySQL is behind")
	if d := x.Letters; d != nil {
		used := float64(d.State.Bytes) / float64(max(1, d.Config.MaxBytes))
		r.add(areaNATS, "room for dead letters", roomLevel(used), fmt.Sprintf("%s of %s", humanize.IBytes(d.State.Bytes), humanize.IBytes(uint64(max(0, d.Config.MaxBytes)))),
			"a partition that cannot keep a dead letter waits: look at the letters, and remove those that are done with")
		r.either(d.State.Msgs == 0, areaNATS, "dead letters", warn, fmt.Sprint(d.State.Msgs), "these events were never applied: persistd dlq ls shows why, docs/deadletters.md what to do")
		r.either(d.Config.Replicas >= c.Replicas, areaNATS, "copies of the dead letters", warn, fmt.Sprint(d.Config.Replicas), "start persistd serve with stream.replicas as the log has: it raises them")
	}
}

func cmpText(ok bool, then, otherwise string) string {
	if ok {
		return then
	}
	return otherwise
}

func roomLevel(used float64) level {
	switch {
	case used >= 0.95:
		return failed
	case used >= 0.8:
		return warn
	default:
		return fine
	}
}

// jsz is what a server tells of its JetStream, as far as it matters here.
type jsz struct {
	Config *struct {
		SyncAlways   bool          `json:"sync_always"`
		SyncInterval time.Duration `json:"sync_interval"`
	} `json:"config"`
}

const adviceSync = "sync_interval: always in the servers' jetstream block makes each acknowledgement survive a power cut"

// examineSync finds out how the servers sync. The API that clients have does not tell.
func (s *setup) examineSync(ctx context.Context, r *report, nc *nats.Conn, monitors []string) {
	const check = "fsync"
	answers, err := askMonitors(ctx, monitors)
	if err != nil {
		r.add(areaNATS, check, unknown, err.Error(), "give --nats-monitor the address of a server's monitoring port (http_port in its configuration): http://host:8222")
		return
	}
	if len(monitors) == 0 {
		answers = askSystem(ctx, nc)
	}
	if len(answers) == 0 {
		r.add(areaNATS, check, unknown, "not asked: the servers tell it to their own account, and on their monitoring port",
			"name that with --nats-monitor http://host:8222, or look for sync_interval in the servers' configuration; "+adviceSync)
		return
	}
	s.synced = syncAlways
	for _, a := range answers {
		if a.Config == nil || a.Config.SyncAlways {
			continue
		}
		s.synced, s.interval = syncNever, max(s.interval, a.Config.SyncInterval)
	}
	if s.synced == syncAlways {
		r.add(areaNATS, check, fine, fmt.Sprintf("before each acknowledgement, on %d of %d servers asked", len(answers), len(answers)), "")
		return
	}
	r.add(areaNATS, check, warn, "every "+config.ShowDuration(s.interval), adviceSync)
}

func askMonitors(ctx context.Context, urls []string) (all []jsz, err error) {
	for _, url := range urls {
		if !strings.Contains(url, "://") {
			url = "http://" + url // host:port, as nats-server says it
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/jsz?config=true", nil)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", url, err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", url, err)
		}
		var a jsz
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&a), resp.Body.Close())
		if err != nil || resp.StatusCode != http.StatusOK || a.Config == nil {
			return nil, fmt.Errorf("ask %s: no answer of a nats-server with JetStream: %s", url, resp.Status)
		}
		all = append(all, a)
	}
	return all, nil
}

// askSystem asks all servers by NATS; only users of the system account are answered.
func askSystem(ctx context.Context, nc *nats.Conn) (all []jsz) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection closes next.
	if nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", inbox, []byte(`{"config":true}`)) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil { // no responders, or no more of them
			return all
		}
		var a struct {
			Data jsz `json:"data"`
		}
		if json.Unmarshal(m.Data, &a) == nil && a.Data.Config != nil {
			all = append(all, a.Data)
		}
	}
}

// examineWindow finds out for how long what is committed stays in the log: the owners of the partitions trim it, each as it was told. With
// nobody there it is what this command was told.
func (s *setup) examineWindow(r *report, replicas []wire.Status) {
	const check = "replay window"
	of := ""
	for i := range replicas {
		if told := replicas[i].ReplayWindowSeconds; told != nil {
			window := time.Duration(*told * float64(time.Second))
			r.either(window == s.replays || of == "", areaReplicas, check+" of "+replicas[i].Instance, warn, config.ShowDuration(window),
				"it is not the others', so it depends on who owns a partition: set stream.replay_window alike")
			if of == "" || window < s.replays {
				s.replays, of = window, "as "+replicas[i].Instance+" has it"
			}
		}
	}
	if of == "" {
		of = "as of the settings given here: no replica tells its own"
	}
	r.either(s.replays > 0, areaNATS, check, warn, config.ShowDuration(s.replays)+", "+of,
		"a database that is restored from a backup lacks what was committed since: set stream.replay_window above the age of the oldest backup that you would restore")
}

// examineReplicas asks the daemons that run, and returns their answers.
func (s *setup) examineReplicas(ctx context.Context, r *report, nc *nats.Conn, wait time.Duration) []wire.Status {
	all, err := askStatus(ctx, nc, wire.Subjects{Prefix: s.cfg.Stream.Prefix}, wait)
	if err != nil {
		r.add(areaReplicas, "replicas", failed, err.Error(), "")
		return nil
	}
	s.replicas = len(all)
	if len(all) == 0 {
		r.add(areaReplicas, "replicas", warn, "none answers", "nothing is committed and no read is answered until persistd serve runs; what workers save is in the log meanwhile")
		return nil
	}
	r.either(len(all) > 1, areaReplicas, "replicas", warn, fmt.Sprint(len(all)), "while the only one is away nothing is committed or read: run two or more")
	owners, behind := map[int]int{}, 0.0
	for _, one := range all {
		r.either(one.Ready, areaReplicas, "replica "+one.Instance, failed, cmpText(one.Ready, "ready, version "+one.Version, strings.Join(one.NotReady, "; ")), "it says itself what it needs")
		r.either(one.Version == all[0].Version, areaReplicas, "version of "+one.Instance, warn, one.Version, "it is not "+all[0].Version+", as "+all[0].Instance+"'s: finish the upgrade")
		for _, p := range one.Partitions {
			if p.State == "applying" {
				owners[p.Partition]++
				behind = max(behind, p.LagSeconds)
			}
		}
	}
	partitions := len(all[0].Partitions)
	r.either(len(owners) == partitions, areaReplicas, "owned partitions", warn, fmt.Sprintf("%d of %d", len(owners), partitions), "the others are taken when their lease is over, or see the replicas' logs")
	for _, share := range all[0].Replicas {
		r.either(share.Has >= share.Share-1 && share.Has <= share.Share+1, areaReplicas, "share of "+share.Instance, warn, fmt.Sprintf("%d of %d", share.Has, share.Share), "partitions move one after another; if it stays so, see the replicas' logs")
	}
	lag := time.Duration(behind * float64(time.Second)).Round(time.Millisecond)
	r.either(lag < time.Minute, areaReplicas, "lag", warn, lag.String(), "MySQL does not keep up, or is away: see persistd status")
	return all
}
