package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Violation is one setting of a stream that breaks a promise.
type Violation struct {
	// Setting is the setting's name, as in the stream's JSON.
	Setting string
	// Found and Needed are its values.
	Found, Needed string
	// Why names the invariant and says how it breaks.
	Why string
	// Fix is the command or the step that mends it.
	Fix string
}

// ConfigError is a stream that cannot be the log as it is. Nothing was changed.
type ConfigError struct {
	Stream     string
	Violations []Violation
}

// Error lists every violation, each on a line of its own.
func (e *ConfigError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stream %s cannot be the log, settings to mend: %d", e.Stream, len(e.Violations))
	for _, v := range e.Violations {
		fmt.Fprintf(&b, "\n  %s is %s, must be %s: %s. %s", v.Setting, v.Found, v.Needed, v.Why, v.Fix)
	}
	return b.String()
}

// Why a setting must be what it must be.
const (
	whyKeeps   = "I1: an acknowledged event stays until it is committed and trimmed"
	whyRefuses = "I1: a full log refuses new events instead of dropping old ones"
	whyTrim    = "a log that cannot be trimmed fills up for good"
	whyOnly    = "the log holds events of persistd only, and nobody would trim others"
	whySources = "I1, I4: the log's order is the order in which its events were acknowledged to their workers"
	whyAck     = "I1: a worker learns from the acknowledgement that its event is kept"
	whyRoute   = "an event is found by the partition that the server itself put into its subject"
)

// checker collects violations of one stream.
type checker struct {
	cfg   Config
	found jetstream.StreamConfig
	list  []Violation
}

// check compares the stream found with what the log must be. maxPayload is the largest message that the server takes. It returns
// the partitions that the stream was made with.
func check(cfg Config, found jetstream.StreamConfig, maxPayload int64) (partitions int, err error) {
	c := &checker{cfg: cfg, found: found}
	c.kept()
	c.published(maxPayload)
	partitions = c.partitioned()
	if len(c.list) > 0 {
		return 0, &ConfigError{Stream: cfg.Name, Violations: c.list}
	}
	return partitions, nil
}

func (c *checker) want(ok bool, setting string, found, needed any, why, fix string) {
	if !ok {
		c.list = append(c.list, Violation{Setting: setting, Found: fmt.Sprint(found), Needed: fmt.Sprint(needed), Why: why, Fix: fix})
	}
}

// edit is the command that changes a setting in place.
func (c *checker) edit(flags string) string {
	return "Run: nats stream edit " + c.cfg.Name + " " + flags
}

// remake is the step for what the server does not change in place.
func (c *checker) remake() string {
	return "The server cannot change this in place: stop the workers, let their events be committed, then run nats stream rm " +
		c.cfg.Name + " and start persistd, which makes the stream anew"
}

