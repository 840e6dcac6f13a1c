package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// stuckTime is the time after which a goroutine that still writes for the same session counts as
// stuck, probably because the client is slow. Another goroutine is then started for the other
// sessions.
const stuckTime = time.Millisecond

// writers is a pool of goroutines that write the events of sessions to their clients. It has few
// goroutines, because with one for each session that gets an event the delivery of events would
// cost an eighth more, mostly for stacks. Each goroutine takes one ready session (with something to
// write) after another and ends when no session is ready. If a goroutine is stuck, the pool starts
// another one.
type writers struct {
	limit int // add starts a goroutine only if fewer goroutines than this are running and not stuck

	mu       sync.Mutex // guards the fields below; lock it after a session's mu
	ready    []*Session // in the order of add
	all      []*writer
	free     int         // number of all goroutines that are not stuck
	watch    *time.Timer // calls look while sessions wait
	watching bool
}

// writer is one goroutine of the pool. The mu of writers guards its fields.
type writer struct {
	turns, seen int // number of sessions that the goroutine has taken so far, and the number at the last call of look
	stuck       bool
}

func newWriters() *writers {
	return &writers{limit: max(4, 2*runtime.GOMAXPROCS(0))}
}

// add makes a goroutine of the pool write for the session s soon.
func (ws *writers) add(s *Session) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ready = append(ws.ready, s)
	switch {
	case ws.free < ws.limit:
		ws.start()
	case !ws.watching:
		ws.watching = true
		if ws.watch == nil {
			ws.watch = time.AfterFunc(stuckTime, ws.look)
		} else {
			ws.watch.Reset(stuckTime)
		}
	}
}

// start starts a goroutine that writes the events of ready sessions. The caller holds ws.mu.
func (ws *writers) start() {
	w := &writer{}
	ws.all, ws.free = append(ws.all, w), ws.free+1
	go func() {
		for s := ws.take(w); s != nil; s = ws.take(w) {
			s.write(true)
		}
	}()
}

// take returns the next ready session for the goroutine w. It returns nil if w must end, because no
// session is ready, or because w was stuck and the pool now has enough other goroutines.
func (ws *writers) take(w *writer) *Session {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w.stuck {
		w.stuck, ws.free = false, ws.free+1
	}
	if stuck := len(ws.all) - ws.free; len(ws.ready) == 0 || ws.free > ws.limit+stuck {
		ws.free--
		ws.all = slices.DeleteFunc(ws.all, func(o *writer) bool { return o == w })
		return nil
	}
	s := ws.ready[0]
	ws.ready[0] = nil
	if ws.ready = ws.ready[1:]; len(ws.ready) == 0 {
		ws.ready = nil
	}
	w.turns++
	return s
}

// look marks the goroutines that have been stuck since its last call, and starts other goroutines
// if sessions wait. Each call can double the number of goroutines, so many slow clients cannot
// delay the other clients for long.
func (ws *writers) look() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		if !w.stuck && w.turns == w.seen {
			w.stuck = true
			ws.free--
		}
		w.seen = w.turns
	}
	ws.watching = len(ws.ready) > 0
	if !ws.watching {
		return
	}
	stuck := len(ws.all) - ws.free
	for range min(ws.limit+stuck-ws.free, len(ws.ready)) {
		ws.start()
	}
	ws.watch.Reset(stuckTime)
}
