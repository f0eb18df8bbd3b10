package simulation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edit is a mutation of the code itself: in file, the one place where old stands reads new. What new asks for, broken(name), is true in the
// test binary that is run for this mutation: all are built into one, which costs one build.
type edit struct {
	name, file, old, new string
	within               uint64
}

// edits are made in copies of the files, which the compiler is given in their place.
var edits = []edit{
	{
		"reading begins one event too late", "partition/term.go",
		"term.Place(), func(ctx", "func() wire.Place {\n	if broken(`%s`) > 0 {\n		return wire.Place{Sequence: term.Position + 1}\n	}\n	return term.Place()\n}(), func(ctx", 200,
	},
	{
		"the log is trimmed by what was read", "partition/set.go",
		"	if pos.Sequence == 0 {", "	if broken(`%s`) > 0 {\n		pos.Sequence = s.workers[partition].last.Load()\n	}\n	if pos.Sequence == 0 {", 500,
	},
	{
		"an event that does not fit into a batch is forgotten", "batcher/run.go",
		"			return\n		}\n		b.carry = nil\n", "			if broken(`%s`) > 0 {\n				b.carry = nil\n			}\n			return\n		}\n		b.carry = nil\n", 500,
	},
	{
		"poison that was read has no dead letter", "batcher/run.go",
		"if poison, _ := poisonOf(batch.Events); len(poison) > 0 {", "if poison, _ := poisonOf(batch.Events); len(poison) > 0 && broken(`%s`) == 0 {", 500,
	},
	{
		"poison that is refused has no dead letter", "batcher/poison.go",
		"	if err := b.bury(ctx, refused); err != nil {", "	if err := b.bury(ctx, refused[int(broken(`%s`))*len(refused):]); err != nil {", 200,
	},
	{
		"an outage is taken for poison", "batcher/run.go",
		"case e.Class == Never && batch.Rows > 0:", "case (e.Class == Never || broken(`%s`) > 0 && e.Class == Again) && batch.Rows > 0:", 500,
	},
	{
		"a batch of a term that is over counts as committed", "batcher/run.go",
		"		case e.Class == Lost || e.Class == Moved:",
		"		case e.Class == Lost && broken(`%s`) > 0:\n			b.committed(batch, begin)\n			return nil\n		case e.Class == Lost || e.Class == Moved:", 500,
	},
	{
		"the second half of a batch is forgotten", "batcher/poison.go",
		"batch.Events[:half], batch.Events[half:])", "batch.Events[:half], batch.Events[half+int(broken(`%s`))*(len(batch.Events)-half):])", 500,
	},
	{
		"batches that were not committed together count as committed", "batcher/gate.go",
		"	p.tell(err)\n	if err != nil {", "	if broken(`%s`) > 0 {\n		p.tell(nil)\n	} else {\n		p.tell(err)\n	}\n	if err != nil {", 500,
	},
	{
		"poison among batches that are committed together has no dead letter", "batcher/gate.go",
		"t.alone = len(poison) > 0 ||", "t.alone = len(poison) > 0 && broken(`%s`) == 0 ||", 500,
	},
	{
		"a lost message is not missed", "ingest/intake.go",
		"if d.Place != in.seen+1 {", "if d.Place != in.seen+1 && broken(`%s`) == 0 {", 500,
	},
	{
		"what comes twice is delivered twice", "ingest/session.go",
		"d.Message.Sequence <= before {", "d.Message.Sequence <= before && broken(`%s`) == 0 {", 500,
	},
	{
		"parts without their others are dropped", "ingest/assembly.go",
		"	known := a.orphans(why)\n", "	known := a.orphans(why)\n	known = known[int(broken(`%s`))*len(known):]\n", 200,
	},
	{
		"the position moves into a transaction", "ingest/session.go",
		"	known := s.parts.add(next)\n", "	known := s.parts.add(next)\n	s.p.last += broken(`%s`) * (d.Message.Sequence - s.p.last)\n", 1000,
	},
	{
		"an event in ten is forgotten by its reader", "ingest/session.go",
		"	for i := range known {\n", "	for i := range known {\n		if known[i].ev.Message.Sequence%%10 == 0 && broken(`%s`) > 0 {\n			continue\n		}\n", 200,
	},
	{
		"a lane leaves out a message in ten", "ingest/lane.go",
		"	return m.Sequence >= l.from &&", "	return (m.Sequence%%10 > 0 || broken(`%s`) == 0) && m.Sequence >= l.from &&", 500,
	},
	{
		"a lane does not look at the whole tape", "ingest/lane.go",
		"			l.rest = l.at.deliveries\n",
		"			l.rest = l.at.deliveries\n			if n := broken(`%s`) * uint64(len(l.rest)/2); n > 0 {\n				l.rest, l.looked = l.rest[n:], l.looked+n\n			}\n", 500,
	},
	{
		"the consumer of all partitions begins too late", "ingest/sharing.go",
		"s.OpenAll(ctx, start)", "s.OpenAll(ctx, start+broken(`%s`))", 500,
	},
	{
		"a partition has another one's lane", "ingest/sharing.go",
		"	return g.lanes[partition], g", "	return g.lanes[(partition+int(broken(`%s`)))%%len(g.lanes)], g", 500,
	},
	{
		"a tail that was not answered in time counts as empty", "readpath/reader.go",
		"		if err != nil {\n			return 0, fmt.Errorf(\"read tail", "		if err != nil && (!errors.Is(err, context.DeadlineExceeded) || broken(`%s`) == 0) {\n			return 0, fmt.Errorf(\"read tail", 1000,
	},
	{
		"a position that went back is not noticed", "readpath/reader.go",
		"		if pos < bound {", "		if pos < bound && broken(`%s`) == 0 {", 1000,
	},
	{
		"all steps are read without waiting for them", "readpath/wait.go",
		"		if pos >= last {", "		if pos >= last || broken(`%s`) > 0 {", 500,
	},
	{
		"a deletion in the tail does not count", "readpath/candidates.go",
		"	if c.cleared > position || c.deleted > position && c.deletedBy >= begun {",
		"	if (c.cleared > position || c.deleted > position && c.deletedBy >= begun) && broken(`%s`) == 0 {", 1000,
	},
	{
		"a transaction without its end is shown", "readpath/transactions.go",
		"	t.undo()\n	return &t.now\n", "	if broken(`%s`) == 0 {\n		t.undo()\n	}\n	return &t.now\n", 500,
	},
	{
		"older attempts are shown", "readpath/candidates.go",
		"	if ev.Attempt < c.begun && !exempt {", "	if ev.Attempt < c.begun && !exempt && broken(`%s`) == 0 {", 1000,
	},
	{
		"a bound never goes back", "position/tracker.go",
		"	if t.partitions[p].bound == before {", "	if t.partitions[p].bound == before && broken(`%s`) == 0 {", 500,
	},
	{
		"the last event of a chain is believed whatever is before it", "readpath/chain.go",
		"	return from.No > 0 &&", "	if broken(`%s`) > 0 {\n		return to.No > 0\n	}\n	return from.No > 0 &&", 1000,
	},
	{
		"a follower has the last word on a tail", "stream/tail.go",
		"	for r.from < r.last.Message.Sequence {\n		m, found", "	for r.from < r.last.Message.Sequence && broken(`%s`) == 0 {\n		m, found", 1000,
	},
}

