package server

import (
	"log/slog"
	"sync"
	"time"
)

// maxRefusals is the most log lines about refused requests in a second. Without a limit, clients
// without a token could fill the disk with them.
const maxRefusals = 100

// refusals limits the log lines about requests that were refused or not answered to maxRefusals
// in a second. The zero value has counted none.
type refusals struct {
	mu     sync.Mutex // guards the fields below
	since  time.Time  // begin of the second
	lines  int        // written in it
	unsaid int        // not written
}

// mayLog reports whether a request with this status may get a line in the log. Requests that
// were not refused always may. For the first refused request of a new second, mayLog logs how
// many requests got no line before.
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
