package trouter

import (
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// endpoint is one client of a user, such as a browser tab. Its id stays the same over reconnects,
// so it can have many sockets one after another. Only the newest socket gets events. The next
// socket gets the events after the cursor low, except for those that the client has answered.
type endpoint struct {
	user, id string
	opening  sync.Mutex // held while a socket opens

	// guards the fields of the endpoint below it, and those fields of its sockets whose comments
	// name this mutex
	mu      sync.Mutex
	known   bool // low is valid
	low     core.Cursor
	reached core.Cursor // the cursor up to which the current socket's session has passed on all events
	flights []*flight   // the events after the cursor low that were written to a socket, sorted by position
	current *socket     // the newest socket; nil if the newest socket is closed
	seen    time.Time   // last sign of life
	// true if the client has answered an event or its socket has ended since the endpoint was last
	// stored
	moved   bool
	holds   bool // true while a socket is open or being opened; always false if only one server uses the store
	taken   bool // another server owns the endpoint, so this server must not store it
	dropped bool // true if the user or the registration was deleted, so that the endpoint must not be stored
	leaving bool // true if the registration was deleted, so that the endpoint must be removed when its socket closes

	stored   core.Cursor // the value of the field low in the stored row
	storedAt time.Time   // when the row was stored; zero if the store has no row
}

// flight is an event that was written to a socket and that the client has to answer.
type flight struct {
	id       uint64 // id of the request with which the server has sent the event to the client
	at       core.Cursor
	lasting  bool    // true if the event is in the event log; then at is its cursor
	socket   *socket // the socket to which the event was last written
	event    *gateway.Event
	size     int
	written  time.Time
	answered bool
	again    bool // true if the event was written twice to the socket, because the client answered with status 504
}

// find returns the index in e.flights of the event at a position of the log. If e.flights does not
// have the event, it returns the index at which to insert it, and false.
func (e *endpoint) find(position uint64) (i int, found bool) {
	return slices.BinarySearchFunc(e.flights, position, func(f *flight, p uint64) int {
		switch {
		case f.at.Position < p:
			return -1
		case f.at.Position > p:
			return 1
		}
		return 0
	})
}

// settle advances low, the cursor after which the next socket begins, past events that need not be
// written again. These are the events that the client has answered, and the events that an earlier
// socket has written but the present socket has skipped, because the user may no longer see them.
// The caller holds e.mu.
func (e *endpoint) settle() {
	n := 0
	for n < len(e.flights) {
		f := e.flights[n]
		if !f.answered && (e.current == nil || f.socket == e.current || f.at.Position > e.reached.Position) {
			break
		}
		if f.at.Check == 0 && f.at.Position > e.reached.Position {
			// stop here: the stored row has no check for this position; Append sets the check when
			// it writes the event again
			break
		}
		// without a check the event was not written again, because the user may no longer see it
		if f.at.Check != 0 {
			e.low = f.at
		}
		e.moved = true
		n++
	}
	if e.flights = e.flights[n:]; len(e.flights) == 0 {
		e.flights = nil
		if e.reached.Position > e.low.Position {
			e.low = e.reached
		}
	}
}

// answer records that the client has answered an event. The caller holds e.mu.
func (e *endpoint) answer(f *flight) {
	if f.answered {
		return
	}
	f.answered, f.event = true, nil
	f.socket.unanswered--
	f.socket.bytes -= f.size
	e.moved = e.moved || f.lasting
	e.settle()
}

// restore copies the endpoint's stored row r into e. The client has answered all events up to r.At,
// and the later events in r.Answered. theirs is true if another server has written the row. The
// caller holds e.mu.
func (e *endpoint) restore(r core.Endpoint, theirs bool) {
	switch {
	case !e.known || theirs && r.At.Epoch != e.low.Epoch:
		e.low, e.flights = r.At, nil
	case r.At.Epoch != e.low.Epoch: // the row's cursor is from an earlier epoch of the event log
		return
	}
	if r.At.Position > e.low.Position {
		i, found := e.find(r.At.Position)
		if found {
			i++
		}
		e.low, e.flights = r.At, e.flights[i:]
	}
	if theirs {
		e.reached = e.low
	}
	for _, p := range r.Answered {
		if p <= e.low.Position {
			continue
		}
		i, found := e.find(p)
		if !found {
			// The stored row has only positions in the log. Append sets the complete cursor when
			// the event is written again.
			at := core.Cursor{Epoch: e.low.Epoch, Position: p}
			e.flights = slices.Insert(e.flights, i, &flight{at: at, lasting: true, answered: true})
		} else if !e.flights[i].answered {
			e.answer(e.flights[i])
		}
	}
	e.known, e.stored, e.storedAt = true, r.At, time.UnixMilli(r.Seen)
}

// attach makes s the current socket of the endpoint. from is the cursor at which the session
// of s begins. It returns the socket that was current before, or nil. That socket gets no more
// events.
func (e *endpoint) attach(s *socket, from core.Cursor, now time.Time) (older *socket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	older, e.current = e.current, s
	e.reached, e.seen, e.leaving = from, now, false
	return older
}

// detach records that the socket s is closed. why is the reason for which its session ended. detach
// releases the unanswered events of s, which the next socket reads from the store. It returns true
// if the user was deleted or the client has unregistered. In that case it has discarded the
// endpoint's answers, and the caller must delete the endpoint's row.
func (e *endpoint) detach(s *socket, why gateway.Reason) (forgotten bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == s {
		e.current = nil
		if e.holds {
			e.holds, e.moved = false, true
		}
		forgotten = e.leaving
	}
	if forgotten = forgotten || why == gateway.Deleted; forgotten {
		e.forget()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, f := range s.sent {
		if f.socket == s {
			f.event = nil
		}
	}
	return forgotten
}

// forget discards what the endpoint knows about the client's answers. After that the endpoint is
// not stored any more. The caller holds e.mu.
func (e *endpoint) forget() {
	e.dropped, e.known, e.leaving, e.flights, e.storedAt = true, false, false, nil, time.Time{}
}

// breakOff discards all events that the client has not answered, and moves low to the cursor at,
// because events before that cursor are missing from the event log. The caller holds e.mu.
func (e *endpoint) breakOff(at core.Cursor) {
	for _, f := range e.flights {
		if !f.answered {
			f.answered, f.event = true, nil
			f.socket.unanswered--
			f.socket.bytes -= f.size
		}
	}
	e.flights, e.low, e.reached, e.moved = nil, at, at, true
}

// row returns the endpoint as a row for the store. due is true if the row must be stored now,
// because the client has answered an event or its socket has ended since the row was last stored,
// or because the time restoreEvery has passed. That time may be long: with an old row, the server
// reads more of the log when the client reconnects, but it sends no event twice.
func (e *endpoint) row(now time.Time) (r core.Endpoint, due bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := now.Sub(e.storedAt) >= restoreEvery && (e.low != e.stored || e.current != nil)
	if !e.known || e.dropped || e.taken || e.storedAt.IsZero() || !e.moved && !old {
		return core.Endpoint{}, false
	}
	e.moved = false
	r = core.Endpoint{User: e.user, ID: e.id, At: e.low, Seen: e.seen.UnixMilli(), Open: e.holds}
	for _, f := range e.flights {
		if f.answered {
			r.Answered = append(r.Answered, f.at.Position)
		}
	}
	return r, true
}
