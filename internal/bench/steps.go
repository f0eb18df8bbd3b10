package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/persistd/persistd/internal/demo"
)

// SizeSteps is the size of what is no size: the steps of a file.
const SizeSteps = "steps"

// Step is one step to be saved.
type Step struct {
	Run   string
	Step  int
	Node  string
	State []byte
	// No is its number in its run's chain, as the client would give it; 0 when the backlog is to number it.
	No uint64
}

// Workload is steps to measure with.
type Workload struct {
	// Size is "1KiB", or [SizeSteps] for those of a file.
	Size string
	// Make makes n steps, with run ids of their own: nobody else's begin with prefix. No two have the same run and number.
	Make func(prefix string, n int) []Step
	// Bytes is about how large a state is.
	Bytes int
}

// Workloads are what was asked for: one for each size, and one of the file. Where all is measured with both ways to sync, the second is of the first of
// them only.
func (b *Bench) Workloads() ([]Workload, error) {
	if b.again {
		return []Workload{Sized(b.Sizes[0])}, nil
	}
	var all []Workload
	for _, size := range b.Sizes {
		all = append(all, Sized(size))
	}
	if b.Steps == "" {
		return all, nil
	}
	runs, err := demo.Recording(b.Steps)
	if err != nil {
		return nil, fmt.Errorf("read --steps: %w", err)
	}
	return append(all, recorded(runs)), nil
}

// stepsOfRun is how many steps a made-up run has.
const stepsOfRun = 20

// Sized makes steps whose states have so many bytes of JSON, at least 64.
func Sized(size int) Workload {
	return Workload{Size: SizeName(size), Bytes: size, Make: func(prefix string, n int) []Step {
		rng := rand.New(rand.NewPCG(1, 2))
		runs := max(1, n/stepsOfRun)
		steps := make([]Step, n)
		for i := range steps {
			steps[i] = Step{Run: fmt.Sprintf("%s-%06d", prefix, i%runs), Step: i / runs, Node: "node", State: state(rng, size, i)}
		}
		return steps
	}}
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789 "

// state is an object with a number, a flag and a text that fills it up.
func state(rng *rand.Rand, size, n int) []byte {
	b := make([]byte, 0, size)
	b = append(b, `{"n":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `,"ok":true,"text":"`...)
	for len(b) < size-2 {
		b = append(b, letters[rng.IntN(len(letters))])
	}
	return append(b, `"}`...)
}

// recorded repeats the runs of a file, under other names, as often as it takes.
func recorded(runs [][]demo.Step) Workload {
	_, mean := count(runs)
	return Workload{Size: SizeSteps, Bytes: mean, Make: func(prefix string, n int) []Step {
		steps := make([]Step, 0, n)
		for i := 0; ; i++ {
			name := fmt.Sprintf("%s-%06d", prefix, i)
			for no, s := range runs[i%len(runs)] { // numbered anew: a recording may have a step twice
				if len(steps) == n {
					return steps
				}
				steps = append(steps, Step{Run: name, Step: no, Node: s.NodeID, State: s.State})
			}
		}
	}}
}

// SizeName is how a size is written: 1KiB, 256B.
func SizeName(bytes int) string {
	if bytes%1024 == 0 {
		return strconv.Itoa(bytes/1024) + "KiB"
	}
	return strconv.Itoa(bytes) + "B"
}

// ParseSizes reads sizes such as 256,1KiB,8KiB.
func ParseSizes(text string) ([]int, error) {
	var sizes []int
	for s := range strings.SplitSeq(text, ",") {
		n, err := humanize.ParseBytes(strings.TrimSpace(s))
		if err != nil || n < 64 || n > 512<<10 {
			return nil, fmt.Errorf("size %q: want 64 to 512KiB, as in 256,1KiB,32KiB", s)
		}
		sizes = append(sizes, int(n))
	}
	return sizes, nil
}
