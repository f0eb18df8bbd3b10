package client

import (
	"container/list"
	"errors"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fence is a beginning of an attempt in the log. What is published behind it is only stored while the log has no later beginning for
// the run: the log itself keeps out whoever does not know yet that it was replaced.
type fence struct {
	// subject is that of the run's beginnings in the log; "" is no fence.
	subject string
	// sequence is that of the beginning, 0 when the log is to have none.
	sequence uint64
}

// guard puts f into the header of a message.
func (f fence) guard(h nats.Header) {
	h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(f.sequence, 10)}
	h[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{f.subject}
}

var (
	// errFenced is of a publication that the log refused at its fence, and for which that is all there is to know.
	errFenced = &fault{kind: ErrUnavailable, err: errors.New("an attempt of the run began meanwhile"), final: true, unsent: true}
	// errFence is why a publication waits for its fence.
	errFence = &fault{
		kind: ErrUnavailable, err: errors.New("log refuses what the attempt writes, and persistd did not say yet which attempt is the newest"),
		unsent: true, hint: "is persistd running?",
	}
	// errRaced is that somebody else began an attempt between the look and the beginning.
	errRaced = &fault{kind: ErrUnavailable, err: errors.New("others begin attempts of the run at the same time"), unsent: true}
)

// maxFences is how many runs' fences are kept: 4096 of them are about 1 MB.
const maxFences = 4096

// fences is what is known of the runs' attempts, of those that were used last. It may be behind the log, which then refuses.
type fences struct {
	mu    sync.Mutex // guards the rest
	byRun map[string]*list.Element
	used  list.List // of *fenced, the last used first
}

type fenced struct {
	runID   string
	attempt uint32
	fence   fence
}

// get returns the newest attempt that is known of a run, and its fence; 0 when none is.
func (f *fences) get(runID string) (uint32, fence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.byRun[runID]
	if e == nil {
		return 0, fence{}
	}
	f.used.MoveToFront(e)
	known := e.Value.(*fenced) //nolint:forcetypeassert // the list holds nothing else.
	return known.attempt, known.fence
}

func (f *fences) put(runID string, attempt uint32, at fence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.byRun[runID]; e != nil {
		e.Value = &fenced{runID, attempt, at}
		f.used.MoveToFront(e)
		return
	}
	if f.byRun == nil {
		f.byRun = map[string]*list.Element{}
	}
	f.byRun[runID] = f.used.PushFront(&fenced{runID, attempt, at})
	if f.used.Len() > maxFences {
		oldest := f.used.Remove(f.used.Back()).(*fenced) //nolint:forcetypeassert // as above.
		delete(f.byRun, oldest.runID)
	}
}
