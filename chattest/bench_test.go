package chattest_test

import (
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
)

// round is a fake testing.TB for one iteration of a benchmark. Its method end runs the functions
// that were registered with Cleanup, and so closes a server that was started with the round.
type round struct {
	testing.TB
	cleanups []func()
}

func (r *round) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *round) end() {
	for _, f := range r.cleanups {
		f()
	}
}

// BenchmarkNewServer starts a server, sends one request over a new TLS connection and closes the
// server. It reports the time to the first response and the time to close.
func BenchmarkNewServer(b *testing.B) {
	var first, end time.Duration
	for b.Loop() {
		r := &round{TB: b}
		start := time.Now()
		s := chattest.NewServer(r)
		list(b, s, s.NewUser().Token(), 200)
		first += time.Since(start)
		start = time.Now()
		r.end()
		end += time.Since(start)
	}
	b.ReportMetric(float64(first.Microseconds())/1000/float64(b.N), "ms-to-first-answer")
	b.ReportMetric(float64(end.Microseconds())/1000/float64(b.N), "ms-to-close")
}
