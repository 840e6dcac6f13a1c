package server

import (
	"net/http"
	"sync"
	"time"
)

// handlers counts the running handlers, so that the server can close the store after the last
// one has returned. The zero value counts none.
type handlers struct {
	mu      sync.Mutex // guards the fields below
	running int
	refuse  bool          // no further handler may begin
	none    chan struct{} // the channel that end makes; it is closed when no handler is running any more
}

// track returns a handler that calls next and counts it while it runs.
func (h *handlers) track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.begin() {
			panic(http.ErrAbortHandler) // the connection is being closed
		}
		defer h.done()
		next.ServeHTTP(w, r)
	})
}

func (h *handlers) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse {
		return false
	}
	h.running++
	return true
}

func (h *handlers) done() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running--; h.running == 0 && h.refuse {
		close(h.none)
	}
}

// end prevents further handlers from starting, and waits until all running handlers have returned,
// but not longer than patience. It returns the number of handlers that are still running. It must
// be called only once.
func (h *handlers) end(patience time.Duration) int {
	h.mu.Lock()
	h.refuse, h.none = true, make(chan struct{})
	if h.running == 0 {
		close(h.none)
	}
	h.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-h.none:
	case <-timer.C:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}
