package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench/rig"
)

var update = flag.Bool("update", false, "rewrite the scenarios and targets in docs/benchmarks.md")

// example has a figure with all there can be, and one with as little.
func example() Report {
	return Report{
		Machine:  Machine{CPU: "Fast | One", Cores: 2, Memory: "4 GiB", Kernel: "linux 6", Disk: "ext4 on /dev/sda"},
		Versions: Versions{"v1", "go1.26", "2.15.2", "mariadb 10.11"}, Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Options:  Options{Rounds: 5, Connections: 4, Sizes: []int{256, 1024}, Steps: "file"},
		Database: rig.Settings{Commit: "synced", BufferPool: "128 MiB", Indexes: "t: PRIMARY (id)"}, Steps: &StepsFile{"file.gz", 1234, 10567, "0123456789ab"},
		Results: []Result{
			{
				Scenario: "drain", Metric: "rate", Unit: "1/s", Size: "1KiB", Sync: SyncAlways, Rounds: 5, Ours: 21000, Baseline: new(30000.0), Ratio: new(0.7),
				Spread: Spread{[2]float64{20000, 22000}, &[2]float64{29000, 31000}, &[2]float64{0.65, 0.75}}, Target: &Bound{OfRatio, AtLeast, 0.95}, Met: new(false),
			},
			{Scenario: "drain", Metric: "daemon_cpu", Unit: "µs each", Sync: SyncInterval, Rounds: 1, Ours: 9.876},
			{Scenario: "drain", Metric: "daemon_wait", Unit: "µs each", Sync: SyncInterval, Rounds: 1, Ours: 1.234},
			{Scenario: "drain", Metric: "client_memory", Unit: "MiB", Sync: SyncInterval, Rounds: 1, Ours: 25, Baseline: new(26.0), Spread: Spread{Baseline: &[2]float64{26, 26}}},
		},
	}
}

func TestJSONIsAListOfFigures(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, WriteJSON(&out, example()))
	require.JSONEq(t, `[
		{"scenario":"drain","metric":"rate","unit":"1/s","size":"1KiB","sync":"always","rounds":5,"ours":21000,"baseline":30000,"ratio":0.7,
		 "spread":{"ours":[20000,22000],"baseline":[29000,31000],"ratio":[0.65,0.75]},"target":{"of":"ratio","op":">=","value":0.95},"met":false},
		{"scenario":"drain","metric":"daemon_cpu","unit":"µs each","sync":"interval","rounds":1,"ours":9.876,"baseline":null,"ratio":null,
		 "spread":{"ours":[0,0],"baseline":null,"ratio":null},"target":null,"met":null},
		{"scenario":"drain","metric":"daemon_wait","unit":"µs each","sync":"interval","rounds":1,"ours":1.234,"baseline":null,"ratio":null,
		 "spread":{"ours":[0,0],"baseline":null,"ratio":null},"target":null,"met":null},
		{"scenario":"drain","metric":"client_memory","unit":"MiB","sync":"interval","rounds":1,"ours":25,"baseline":26,"ratio":null,
		 "spread":{"ours":[0,0],"baseline":[26,26],"ratio":null},"target":null,"met":null}
	]`, out.String())

	out.Reset()
	require.NoError(t, WriteJSON(&out, Report{}))
	require.Equal(t, "[]\n", out.String(), "nothing is an empty list")
}

func TestTableTellsFiguresAndWhatProcessesUsed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, WriteTable(&out, example()))
	for _, want := range []string{
		`drain +│ rate, 1/s: 1KiB, sync always +│ +21000 \(20000–22000\) +│ +30000 \(29000–31000\) +│ +0.700 \(0.650–0.750\) +│ ratio ≥ 0.95 +│ no `,
		`drain +│ +│ ours +│ +│ +9.88 +│ +│ +│ +1.23 +│ +25.0 `, `drain +│ +│ baseline +│ +│ +│ +│ +│ +│ +26.0 `,
	} {
		require.Regexp(t, want, out.String())
	}
	figures, _, _ := strings.Cut(out.String(), "\nNot measured:")
	require.NotContains(t, figures, "daemon_cpu")
	require.Contains(t, out.String(), "\nNot measured:\n  save: none of its 4 targets\n")
}

func TestMarkdownHasTheMachineTheVersionsAndWhatIsMissed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, WriteMarkdown(&out, example()))
	for _, want := range []string{
		"\n| CPU | Fast \\| One, 2 cores |\n", "| memory | 4 GiB |", "| kernel | linux 6 |", "| disk | ext4 on /dev/sda |", "| persistd | v1 |", "| go | go1.26 |",
		"| nats-server | 2.15.2 |", "| database | mariadb 10.11 |", "2026-01-02; rounds: 5, connections: 4, workers: 64, states of 256B, 1KiB, real steps (`file.gz`: 1,234 steps, 10,567 B a state on average, SHA-256 0123456789ab…).",
		"| its commits | synced |\n| its buffer pool | 128 MiB |\n| its indexes | t: PRIMARY (id) |",
		"| drain | rate, 1/s: 1KiB, sync always | 21000 (20000–22000) | 30000 (29000–31000) | 0.700 (0.650–0.750) | ratio ≥ 0.95 | no |",
		"\nMissed:\n\n- drain, rate, 1/s: 1KiB, sync always: ratio ≥ 0.95, and is 0.700. " + missedReason(t) + "\n", Method(Scenarios()),
	} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "Not measured to its end")
	require.Contains(t, out.String(), "\nNot measured:\n\n- save: none of its 4 targets\n")
	kept := example()
	kept.Results = kept.Results[1:]
	kept.Failures = []Failure{{"grown", SyncInterval, errors.New("fill large table: disk full; its log:\nmuch")}}
	out.Reset()
	require.NoError(t, WriteMarkdown(&out, kept))
	require.NotContains(t, out.String(), "Missed:")
	require.NotContains(t, out.String(), "**short")
	require.Contains(t, out.String(), "\n**Not measured to its end**: grown, sync interval: fill large table: disk full; its log:\n\nMedians")
	kept.Options.Short = true
	out.Reset()
	require.NoError(t, WriteMarkdown(&out, kept))
	require.Contains(t, out.String(), "**short, which says nothing of speed**")
	require.NotContains(t, out.String(), "Not measured:", "it judges nothing")
}

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0.00", 0.1234: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 123456: "123456", -0.5: "-0.500"} {
		require.Equal(t, want, number(v))
	}
	require.Equal(t, "2.00", spread(2, [2]float64{2, 2}, 1), "of one round there is no spread")
	require.Equal(t, "2.00 (1.00–3.00)", spread(2, [2]float64{1, 3}, 3))
}

const document = "../../docs/benchmarks.md"

// The figures in the document are of some day; what it says of scenarios and targets is what the code does today.
func TestTheDocumentTellsOfAllScenariosAndTargets(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile(document)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(written), beginMethod)
	require.True(t, ok)
	said, after, ok := strings.Cut(rest, endMethod)
	require.True(t, ok)
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(before+beginMethod+Method(Scenarios())+endMethod+after), 0o644))
		return
	}
	require.Equal(t, Method(Scenarios()), said, "run go generate ./internal/bench")
}

func TestResultsSurviveJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, WriteJSON(&out, example()))
	var back []Result
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, example().Results, back)
}
