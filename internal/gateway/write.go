package gateway

import (
	"errors"
	"sync"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway/hijack"
)

// task says which work the goroutine that writes a session's events must do next.
type task uint8

const (
	rest task = iota // no work: the goroutine takes another session
	// write the waiting control bytes (protocol data such as answers to pings), a heartbeat and
	// events
	flush
	catchUp  // read events from the store
	farewell // end
)

// work is a task with the data to write.
type work struct {
	task    task
	control []byte
	beat    bool
	events  []queued
	at      core.Cursor // the session's cursor before the events
}

// next returns the work that the goroutine that writes the session's events must do next, and
// removes the data of this work from the session. full is the result of Sink.Full: true means that
// the client must answer before it gets events.
func (s *Session) next(full bool) work {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := work{task: flush, control: s.control, beat: s.beating, at: s.at}
	s.control, s.beating = nil, false
	switch {
	case s.why != 0:
		w.task = farewell
		return w
	case full:
	case s.behind || s.dropped:
		if len(w.control) == 0 && !w.beat {
			w.task = catchUp
			return w
		}
	default:
		if len(s.queue) > 0 && !ahead(s.queue[0].at, s.at) {
			s.skip()
		}
		n, bytes := 0, 0
		for n < len(s.queue) && bytes < maxWrite {
			bytes += s.queue[n].event.size()
			n++
		}
		w.events, s.queue = s.queue[:n:n], s.queue[n:]
		s.bytes -= bytes
		s.hub.queued.Add(-int64(bytes))
		if len(s.queue) == 0 {
			s.queue = nil
		}
	}
	if len(w.control)+len(w.events) == 0 && !w.beat && !(full && s.woken) {
		w.task, s.running = rest, false
	}
	s.woken = false
	return w
}

// buffers holds the buffers into which sessions append their events before they write them.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// write writes all waiting data of the session: control bytes, heartbeats and events. It returns
// when nothing is left. Only one goroutine at a time calls it. If brief is true, other sessions
// wait for this goroutine, so write starts another goroutine if it has to read missed events from
// the store.
func (s *Session) write(brief bool) {
	buffer := buffers.Get().(*[]byte)
	b := (*buffer)[:0]
	defer func() {
		if cap(b) <= 2*maxWrite {
			*buffer = b[:0]
			buffers.Put(buffer)
		}
	}()
	for {
		w := s.next(s.sink.Full())
		switch w.task {
		case rest:
			return
		case farewell:
			b = s.sink.End(append(b[:0], w.control...), s.Why())
			if len(b) > 0 {
				s.sink.Write(b) // ignore the error: it means that the client has disconnected
			}
			s.close()
			return
		case catchUp:
			if brief {
				go s.write(false)
				return
			}
			b = s.catchUp(b)
		case flush:
			b = append(b[:0], w.control...)
			if w.beat && len(w.events) == 0 {
				b = s.sink.Append(b, nil, w.at)
			}
			b, _ = s.deliver(b, w.events)
		}
	}
}

// deliver writes b and then the events. If the client must answer before it gets all of them,
// deliver puts the remaining events back into the session's queue. It returns the buffer b, and all
// is true if all events were written. Callers must use the result all and not call Sink.Full,
// because the client may have answered meanwhile.
func (s *Session) deliver(b []byte, events []queued) (_ []byte, all bool) {
	for len(b) > 0 || len(events) > 0 {
		n := 0
		for n < len(events) && len(b) < maxWrite && (n == 0 || !s.sink.Full()) {
			b = s.sink.Append(b, events[n].event, events[n].at)
			n++
		}
		if len(b) > 0 {
			if err := s.sink.Write(b); err != nil {
				s.End(WhyOf(err))
				return b, false
			}
		}
		if n > 0 {
			s.hub.stats.delivered(s.o.Protocol, n)
			s.moveTo(events[n-1])
		}
		events, b = events[n:], b[:0]
		if len(events) > 0 && s.sink.Full() {
			s.putBack(events)
			return b, false
		}
	}
	return b, true
}

// moveTo sets the session's cursor to the cursor of q, because all events up to q were written.
// Only a gap moves the cursor back. A typing notification must not move it back: it carries the
// hub's cursor, and the client's cursor may be later than that if the client was connected to a
// server that had read more of the log.
func (s *Session) moveTo(q queued) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.event.Gap != 0 || !ahead(s.at, q.at) {
		s.at = q.at
	}
}

// putBack puts events back at the front of the session's queue. It discards them if the session has
// ended or must read the events after its cursor from the store anyway.
func (s *Session) putBack(events []queued) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind || s.dropped || s.why != 0 {
		return
	}
	for _, q := range events {
		s.bytes += q.event.size()
		s.hub.queued.Add(int64(q.event.size()))
	}
	s.queue = append(events, s.queue...)
}

// WhyOf returns the reason for the end of a session whose sink failed to read or write with
// err: Silent for hijack.ErrSilent, Slow for a timeout, and otherwise Gone.
func WhyOf(err error) Reason {
	var t interface{ Timeout() bool }
	switch {
	case errors.Is(err, hijack.ErrSilent):
		return Silent
	case errors.As(err, &t) && t.Timeout():
		return Slow
	}
	return Gone
}
