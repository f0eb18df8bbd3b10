package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

func TestEveryMutantIsAMistakeThatCanBeMadeAndNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	tests := map[string]string{} // all test files of a package
	quick := map[string]int{}
	var stale []error
	for _, m := range all() {
		text, err := mutate(root, m)
		if err != nil {
			stale = append(stale, fmt.Errorf("%s %s: %w", m.Breaks, m.Name, err))
			continue
		}
		_, err = parser.ParseFile(token.NewFileSet(), m.File, text, parser.SkipObjectResolution)
		require.NoError(t, err, m.Name)
		require.Regexp(t, `^I[1-7]$`, m.Breaks, m.Name)
		_, err = regexp.Compile(m.Says)
		require.NoError(t, err, m.Name)
		require.NotEmpty(t, m.Caught, m.Name)
		if m.Quick {
			quick[m.Breaks]++
		}
		for _, c := range m.Caught {
			for _, name := range c.Names {
				require.Regexp(t, `\nfunc `+name+`\(t \*testing\.T\)`, sources(t, tests, c.Package), m.Name)
			}
		}
	}
	require.NoError(t, errors.Join(stale...))
	require.Equal(t, map[string]int{"I1": 1, "I2": 1, "I3": 1, "I4": 1, "I5": 1, "I6": 1, "I7": 1}, quick, "CI tries one of each invariant")
}

// sources is the text of a package's test files.
func sources(t *testing.T, known map[string]string, pkg string) string {
	t.Helper()
	if known[pkg] == "" {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			known[pkg] += string(b)
		}
	}
	return known[pkg]
}

// The runner on a repository of its own, where each thing that can be wrong with a mutant is.
func TestAMutantIsCaughtSurvivesOrIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.24\n",
		"p/p.go": "package p\n\n// Sum is a+b.\nfunc Sum(a, b int) int { return a + b }\n\nfunc zero() int { return 0 }\n\n// Two is 2.\nfunc Two() int { return zero() + 2 }\n",
		"p/p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif Sum(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n\n" +
			"func TestTwo(t *testing.T) {\n\tif Two() != 2 {\n\t\tt.Fatal()\n\t}\n}\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	trial, err := newTrial(dir)
	require.NoError(t, err)
	defer trial.close()
	m := Mutant{File: "p/p.go", Old: "a + b", New: "a - b", Caught: []Tests{by("p", "TestSum")}, Says: "FAIL: Test[A-Z]um"}
	require.NoError(t, trial.green(t.Context(), []Mutant{m}))
	require.NoError(t, trial.red(t.Context(), m, m.Caught[0]))
	for want, change := range map[string]func(*Mutant){
		"no test noticed":           func(m *Mutant) { m.New = "b + a" },
		"TestTwo did not notice":    func(m *Mutant) { m.Caught[0].Names = []string{"TestSum", "TestTwo"} },
		"noticed, but not that":     func(m *Mutant) { m.Says = "a flood" },
		"does not compile":          func(m *Mutant) { m.New = "a + c" },
		"has the text \"a * b\" 0":  func(m *Mutant) { m.Old = "a * b" },
		"has the text \"return\" 3": func(m *Mutant) { m.Old = "return" },
	} {
		other := m
		other.Caught = []Tests{by("p", "TestSum")}
		change(&other)
		require.ErrorContains(t, trial.red(t.Context(), other, other.Caught[0]), want)
	}
	require.ErrorContains(t, trial.green(t.Context(), []Mutant{{Caught: []Tests{by("p", "TestGone")}}}), "TestGone did not run")
	panics := Mutant{File: "p/p.go", Old: "a + b", New: "[]int{a + b}[b]"} // which says nothing more
	require.NoError(t, trial.red(t.Context(), panics, m.Caught[0]))
	kept, err := os.ReadFile(filepath.Join(dir, "p/p.go"))
	require.NoError(t, err)
	require.Regexp(t, regexp.QuoteMeta("return a + b"), string(kept), "the file is as it was")
}
