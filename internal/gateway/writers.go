package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// stuckTime is the time after which a goroutine that writes a session, whose client may be
// slow, no longer counts among the few that write all sessions.
const stuckTime = time.Millisecond

// writers are the goroutines that write sessions. A goroutine for each session that is told
// an event would cost an eighth of the delivery, mostly for its stack. So a few goroutines
// take one session after another, and end when no session is ready. Others take the place
// of those that are stuck.
type writers struct {
	limit int // goroutines that add starts and that are not stuck

	mu       sync.Mutex // guards the fields below; locked after a session's mu
	ready    []*Session // in the order of add
	all      []*writer
	free     int         // of all, those that are not stuck
	watch    *time.Timer // calls look while sessions wait
	watching bool
}

// writer is one goroutine. The mu of the writers guards its fields.
type writer struct {
	turns, seen int // sessions that it has taken: now, and when look last looked
	stuck       bool
}

func newWriters() *writers {
	return &writers{limit: max(4, 2*runtime.GOMAXPROCS(0))}
}

// add has a session written by one of the goroutines.
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

// start starts a goroutine. The caller holds ws.mu.
func (ws *writers) start() {
	w := &writer{}
	ws.all, ws.free = append(ws.all, w), ws.free+1
	go func() {
		for s := ws.take(w); s != nil; s = ws.take(w) {
			s.write(true)
		}
	}()
}

// take returns the next session for a goroutine. It returns nil if the goroutine must end:
// no session is ready, or others have taken its place while it was stuck.
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

// look finds the goroutines that are stuck and starts others, as long as sessions wait. Their
// number doubles each time, so that many slow clients do not hold up the others for long.
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
