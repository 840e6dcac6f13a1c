package server

import (
	"log/slog"
	"sync"
	"time"
)

// maxRefusals is the number of lines about refused requests that the log gets in a second. A
// client needs no token to be refused, so it could fill the disk with them.
const maxRefusals = 100

// refusals bounds the lines about requests that were refused or had no answer. The zero value
// has counted none.
type refusals struct {
	mu     sync.Mutex // guards the fields below
	since  time.Time  // begin of the second
	lines  int        // written in it
	unsaid int        // not written
}

// mayLog reports whether the request with this status gets a line in the log. With the first
// refused request of a later second, it logs the number of those that got no line.
func (f *refusals) mayLog(log *slog.Logger, status int, now time.Time) bool {
	if status != 0 && status < 400 {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if since := now.Sub(f.since); since >= time.Second || since < 0 {
		if f.unsaid > 0 {
			log.Info("more requests were refused than the log shows", "times", f.unsaid)
		}
		f.since, f.lines, f.unsaid = now, 0, 0
	}
	if f.lines >= maxRefusals {
		f.unsaid++
		return false
	}
	f.lines++
	return true
}
