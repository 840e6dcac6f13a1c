package chattest_test

import (
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
)

// round is the testing.TB of one benchmark iteration. It runs its cleanup functions at the end of
// the iteration.
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

// BenchmarkNewServer measures starting a server, its first response over TLS on a new connection,
// and closing the server.
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
