package ingest

import (
	"context"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Server is what a [Reader] asks of the log's server. Its methods block until they are answered or ctx ends, and may be called
// concurrently. An error that wraps [jetstream.ErrStreamNotFound] says that there is no such stream, one that wraps
// [nats.ErrConnectionClosed] that there never will be an answer.
type Server interface {
	// Attend waits until there is a connection to the server, and returns a ctx that ends when it is lost, with the cause: what was under
	// way on it is not answered any more. release is called when it is not needed any more; it is nil when there is an error.
	Attend(ctx context.Context) (attended context.Context, release func(), err error)
	// Open makes a consumer of partition, which begins with the first message at or after the sequence from. It sends nothing before
	// it is asked. behind is how many such messages there are.
	Open(ctx context.Context, partition int, from uint64) (c Consumer, behind uint64, err error)
	// OpenAll makes a consumer of all messages of the stream, of whatever partition or of none, as Open does of one's.
	OpenAll(ctx context.Context, from uint64) (Consumer, error)
	// Stream says when the stream was made, in whole microseconds, and the sequence of its last message, trimmed or not.
	Stream(ctx context.Context) (made time.Time, last uint64, err error)
	// Logged says when the message at seq was logged; found is false when the stream does not hold it.
	Logged(ctx context.Context, seq uint64) (at time.Time, found bool, err error)
	// Pending counts the messages of partition with a sequence above after.
	Pending(ctx context.Context, partition int, after uint64) (int64, error)
}

// Consumer sends the messages of a partition, or of the whole stream, in log order. What it sent may be lost on the way, or come twice; that it is gone with its
// stream, or forgotten, it may say or not. One goroutine has it.
type Consumer interface {
	// Ask opens a pull, by number: the consumer may send so many messages more, and shows heartbeats while there are none.
	Ask(pull, messages int) error
	// Ready is what has come already; ok is false when there is nothing, and it does not wait. It fails as Receive does, but what was lost
	// with nothing behind it only Receive need notice.
	Ready() (d Delivery, ok bool, err error)
	// Receive waits for what comes next. It fails once something may have been lost without a trace.
	Receive(ctx context.Context) (Delivery, error)
	// Close says that the consumer is not needed any more. It waits for nobody.
	Close() error
}

// Delivery is what a consumer sent: a message, or a word about a pull.
type Delivery struct {
	// Place is the message's number among those that the consumer sent, from 1 on without a gap; 0 of a Status.
	Place uint64
	// Behind is how many messages that the consumer is of were in the log behind this one when it was sent.
	Behind  uint64
	Message wire.Message
	Status  Status
}

// Status is what the server says about a pull.
type Status struct {
	// Pull is which.
	Pull int
	// Code and Text are the server's: 100 is a heartbeat.
	Code, Text string
	// Sent is the place of the last message that the consumer had sent when it showed a heartbeat; 0 when it does not say.
	Sent uint64
}
