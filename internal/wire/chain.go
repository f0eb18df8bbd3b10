package wire

import (
	"strconv"
	"strings"
)

// HeaderChain says where in a chain a message is: "<id> <number>". A chain is steps that one writer of a run wrote one after the other, and
// with it a reader that finds the last one need not look at those before it:
//
//   - each is an event of one step, in one message, of the same attempt, and its number is not lower than that of the one before;
//   - the first has the number 1, and each further one was given the next number after the one before had been acknowledged, and was
//     published then;
//   - no other message has its id and number, but for the same one again, under the same Nats-Msg-Id.
//
// What the writer does not know is what others wrote in between. The reader finds that out, by counting.
const HeaderChain = "Persistd-Chain"

// maxChainID bounds the id of a chain, in bytes.
const maxChainID = 64

// Chain is a message's place in a chain; the zero value is none.
type Chain struct {
	// ID names the chain, which is of one subject.
	ID string
	// No counts its messages from 1.
	No uint64
}

// String is the place as it stands in the header.
func (c Chain) String() string {
	var b [maxChainID + 24]byte
	return string(strconv.AppendUint(append(append(b[:0], c.ID...), ' '), c.No, 10))
}

// ChainOf is the place that the headers h tell. What is not spelled as it should be is none: it costs a reader time, and nobody a step.
func ChainOf(h Header) Chain {
	values := h[HeaderChain]
	if len(values) != 1 {
		return Chain{}
	}
	id, no, ok := strings.Cut(values[0], " ")
	n, err := strconv.ParseUint(no, 10, 63)
	if c := (Chain{id, n}); ok && err == nil && id != "" && len(id) <= maxChainID && n > 0 && c.String() == values[0] {
		return c
	}
	return Chain{}
}
