package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressEvery is how often a line tells of the progress where there is no terminal to draw a bar on.
const progressEvery = 5 * time.Second

// progress shows how far something is: a bar on a terminal, a line now and then elsewhere. Its methods may be called concurrently.
type progress struct {
	bar  *progressbar.ProgressBar // nil without a terminal
	done atomic.Int64
	stop func()
}

// showProgress begins to show what is done of total events, which need not be exact. Its end must be called.
func showProgress(w io.Writer, what string, total int64) *progress {
	p := &progress{stop: func() {}}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish())
		return p
	}
	end := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			select {
			case <-time.After(progressEvery):
				n := p.done.Load()
				fmt.Fprintf(w, "%s: %s of about %s events (%d%%)\n", what, humanize.Comma(n), humanize.Comma(total), 100*n/max(1, n, total))
			case <-end:
				return
			}
		}
	})
	p.stop = sync.OnceFunc(func() { close(end); telling.Wait() })
	return p
}

// add says that n events more are done.
func (p *progress) add(n int) {
	p.done.Add(int64(n))
	if p.bar != nil {
		_ = p.bar.Add(n) // the terminal's trouble
	}
}

// end stops showing it. It may be called again.
func (p *progress) end() {
	p.stop()
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
