package sse

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/hijack"
)

// slowWriter is an http.ResponseWriter whose writes take some time, and succeed.
type slowWriter struct {
	takes    time.Duration
	deadline time.Time
}

func (w *slowWriter) Header() http.Header { return http.Header{} }
func (w *slowWriter) WriteHeader(int)     {}
func (w *slowWriter) FlushError() error   { return nil }

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	time.Sleep(w.takes)
	return len(b), nil
}

// TestLateWriteIsSlow lets a write over HTTP/2 succeed at the moment of its deadline, at which
// net/http resets the stream. It checks that the response then counts as ended by a slow client. If
// the write succeeds earlier, the response must count as ended by a client that hung up.
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

// TestInterruptedIdleStream checks that Interrupt sets no deadline for a stream on which nothing is
// being written, because net/http would reset the stream before a late last message. It checks that
// a running write does get a deadline.
func TestInterruptedIdleStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := &slowWriter{}
		c, err := takeStream(idle, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		c.Interrupt()
		if !idle.deadline.IsZero() {
			t.Errorf("an idle stream gets the deadline %v", idle.deadline)
		}
		busy := &slowWriter{takes: time.Second}
		if c, err = takeStream(busy, time.Minute); err != nil {
			t.Fatal(err)
		}
		var writing sync.WaitGroup
		writing.Go(func() { c.Write([]byte("slow")) })
		synctest.Wait()
		c.Interrupt()
		c.mu.Lock() // hold the lock that Write holds while it sets the deadline
		got := busy.deadline
		c.mu.Unlock()
		if want := time.Now().Add(hijack.Goodbye); !got.Equal(want) {
			t.Errorf("a running write has the deadline %v, want %v", got, want)
		}
		writing.Wait()
	})
}
