package config_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/config"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

const docsPath = "../../docs/configuration.md"

const docsHead = `# Configuration

<!-- Written by ` + "`go generate ./internal/config`" + ` from internal/config/config.go; a test compares them. -->

Every setting can be given in three ways; where more than one is used, the first of these wins:

1. a flag of ` + "`persistd serve`" + `: ` + "`--batch-rows=500`" + `
2. an environment variable: ` + "`PERSISTD_BATCH_ROWS=500`" + ` (an empty one counts as not set)
3. the YAML file named by ` + "`--config`" + ` or ` + "`PERSISTD_CONFIG`" + `: ` + "`batch: {rows: 500}`" + ` (a key without a value counts as not set)
4. the default

An unknown key in the file is an error; so is a setting that breaks a rule. All of them are reported at once, with their
place. An unknown ` + "`PERSISTD_…`" + ` variable is warned of.

Durations are written ` + "`50ms`, `30s`, `24h`" + `; sizes ` + "`1048576`, `16MiB`, `10GB`" + `. Secrets are best given as files
(` + "`…_file`, `PERSISTD_…_FILE`" + `), as Docker and Kubernetes mount them; a flag can be seen by every user of the machine.
` + "`persistd config print`" + ` shows what is in force, secrets masked, as a file to start from.

Two variables of the Go runtime count as well. ` + "`GOGC`" + ` is best left alone: with 150, which ` + "`serve`" + ` and ` + "`replay`" + ` take where it is not set, the daemon held less than
96 MiB while it drained a backlog of 1 KiB steps (108 with 32 KiB). Who has memory to spare may set ` + "`GOGC=400`" + `, and ` + "`GOMEMLIMIT=96MiB`" + ` with it as the bound: that is a twentieth less of
the daemon's CPU for 20 MiB more ([measured](ideas.md#gogc-and-gomemlimit)). Transactions in parts come on top, up to 64 MiB each: where they are usual, set the limit that much
higher, for near to it the collector runs all the time. Where ` + "`GOMEMLIMIT`" + ` is not set, it is 0.9 of the container's limit, if there is one.

| setting in the file | default | meaning |
| --- | --- | --- |
`

// docs is the whole page; one column holds all three names, or the table would be wider than a screen.
func docs() string {
	var out strings.Builder
	out.WriteString(docsHead)
	for _, s := range config.Settings() {
		value := "–"
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		help := strings.NewReplacer("<", "&lt;", ">", "&gt;", "|", "\\|").Replace(s.Help)
		fmt.Fprintf(&out, "| `%s`<br>`--%s`<br>`%s` | %s | %s |\n", s.Path, s.Flag, s.Env, value, help)
	}
	return out.String()
}

func TestTheDocumentedTableIsWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	if *update {
		require.NoError(t, os.MkdirAll("../../docs", 0o755))
		require.NoError(t, os.WriteFile(docsPath, []byte(docs()), 0o644))
	}
	written, err := os.ReadFile(docsPath)
	require.NoError(t, err)
	require.Equal(t, docs(), string(written), "run: go generate ./internal/config")
}
