package wire

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// The kinds of keys.
const (
	// KindRun is what steps and everything else of one run are written under.
	KindRun = "run"
	// KindCheckpoint is what named checkpoints are written under, whose ids are global.
	KindCheckpoint = "checkpoint"
	// KindAttempt is where the attempts of a run begin. Their subject holds nothing else, so that its last sequence is a fence: a write
	// that expects an older one is refused by the log itself.
	KindAttempt = "attempt"
)

// DefaultNamespace is the namespace that every event has until somebody needs another.
const DefaultNamespace = "default"

// Subjects derives every subject from the configured prefix. Its methods are the one place where subjects are spelled.
type Subjects struct {
	// Prefix is the first token, or tokens, of every subject: "persistd" unless configured.
	Prefix string
}

// Write is where a worker publishes events of the key id.
func (s Subjects) Write(namespace, kind, id string) string {
	return s.Prefix + ".write." + namespace + "." + kind + "." + Token(id)
}

// WriteFilters are the subjects that the stream listens on.
func (s Subjects) WriteFilters() []string {
	return []string{s.Prefix + ".write.*." + KindRun + ".*", s.Prefix + ".write.*." + KindCheckpoint + ".*", s.Prefix + ".write.*." + KindAttempt + ".*"}
}

// Transform is the stream's subject transform: source and destination, by which the server itself partitions the log. The hash
// is over namespace and token, so that it stays what it is when kinds are added.
func (s Subjects) Transform(partitions int) (source, destination string) {
	return s.Prefix + ".write.*.*.*",
		fmt.Sprintf("%s.log.{{partition(%d,1,3)}}.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}", s.Prefix, partitions)
}

// Log is where the events of the key id are in the log.
func (s Subjects) Log(partition int, namespace, kind, id string) string {
	return s.Prefix + ".log." + strconv.Itoa(partition) + "." + namespace + "." + kind + "." + Token(id)
}

// LogPartition matches all events of a partition.
func (s Subjects) LogPartition(partition int) string {
	return s.Prefix + ".log." + strconv.Itoa(partition) + ".>"
}

// DeadLetter is where the dead letter of the event at seq is kept.
func (s Subjects) DeadLetter(partition int, seq uint64) string {
	return s.Prefix + ".dlq." + strconv.Itoa(partition) + "." + strconv.FormatUint(seq, 10)
}

// DeadLetters matches all dead letters.
func (s Subjects) DeadLetters() string { return s.Prefix + ".dlq.*.*" }

// MarkPartition is where the log keeps what it knows of a partition beyond its events.
func (s Subjects) MarkPartition(partition int) string {
	return s.Prefix + ".mark.partition." + strconv.Itoa(partition)
}

// MarkDatabase is where the log keeps which database it belongs to.
func (s Subjects) MarkDatabase() string { return s.Prefix + ".mark.database" }

// Marks matches all marks.
func (s Subjects) Marks() string { return s.Prefix + ".mark.>" }

// Position is where the owner of a partition announces its position, on plain NATS.
func (s Subjects) Position(partition int) string {
	return s.Prefix + ".position." + strconv.Itoa(partition)
}

// Positions matches all announcements.
func (s Subjects) Positions() string { return s.Prefix + ".position.*" }

// Read is where the read path answers verb ("latest", "committed") for a namespace.
func (s Subjects) Read(namespace, verb string) string {
	return s.Prefix + ".read." + namespace + "." + verb
}

// ReadAny is Read for every namespace; namespace is the token at index [Subjects.NamespaceToken].
func (s Subjects) ReadAny(verb string) string { return s.Prefix + ".read.*." + verb }

// ReadNamespace is the namespace that a subject of ReadAny names.
func (s Subjects) ReadNamespace(subject string) string {
	rest := strings.TrimPrefix(subject, s.Prefix+".read.")
	ns, _, _ := strings.Cut(rest, ".")
	return ns
}

// Event is where the relay publishes committed outbox events of a run.
func (s Subjects) Event(runID string) string { return s.Prefix + ".events." + Token(runID) }

// Events matches all relayed outbox events.
func (s Subjects) Events() string { return s.Prefix + ".events.*" }

// Leases is where replicas tell, on plain NATS, that leases changed hands or that one of them came or went.
func (s Subjects) Leases() string { return s.Prefix + ".leases" }

// Status is where every replica answers what it is doing.
func (s Subjects) Status() string { return s.Prefix + ".status" }

// Address is a log subject, taken apart.
type Address struct {
	Partition              int
	Namespace, Kind, Token string
}

// ParseLog takes a subject of the log apart. The error is a *[Poison].
func (s Subjects) ParseLog(subject string) (Address, error) {
	rest, ok := strings.CutPrefix(subject, s.Prefix+".log.")
	part, rest, ok1 := strings.Cut(rest, ".")
	ns, rest, ok2 := strings.Cut(rest, ".")
	kind, token, ok3 := strings.Cut(rest, ".")
	n, err := strconv.Atoi(part)
	if !ok || !ok1 || !ok2 || !ok3 || err != nil || n < 0 || strconv.Itoa(n) != part || strings.Contains(token, ".") {
		return Address{}, poisonf(CodeSubject, "subject %q is not %s.log.<partition>.<namespace>.<kind>.<token>", subject, s.Prefix)
	}
	return Address{Partition: n, Namespace: ns, Kind: kind, Token: token}, nil
}

// Partition is where the server's {{partition(n,1,3)}} puts the events of the key id: FNV-1a over the namespace and the token,
// modulo n. Only who reads needs it: to look for a key's events, or hear of their commits, without asking for all partitions.
func Partition(namespace, id string, partitions int) int {
	h := fnv.New32a()
	h.Write([]byte(namespace))
	h.Write([]byte(Token(id)))
	return int(h.Sum32() % uint32(partitions)) //nolint:gosec // G115: 1 to 256.
}
