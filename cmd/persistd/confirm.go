package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// errNotConfirmed is that nobody said yes.
var errNotConfirmed = errors.New("not confirmed, nothing was removed (--yes does not ask)")

// confirm asks on standard error whether to do what cannot be undone, and returns an error that wraps errNotConfirmed unless standard input
// says y or yes. Where nobody is, in a job of a timer or a script, that is no.
func confirm(std std, what string) error {
	_, _ = fmt.Fprintf(std.err, "%s? [y/N] ", what)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fmt.Errorf("%s: %w", what, errNotConfirmed)
	}
	return nil
}

// say prints for people.
func say(std std, format string, args ...any) error {
	_, err := fmt.Fprintf(std.out, format, args...)
	return err //nolint:wrapcheck // standard output's own words.
}

// countOf is so many of what, whose plural ends in s.
func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
