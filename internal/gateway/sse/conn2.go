package sse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway/hijack"
)

// stream is the Conn of a response over HTTP/2. It writes to the http.ResponseWriter.
type stream struct {
	writer     http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration
	done       chan struct{} // closed by Close

	mu      sync.Mutex // guards the fields below
	hurry   bool       // Interrupt was called
	broken  bool       // a write failed, or Abort was called
	closed  bool
	writing time.Time // when the running write began; zero if none is running
	late    bool      // the previous write took at least the timeout, so net/http may reset the stream
}

// takeStream begins a response to an HTTP/2 request. It fails if the write deadline that the
// http.Server has set cannot be removed.
func takeStream(w http.ResponseWriter, timeout time.Duration) (*stream, error) {
	c := &stream{writer: w, controller: http.NewResponseController(w), timeout: timeout, done: make(chan struct{})}
	if err := c.controller.SetWriteDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("take over the response: %w", err)
	}
	w.WriteHeader(http.StatusOK)
	return c, nil
}

// Taken implements Conn. It returns false, because net/http keeps the connection.
func (c *stream) Taken() bool { return false }

// Write implements Conn. It removes the write deadline at its end, because net/http resets the
// stream when a deadline passes, even if nothing is being written.
func (c *stream) Write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), hijack.MaxRecord)
		if err := c.setDeadline(); err != nil {
			return err
		}
		_, err := c.writer.Write(b[:n])
		if err == nil {
			err = c.controller.Flush()
		}
		if err != nil {
			c.Abort()
			return c.overdue(err)
		}
		b = b[n:]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended()
	return c.controller.SetWriteDeadline(time.Time{})
}

// setDeadline sets the deadline of the next write to this response. It fails if the response is
// broken or closed.
func (c *stream) setDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.closed {
		return net.ErrClosed
	}
	c.ended()
	c.writing = time.Now()
	d := c.timeout
	if c.hurry {
		d = min(d, hijack.Goodbye)
	}
	return c.controller.SetWriteDeadline(c.writing.Add(d))
}

// ended records that the running write has ended, if one was running. The caller holds c.mu.
func (c *stream) ended() {
	c.late = c.expired()
	c.writing = time.Time{}
}

// expired reports whether a write is running that has taken c.timeout or longer. The caller
// holds c.mu.
func (c *stream) expired() bool {
	return !c.writing.IsZero() && time.Since(c.writing) >= c.timeout
}

// overdue returns the error err, with which a write or the whole response has ended. If the running
// or the previous write has taken at least c.timeout, net/http may have reset the stream for that
// reason, and the Timeout method of the returned error returns true.
func (c *stream) overdue(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late || c.expired() {
		return errTimeout{err}
	}
	return err
}

// errTimeout is the error of a write whose deadline has passed.
type errTimeout struct{ error }

// Timeout returns true. gateway.WhyOf recognizes a timeout by this method.
func (errTimeout) Timeout() bool { return true }

// Interrupt implements Conn. It shortens the deadline of the running Write, and of each later one,
// so that a slow client cannot delay the end of its session. It sets no deadline if no Write is
// running: on a busy machine that deadline could pass before the last message is written, and
// net/http would reset the stream.
func (c *stream) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hurry || c.closed {
		return
	}
	c.hurry = true
	if !c.writing.IsZero() {
		c.controller.SetWriteDeadline(time.Now().Add(hijack.Goodbye))
	}
}

// Abort implements Conn. All later writes fail.
func (c *stream) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
}

// Aborted implements Conn.
func (c *stream) Aborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Close implements Conn.
func (c *stream) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
}

// Wait implements Conn. It waits for Close or the end of ctx.
func (c *stream) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		// ctx also ends when a write deadline has passed, because net/http then resets the stream
		return c.overdue(ctx.Err())
	case <-c.done:
		return net.ErrClosed
	}
}