// kept checks that nothing but a trim removes an event, and that a trim does.
func (c *checker) kept() {
	f := c.found
	c.want(f.Mirror == nil, "mirror", "set", "unset", whySources, c.edit("--no-mirror"))
	c.want(len(f.Sources) == 0, "sources", fmt.Sprint(len(f.Sources)), "none", whySources,
		"Save it with nats stream info "+c.cfg.Name+" --json, take out sources, and give it back with nats stream edit --config FILE")
	retention := c.edit("--retention limits")
	if f.Retention == jetstream.WorkQueuePolicy {
		retention = c.remake()
	}
	c.want(f.Retention == jetstream.LimitsPolicy, "retention", f.Retention, jetstream.LimitsPolicy, whyKeeps, retention)
	c.want(f.Storage == jetstream.FileStorage, "storage", f.Storage, jetstream.FileStorage, "I1: an acknowledged event survives the server's process", c.remake())
	c.want(f.PersistMode == jetstream.DefaultPersistMode, "persist_mode", f.PersistMode, jetstream.DefaultPersistMode,
		"I1: an acknowledged event survives the server's process", c.remake())
	c.want(f.Discard == jetstream.DiscardNew, "discard", f.Discard, jetstream.DiscardNew, whyRefuses, c.edit("--discard new"))
	c.want(f.MaxBytes > 0, "max_bytes", f.MaxBytes, "above 0", "I1: the log must be full before the disk is, which stops all of JetStream", c.edit("--max-bytes 10GiB"))
	c.want(f.MaxAge == 0, "max_age", f.MaxAge, "0", whyKeeps, c.edit("--max-age 0"))
	c.want(f.MaxMsgs <= 0, "max_msgs", f.MaxMsgs, -1, "the log is bounded by bytes; a count refuses events while there is room", c.edit("--max-msgs=-1"))
	c.want(f.MaxMsgsPerSubject <= 0, "max_msgs_per_subject", f.MaxMsgsPerSubject, -1,
		"I1: each further event of a run would drop its oldest one, or be refused", c.edit("--max-msgs-per-subject=-1"))
	c.want(!f.DiscardNewPerSubject, "discard_new_per_subject", true, false, "a run with many events would be refused", c.edit("--no-discard-per-subject"))
	c.want(!f.AllowRollup, "allow_rollup_hdrs", true, false, "I1: a publisher could delete acknowledged events by a header", c.edit("--no-allow-rollup"))
	c.want(!f.AllowMsgTTL, "allow_msg_ttl", true, false, "I1: a publisher could let events expire before they are committed", c.remake())
	c.want(!f.AllowMsgCounter, "allow_msg_counter", true, false, "a stream of counters takes no events", c.remake())
	c.want(!f.AllowMsgSchedules, "allow_msg_schedules", true, false, "I4: a scheduled message enters the log later than it was acknowledged", c.remake())
	c.want(!f.Sealed, "sealed", true, false, "a sealed stream takes no events and cannot be trimmed", c.remake())
	c.want(!f.DenyPurge, "deny_purge", true, false, whyTrim, c.remake())
}

// published checks that workers can write, and that only they do.
func (c *checker) published(maxPayload int64) {
	f := c.found
	c.want(!f.NoAck, "no_ack", true, false, whyAck, c.edit("--ack"))
	c.want(f.AllowDirect, "allow_direct", false, true, "I6: the end of the log is read by direct get", c.edit("--allow-direct"))
	c.want(f.AllowAtomicPublish, "allow_atomic", false, true, "clients publish atomic batches, which share one fsync", c.edit("--allow-batch"))
	c.want(f.MaxMsgSize <= 0 || int64(f.MaxMsgSize) >= maxPayload, "max_msg_size", f.MaxMsgSize, fmt.Sprintf("-1, or at least %d", maxPayload),
		"an event that the server itself would take (max_payload) would be refused", c.edit("--max-msg-size=-1"))
	readers := 2 * max(1, c.cfg.Partitions)
	c.want(f.MaxConsumers <= 0 || f.MaxConsumers >= readers, "max_consumers", f.MaxConsumers, fmt.Sprintf("-1, or at least %d", readers),
		"every partition needs a reader, and another one while it is replaced", c.remake())
	wanted := c.cfg.Subjects.WriteFilters()
	for _, s := range f.Subjects {
		c.want(slices.Contains(wanted, s), "subjects", strconv.Quote(s), strings.Join(wanted, ", "), whyOnly,
			c.edit("--subjects "+shellQuote(strings.Join(wanted, ","))))
	}
}

// deadLetters checks that nothing removes a dead letter.
func (c *checker) deadLetters() {
	f, wanted := c.found, c.cfg.Subjects.DeadLetters()
	const why = "I7: a dead letter stays until a person removes it"
	c.want(f.Retention == jetstream.LimitsPolicy, "retention", f.Retention, jetstream.LimitsPolicy, why, c.remake())
	c.want(f.Storage == jetstream.FileStorage, "storage", f.Storage, jetstream.FileStorage, why, c.remake())
	c.want(f.Discard == jetstream.DiscardNew, "discard", f.Discard, jetstream.DiscardNew, why, c.edit("--discard new"))
	c.want(f.MaxBytes > 0, "max_bytes", f.MaxBytes, "above 0", "the letters must not fill the disk that the log is on", c.edit("--max-bytes 1GiB"))
	c.want(f.MaxAge == 0, "max_age", f.MaxAge, "0", why, c.edit("--max-age 0"))
	c.want(f.MaxMsgs <= 0, "max_msgs", f.MaxMsgs, -1, why, c.edit("--max-msgs=-1"))
	c.want(f.MaxMsgsPerSubject <= 0, "max_msgs_per_subject", f.MaxMsgsPerSubject, -1, why, c.edit("--max-msgs-per-subject=-1"))
	c.want(!f.Sealed, "sealed", true, false, "a sealed stream takes no letters", c.remake())
	c.want(f.SubjectTransform == nil, "subject_transform", "set", "unset", "a letter is found by its subject", c.edit("--no-transform"))
	for _, s := range f.Subjects {
		c.want(s == wanted, "subjects", strconv.Quote(s), wanted, "the stream holds dead letters only", c.edit("--subjects "+shellQuote(wanted)))
	}
}

