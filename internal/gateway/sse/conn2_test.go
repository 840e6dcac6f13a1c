package sse

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
)

// slowWriter is the writer of a response whose writes take some time, and succeed.
type slowWriter struct{ takes time.Duration }

func (w *slowWriter) Header() http.Header                { return http.Header{} }
func (w *slowWriter) WriteHeader(int)                    {}
func (w *slowWriter) FlushError() error                  { return nil }
func (w *slowWriter) SetWriteDeadline(_ time.Time) error { return nil }

func (w *slowWriter) Write(b []byte) (int, error) {
	time.Sleep(w.takes)
	return len(b), nil
}

// TestLateWriteIsSlow checks why a response over HTTP/2 has ended, if net/http resets the stream
// at the deadline of a write that succeeds at the same moment: its client was slow. After a
// write in time the client has hung up.
func TestLateWriteIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{takes: time.Second}
		c, err := takeStream(w, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		slow := func() bool { return gateway.WhyOf(c.Wait(ended)) == gateway.Slow }
		if slow() {
			t.Error("nothing was written, and the client was slow")
		}
		if err := c.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		if !slow() {
			t.Error("a write took the whole timeout, and the client was not slow")
		}
		w.takes = time.Millisecond
		if err := c.Write([]byte("in time")); err != nil {
			t.Fatal(err)
		}
		if slow() {
			t.Error("the last write was in time, and the client was slow")
		}
	})
}
