// Command mutants shows that the invariants' tests are worth something: it breaks the code, one line at a time, and sees the tests that are
// to notice go red.
//
//	make mutants                all of them
//	make mutants SHORT=1        one quick one for each invariant, as CI does
//	make mutants ONLY=I3        those whose invariant or name has that in it
//
// A mutant is a text of a file of ours and another one in its stead; it is compiled in with `go test -overlay`, so the files on disk stay
// as they are. First the named tests run on the code as it is: they must be green. Then each mutant's tests run on the mutant: each of
// them must be red. A text that is not in its file exactly once, a mutant that does not compile and a test that does not exist are
// mistakes of the list, and end the run as a mutant that survives does.
//
// To add one, append it to the list of its invariant, in keep.go or see.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// Mutant is a mistake in the code, and who notices.
type Mutant struct {
	// Breaks is the invariant that does not hold any more, I1 to I7.
	Breaks string
	// Name says in a few words what the mistake does.
	Name string
	// File is the file, from the repository's root; Old is a text in it, exactly once, and New what stands there instead. Old should be
	// short, and not what is changed for other reasons.
	File, Old, New string
	// Caught are the tests that must notice.
	Caught []Tests
	// Quick marks the one of its invariant that CI tries: its tests need no server and take seconds.
	Quick bool
	// Says is a regular expression of what the tests must print; empty is anything. It is for tests that may go red for many reasons, to
	// see that they do for the one that the mutant is to show.
	Says string
}

// Tests are tests of a package.
type Tests struct {
	// Package is the package's folder, from the repository's root, and Names the tests' functions.
	Package string
	Names   []string
}

func by(pkg string, names ...string) Tests { return Tests{pkg, names} }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "only the quick one of each invariant")
	only := flags.String("only", "", "only those whose invariant or name has this in it")
	root := flags.String("root", ".", "the repository")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // the flags' own words.
	}
	var list []Mutant
	for _, m := range all() {
		if (!*quick || m.Quick) && strings.Contains(m.Breaks+" "+m.Name, *only) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("no mutant has %q in its invariant or name", *only)
	}
	t, err := newTrial(*root)
	if err != nil {
		return err
	}
	defer t.close()
	began := time.Now()
	if err := t.green(ctx, list); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%d mutants; their tests are green on the code as it is (%s)\n", len(list), since(began)); err != nil {
		return err //nolint:wrapcheck // standard output's own words.
	}
	var bad []error
	for _, m := range list {
		for _, tests := range m.Caught {
			began := time.Now()
			err := t.red(ctx, m, tests)
			outcome := "caught"
			if err != nil {
				outcome = "SURVIVED"
				bad = append(bad, fmt.Errorf("%s %s (%s): %w", m.Breaks, m.Name, m.File, err))
			}
			if _, err := fmt.Fprintf(out, "%s  %-9s %5s  %s\n                     by %s: %s\n", m.Breaks, outcome, since(began), m.Name, tests.Package, strings.Join(tests.Names, ", ")); err != nil {
				return err //nolint:wrapcheck // as above.
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return errors.Join(bad...)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(100 * time.Millisecond) }

// all are all mutants, by invariant.
func all() []Mutant {
	return slices.Concat(keepsWhatIsAcknowledged, appliesOnce, writesAlone, keepsOrder, keepsWhole, readsWhatIsAcknowledged, containsPoison)
}