// marks checks that the newest mark of each subject stays.
func (c *checker) marks() {
	f, wanted := c.found, c.cfg.Subjects.Marks()
	const why = "a mark says what was removed from the log, and whose it is"
	c.want(f.Mirror == nil, "mirror", "set", "unset", why, c.edit("--no-mirror"))
	c.want(f.Retention == jetstream.LimitsPolicy, "retention", f.Retention, jetstream.LimitsPolicy, why, c.remake())
	c.want(f.Storage == jetstream.FileStorage, "storage", f.Storage, jetstream.FileStorage, why, c.remake())
	c.want(f.MaxAge == 0, "max_age", f.MaxAge, "0", why, c.edit("--max-age 0"))
	c.want(f.MaxMsgs <= 0, "max_msgs", f.MaxMsgs, -1, why, c.edit("--max-msgs=-1"))
	c.want(!f.Sealed, "sealed", true, false, "a sealed stream takes no marks", c.remake())
	c.want(f.SubjectTransform == nil, "subject_transform", "set", "unset", "a mark is found by its subject", c.edit("--no-transform"))
	for _, s := range f.Subjects {
		c.want(s == wanted, "subjects", strconv.Quote(s), wanted, "the stream holds marks only", c.edit("--subjects "+shellQuote(wanted)))
	}
}

// partitioned checks the transform against the partition count that the stream was made with, and returns that.
func (c *checker) partitioned() int {
	f, text := c.found, c.found.Metadata[metaPartitions]
	if v, ok := f.Metadata[metaFormat]; ok && v != strconv.Itoa(format) {
		c.want(false, "metadata "+metaFormat, strconv.Quote(v), strconv.Itoa(format), "a log of another format would be misread", "Run the persistd that made it, or a newer one")
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPartitions {
		c.want(false, "metadata "+metaPartitions, strconv.Quote(text), fmt.Sprintf("1 to %d", maxPartitions),
			"the partition count is fixed when the log is made, and every replica must use that one", c.mendPartitions())
		return 0
	}
	source, destination := c.cfg.Subjects.Transform(n)
	found := "unset"
	if t := f.SubjectTransform; t != nil {
		found = t.Source + " → " + t.Destination
	}
	c.want(f.SubjectTransform != nil && f.SubjectTransform.Source == source && f.SubjectTransform.Destination == destination,
		"subject_transform", found, source+" → "+destination, whyRoute, c.mendTransform(n))
	return n
}

// mendPartitions finds the count that the transform in place was made for, if it is one of ours.
func (c *checker) mendPartitions() string {
	if t := c.found.SubjectTransform; t != nil {
		for n := 1; n <= maxPartitions; n++ {
			if source, destination := c.cfg.Subjects.Transform(n); t.Source == source && t.Destination == destination {
				return c.edit(fmt.Sprintf("--metadata %s=%d --metadata %s=%d", metaPartitions, n, metaFormat, format))
			}
		}
	}
	return c.remake()
}

// mendTransform is an edit only while the stream is as good as new: events already in it are where another transform put them.
func (c *checker) mendTransform(partitions int) string {
	source, destination := c.cfg.Subjects.Transform(partitions)
	return "If the stream is still empty, run: nats stream edit " + c.cfg.Name + " --transform-source " + shellQuote(source) +
		" --transform-destination " + shellQuote(destination) + ". If it is not: " + c.remake()
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
