package client

// Pressure is how full a client is, and why it does not empty: what to show of a worker, and to alert on.
type Pressure struct {
	// Steps are queued in the client or on their way to the log, with Bytes of message bodies; MaxSteps and MaxBytes are what
	// [WithMaxInFlight] allows. At either one calls wait for room, and at their deadline fail with [ErrBackpressure].
	Steps, MaxSteps int
	Bytes, MaxBytes int
	// Waiting is how many calls wait for room.
	Waiting int
	// Trouble is why the last attempt of a publish came to nothing, e.g. an [ErrLogFull]; nil once one was logged.
	Trouble error
}

// Meter is what the stores of [Open] are besides: st.(client.Meter).Pressure() says how full the client is. It does not block and costs
// nothing worth mentioning, so it may be asked for each scrape of a metric. Stores that queue nothing answer with the zero value.
type Meter interface{ Pressure() Pressure }

var _ Meter = (*store[any])(nil)

// Pressure implements [Meter].
func (s *store[S]) Pressure() Pressure {
	if m, ok := s.backend.(Meter); ok {
		return m.Pressure()
	}
	return Pressure{}
}

// Pressure implements [Meter].
func (e *engine) Pressure() Pressure {
	p := e.publisher.room.pressure()
	e.publisher.mu.Lock()
	defer e.publisher.mu.Unlock()
	p.Trouble = e.publisher.trouble
	return p
}

func (r *room) pressure() Pressure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Pressure{Steps: r.count, MaxSteps: r.maxCount, Bytes: r.bytes, MaxBytes: r.maxBytes, Waiting: len(r.waiters)}
}
