package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// Sink writes the events of a session to a client in some protocol. Only one goroutine at a time
// calls its methods, and no goroutine waits in a method while there is nothing to write.
type Sink interface {
	// Append appends the event e in the sink's protocol to b, or a heartbeat if e is nil. at
	// is the cursor after the event, from which the client can resume. Sessions share events,
	// so a sink should encode an event with Event.Encoded, which encodes it only once.
	Append(b []byte, e *Event, at core.Cursor) []byte
	// Write writes b to the client. If it fails, the session ends.
	Write(b []byte) error
	// End appends to b the last words to the client, with the reason for the end. It appends
	// nothing if the client cannot be told.
	End(b []byte, why Reason) []byte
	// Full reports whether the client must answer before it gets more events. The sink must
	// call Session.Wake when the client has answered.
	Full() bool
	// Close closes the connection. It is called once, after the last Write.
	Close()
}

// Interrupter is an optional interface of a Sink whose Write may wait for a slow client.
// Interrupt is called when the session ends, also while Write runs. After that Write must not
// wait for long.
type Interrupter interface{ Interrupt() }

// SessionOptions are the options of a session for Hub.Open.
type SessionOptions struct {
	Protocol Protocol
	Threads  []string // ids of the threads whose events the session writes; empty means all threads
	// From is the address of the client, and Agent is the client's user agent. Both are shown to
	// the operator and may be empty.
	From, Agent string
}

// maxWrite is the size in bytes at which a session stops collecting events and writes the collected
// ones.
const maxWrite = 64 << 10

// maxControl is the maximum number of bytes of protocol data, such as answers to pings, that may
// wait in a session.
const maxControl = 16 << 10

// Session tells one client what happens in its user's threads. It holds a cursor in the event log
// and a bounded queue of the events after the cursor.
type Session struct {
	hub     *Hub
	user    *user
	claims  token.Claims
	o       SessionOptions
	threads map[string]struct{} // nil: all
	sink    Sink
	since   time.Time   // when it was opened
	beat    *time.Timer // fires after Heartbeat
	expiry  *time.Timer // fires when the token expires
	done    chan struct{}
	ending  chan struct{} // closed by End

	mu     sync.Mutex  // guards the fields below
	at     core.Cursor // all events up to this cursor were written to the client
	told   core.Cursor // the hub's cursor when the session was added, or when it began to read missed events
	behind bool        // the session must read the events between the cursors at and told from the store
	// events after the cursor told were dropped from the queue, so told must move to the hub's
	// cursor
	dropped bool
	queue   []queued
	bytes   int    // of queue
	control []byte // bytes to write before events
	beating bool   // a heartbeat is due
	started bool
	running bool // a goroutine writes for this session or will start to soon
	woken   bool // Wake was called, so the writing goroutine must call Sink.Full again
	// wakes the session's goroutine while it reads from the store, with capacity 1; nil at other
	// times
	poke chan struct{}
	why  Reason // why the session has ended; 0 while it is open
}

// queued is an event in a session's queue, with the cursor that the session has after writing the
// event.
type queued struct {
	event *Event
	at    core.Cursor
}

func newSession(h *Hub, c token.Claims, o SessionOptions, sink Sink) *Session {
	s := &Session{hub: h, claims: c, o: o, sink: sink, since: h.now(), done: make(chan struct{}), ending: make(chan struct{})}
	if len(o.Threads) > 0 {
		s.threads = make(map[string]struct{}, len(o.Threads))
		for _, id := range o.Threads {
			s.threads[id] = struct{}{}
		}
	}
	return s
}

// Claims returns the claims of the token with which the session was opened.
func (s *Session) Claims() token.Claims { return s.claims }

// At returns the cursor up to which the session has written all events.
func (s *Session) At() core.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// Done returns a channel that is closed when the session has ended and its sink is closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Why returns why the session ended, or 0 while it is open.
func (s *Session) Why() Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// Start makes the session write to its sink: first the given bytes, then the events that the client
// has missed, then new events. If the session has ended already, Start does nothing and returns
// false.
func (s *Session) Start(first []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != 0 {
		return false
	}
	s.hub.stats.opened(s.o.Protocol)
	s.started = true
	s.control = append(s.control, first...)
	s.beat = time.AfterFunc(Heartbeat, s.heartbeat)
	s.expiry = time.AfterFunc(s.claims.Expires.Sub(s.hub.now()), s.expire)
	s.run()
	return true
}

// expire ends the session if its token has expired by the hub's clock. Otherwise it sets the timer
// to the remaining time. The timer calls expire, and so does Hub.Judge after a development clock
// was set forward.
func (s *Session) expire() {
	left := s.claims.Expires.Sub(s.hub.now())
	if left <= 0 {
		s.End(Expired)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started && s.why == 0 {
		s.expiry.Reset(left)
	}
}

// heartbeat makes the session write a heartbeat. If the session has no events to write, it first
// moves the session's cursor to the hub's cursor.
func (s *Session) heartbeat() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != 0 {
		return
	}
	if !s.behind && !s.dropped && len(s.queue) == 0 && !s.running && !ahead(s.at, s.hub.at) {
		s.at, s.told = s.hub.at, s.hub.at
	}
	s.beating = true
	s.beat.Reset(Heartbeat)
	s.run()
}