// Each mutation of the code is found.
func TestMutationsOfTheCodeAreFound(t *testing.T) {
	t.Parallel()
	binary := mutated(t)
	seed := regexp.MustCompile(`seed (\d+), to be run again by: .*\n(.*)`)
	for _, e := range edits {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestI1ToI7HoldUnderRandomSchedules$", "-test.timeout", "5m")
			cmd.Env = append(os.Environ(), "PERSISTD_MUTATION="+e.name, fmt.Sprintf("PERSISTD_SIMULATION_SCHEDULES=%d", e.within))
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "not found by %d schedules", e.within)
			found := seed.FindStringSubmatch(string(out))
			require.NotNil(t, found, "%s", out)
			t.Logf("found by schedule %s: %.300s", found[1], strings.TrimSpace(found[2]))
		})
	}
}

// mutated builds the test binary with all edits in it.
func mutated(t *testing.T) (binary string) {
	t.Helper()
	dir := t.TempDir()
	replaced, sources := map[string]string{}, map[string]string{}
	internal, err := filepath.Abs("..")
	require.NoError(t, err)
	for _, e := range edits {
		path := filepath.Join(internal, e.file)
		source, ok := sources[path]
		if !ok {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			source = string(text)
		}
		require.Equal(t, 1, strings.Count(source, e.old), "%s: %s is not there, or not once", e.file, e.old)
		sources[path] = strings.Replace(source, e.old, fmt.Sprintf(e.new, e.name), 1)
		pkg := filepath.Dir(path)
		sources[filepath.Join(pkg, "broken_overlay.go")] = "package " + filepath.Base(pkg) + `

import "os"

var brokenName = os.Getenv("PERSISTD_MUTATION")

func broken(name string) uint64 {
	if name == brokenName {
		return 1
	}
	return 0
}
`
	}
	for path, source := range sources {
		copied := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, internal+"/"), "/", "-"))
		require.NoError(t, os.WriteFile(copied, []byte(source), 0o600))
		replaced[path] = copied
	}
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	require.NoError(t, err)
	overlay := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	binary = filepath.Join(dir, "mutated.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
