package server

import (
	"log/slog"
	"sync"
	"time"
)

// maxRefusals is the greatest number of log lines about refused requests in a second. Without this
// limit, clients without a token could fill the disk with log lines.
const maxRefusals = 100

// refusals limits the log lines about requests that were refused or not answered to maxRefusals in
// a second. The zero value is ready to use.
type refusals struct {
	mu     sync.Mutex // guards the fields below
	since  time.Time  // begin of the second
	lines  int        // written in it
	unsaid int        // not written
}

// mayLog reports whether a request with this status may get a line in the log. It returns true for
// every request that was not refused. For the first refused request of a new second, it logs how
// many requests of the second before got no line.
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