// Control makes the session write b before further events. It is for protocol data such as the
// answer to a ping. It ends the session as Hostile if more than maxControl bytes would wait,
// because the client does not read.
func (s *Session) Control(b []byte) {
	s.mu.Lock()
	full := len(s.control)+len(b) > maxControl
	if !full && s.why == 0 {
		s.control = append(s.control, b...)
		s.run()
	}
	s.mu.Unlock()
	if full {
		s.End(Hostile)
	}
}

// Wake makes a session continue to write events after its client has answered. Sinks whose Full has
// returned true must call it.
func (s *Session) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.woken = true
	s.run()
}

// End ends the session and tells the client the reason if possible. Only the first call has an
// effect.
func (s *Session) End(why Reason) {
	s.mu.Lock()
	if s.why != 0 {
		s.mu.Unlock()
		return
	}
	s.why = why
	close(s.ending)
	if s.beat != nil {
		s.beat.Stop()
		s.expiry.Stop()
	}
	s.emptyQueue()
	started := s.started
	s.run()
	s.mu.Unlock()
	s.hub.stats.ended(why)
	s.hub.leave(s)
	if !started {
		s.close()
	} else if i, ok := s.sink.(Interrupter); ok {
		i.Interrupt()
	}
}

// close closes the sink of a session that has ended.
func (s *Session) close() {
	s.sink.Close()
	close(s.done)
	s.hub.closed()
}

// abandon removes a session from its hub, if Start was not called for the session. Unlike End, it
// does not close the sink.
func (s *Session) abandon(why Reason) {
	s.mu.Lock()
	open := s.why == 0
	if open {
		s.why = why
		close(s.ending)
		close(s.done)
	}
	s.emptyQueue()
	s.mu.Unlock()
	s.hub.leave(s)
	if open {
		s.hub.closed()
	}
}

// wants reports whether the session asked for the events of a thread, by its id.
func (s *Session) wants(thread string) bool {
	if s.threads == nil {
		return true
	}
	_, ok := s.threads[thread]
	return ok
}

// push adds an event to the session's queue. If the queue has no room, push drops all events in it,
// and the session reads the events from the store later. The caller holds the hub's mu.
func (s *Session) push(e *Event, at core.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != 0 || s.dropped {
		return
	}
	n := e.size()
	if s.bytes+n > s.hub.bounds.Queue && len(s.queue) > 0 {
		s.hub.stats.dropped.Add(1)
		s.emptyQueue()
		s.dropped = true
		return
	}
	s.queue = append(s.queue, queued{e, at})
	s.bytes += n
	s.hub.queued.Add(int64(n))
	s.run()
}

// waiting returns the number of bytes of events in the session's queue.
func (s *Session) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// drop empties the session's queue, so that the session later reads the events from the store. It
// does nothing if the queue is empty.
func (s *Session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		s.hub.stats.dropped.Add(1)
		s.emptyQueue()
		s.dropped = true
	}
}

// reread empties the session's queue and makes the session read its events from the store at once.
// If the store cannot tell whether the user may see an event, the client is told of a gap. The
// caller holds the hub's mu.
func (s *Session) reread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != 0 || s.dropped {
		return
	}
	s.emptyQueue()
	s.dropped = true
	s.run()
}

// emptyQueue removes all events from the session's queue and subtracts their bytes from the hub's
// count. The caller holds s.mu.
func (s *Session) emptyQueue() {
	s.hub.queued.Add(-int64(s.bytes))
	s.queue, s.bytes = nil, 0
}

// skip removes from the session's queue the events that the client has already received from
// another server that had read more of the log than this one. The caller holds s.mu.
func (s *Session) skip() {
	s.queue = slices.DeleteFunc(s.queue, func(q queued) bool {
		if q.event.Happening == nil || q.event.Position == 0 || q.at.Epoch != s.at.Epoch || ahead(q.at, s.at) {
			return false
		}
		s.bytes -= q.event.size()
		s.hub.queued.Add(-int64(q.event.size()))
		return true
	})
}

// breakOff empties the session's queue and makes the session read its missed events up to the
// cursor tip from the store. If the log lost events after the session's cursor, the client is then
// told of a gap. The caller holds the hub's mu.
func (s *Session) breakOff(tip core.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emptyQueue()
	s.behind, s.dropped, s.told = true, false, tip
	s.run()
}

// run makes a goroutine call Session.write, unless a goroutine is already writing for the session
// or will start to soon. The caller holds s.mu.
func (s *Session) run() {
	switch {
	case !s.started:
	case !s.running:
		s.running = true
		s.hub.writers.add(s)
	case s.poke != nil:
		select {
		case s.poke <- struct{}{}:
		default:
		}
	}
}
