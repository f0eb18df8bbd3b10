package main

import (
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// benchWatcher shows how far a benchmark is: a bar of its measurements on a terminal, a line at each beginning elsewhere.
type benchWatcher struct {
	out io.Writer
	bar *progressbar.ProgressBar // nil between comparisons, and without a terminal
}

// Say implements bench.Watcher.
func (w *benchWatcher) Say(what string) { fmt.Fprintln(w.out, what) }

// Begin implements bench.Watcher.
func (w *benchWatcher) Begin(what string, measurements int) {
	if f, ok := w.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		w.bar = progressbar.NewOptions(measurements, progressbar.OptionSetWriter(w.out), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
		_ = w.bar.RenderBlank() // the terminal's trouble
		return
	}
	fmt.Fprintf(w.out, "%s: %d measurements\n", what, measurements)
}

// Done implements bench.Watcher.
func (w *benchWatcher) Done() {
	if w.bar != nil {
		_ = w.bar.Add(1) // the terminal's trouble
	}
}

// End implements bench.Watcher.
func (w *benchWatcher) End() {
	if w.bar != nil {
		_ = w.bar.Clear() // the terminal's trouble
		w.bar = nil
	}
}
