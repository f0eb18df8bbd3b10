package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)\s]*)?\)`)

// A table whose every row names the test behind it is worth as much as the tests are there.
func TestTheDocsLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.Greater(t, len(pages), 5)
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.ContainsAny(m[1], `",`) || !strings.ContainsAny(m[1], "./") {
				continue // elsewhere, or code
			}
			require.FileExists(t, existing(filepath.Join(filepath.Dir(page), m[1])), "%s links to %s", page, m[1])
		}
	}
}

// existing is a file of a folder that is there, or path.
func existing(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		entries, err := os.ReadDir(path)
		for _, e := range entries {
			if err == nil && !e.IsDir() {
				return filepath.Join(path, e.Name())
			}
		}
	}
	return path
}
