package readpath

import (
	"context"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Step is a saved step, from a row or from the tail.
type Step struct {
	Step   int32
	NodeID string
	// State is the state's JSON. From a row it is as the database gives it back (MySQL normalises JSON), from the tail as published.
	State []byte
	// Sequence is the log sequence that wrote it; 0 for a row that persistd did not write.
	Sequence uint64
	// Logged is when it was logged.
	Logged time.Time
}

// Rows reads MySQL.
type Rows interface {
	// Latest reads, in one statement and so at one moment, the position of partition and the run's row with the highest step.
	// step is nil when the run has no row. It may be called concurrently and blocks until answered or ctx ends.
	Latest(ctx context.Context, partition int, runID string) (step *Step, position uint64, err error)
	// Position reads the partition's position.
	Position(ctx context.Context, partition int) (uint64, error)
}

// Tail reads the log's end.
type Tail interface {
	// Tail shows visit the run's events with a sequence above after, in log order, poison ones included. It sees every event that
	// was acknowledged before the call, so it must be answered by the stream's leader, or be checked against it. An event may be
	// kept after visit returned. It blocks until all are shown or ctx ends.
	Tail(ctx context.Context, partition int, namespace, runID string, after uint64, visit func(*wire.Event)) error
}
