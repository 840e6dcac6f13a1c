// Package hijack takes over HTTP/1 connections from net/http, so that a handler can read and write
// bytes directly. A write to a Conn fails if the client takes no byte for too long. Its errors tell
// whether the client is slow or has lost its network, or has closed the connection. The package
// knows nothing of chat.
package hijack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MaxRecord is the maximum number of bytes that Conn.Write writes with one deadline. It is the
// size of a full TLS record.
const MaxRecord = 16 << 10

const (
	// Goodbye is the longest time that a write may take after Interrupt was called.
	Goodbye = 50 * time.Millisecond
	// hearing is the longest time that a failed Write waits for the concurrent Read to fail.
	hearing = time.Second
)

// ErrSilent is the error of a Read when the client has sent nothing for the time set by
// AwaitInput.
var ErrSilent = errors.New("the client has sent nothing for too long")

// Conn is a connection that was taken over from net/http. Only one goroutine at a time may
// call Read; all other methods may be called by several at the same time.
type Conn struct {
	net     net.Conn
	timeout time.Duration

	inRead  atomic.Bool   // true while a Read waits for the client
	reading chan struct{} // closed when a Read has failed; then readErr is set
	readErr error         // the error of the failed Read; os.ErrDeadlineExceeded if a Write has ended the Read
	ended   error         // the error that Read has returned

	sending  sync.Mutex // held during each write; guards writeErr
	writeErr error      // the error of the first write that failed

	mu     sync.Mutex // guards the fields below
	until  time.Time  // the latest deadline that was set for writes
	hurry  bool       // Interrupt was called
	broken bool       // a write failed, or Abort was called
	pulled bool       // a write has failed and has therefore ended the running Read
	closed bool
}

// Take takes over the connection of a request from net/http. w is the response to that
// request. A Write fails if the client takes no byte for the timeout. The deadlines of the
// http.Server no longer apply. early is the number of bytes after the request that net/http
// had already read; these bytes are lost. Take fails if the connection cannot be taken over,
// as with HTTP/2.
func Take(w http.ResponseWriter, timeout time.Duration) (c *Conn, early int, err error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, 0, fmt.Errorf("take over the connection: %w", err)
	}
	limitUnacknowledged(rawConn(conn), timeout)
	return &Conn{net: conn, timeout: timeout, reading: make(chan struct{})}, buffered.Reader.Buffered(), nil
}

// rawConn returns the connection below TLS, or conn itself if it does not use TLS.
func rawConn(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

// Net returns the connection that was taken over. The caller must use the methods Read, Write and
// Close of c, not the methods of the returned connection.
func (c *Conn) Net() net.Conn { return c.net }

// Write writes b. It fails if the client takes no byte for the timeout given to Take; the
// error then has a Timeout method that returns true. After an error all calls fail.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	for n < len(b) {
		if err := c.setDeadline(); err != nil {
			return n, err
		}
		wrote, err := c.net.Write(b[n:min(len(b), n+MaxRecord)])
		n += wrote
		again := errors.Is(err, os.ErrDeadlineExceeded) && wrote > 0 && !c.hurried() // retry: the deadline passed, but the client took some bytes
		if err != nil && !again {
			c.writeErr = err
			c.Abort()
			return n, c.overdueWrite(err)
		}
	}
	return n, nil
}

// setDeadline sets the deadline of the next write to the timeout from now. If the present deadline
// is earlier by at most 1/32 of the timeout, it keeps the present one, because setting a deadline
// costs a tenth of a write. It fails if the connection is broken or closed.
func (c *Conn) setDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case c.broken || c.closed:
		return net.ErrClosed
	case c.hurry:
		return c.net.SetWriteDeadline(now.Add(min(c.timeout, Goodbye)))
	case c.until.Sub(now) >= c.timeout-c.timeout/32:
		return nil
	}
	c.until = now.Add(c.timeout)
	return c.net.SetWriteDeadline(c.until)
}

// hurried reports whether Interrupt was called.
func (c *Conn) hurried() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hurry
}

// Interrupt limits the running Write and each later Write to the time Goodbye (50 ms). A Write that
// takes longer fails.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hurry && !c.closed {
		c.hurry = true
		c.net.SetWriteDeadline(time.Now().Add(min(c.timeout, Goodbye))) // for the running Write
	}
}

// Abort makes all later writes fail. Close then closes the connection without a TLS alert.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
}

// Aborted reports whether a write has failed or Abort was called.
func (c *Conn) Aborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Close closes the connection and makes Read return. It may be called more than once. After Abort
// or a failed write it skips the closing message of TLS, because a client that reads nothing would
// delay this message.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.broken {
		return rawConn(c.net).Close()
	}
	return c.net.Close()
}

// AwaitInput makes Read fail with ErrSilent if it receives nothing for the time d from now on.
func (c *Conn) AwaitInput(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pulled {
		c.net.SetReadDeadline(time.Now().Add(d)) // ignore the error: if the connection is closed, Read fails too
	}
}

// Read reads bytes that the client has sent. It fails with ErrSilent if the client has sent nothing
// for the time set by AwaitInput. If the client has taken no byte for the timeout given to Take, it
// fails with an error whose Timeout method returns true. Do not call it again after an error.
func (c *Conn) Read(b []byte) (int, error) {
	c.inRead.Store(true)
	n, err := c.net.Read(b)
	if err != nil {
		c.endRead(err)
	}
	c.inRead.Store(false)
	if err != nil {
		c.ended = c.overdueRead()
		err = c.ended
	}
	return n, err
}

// ReadErr returns the error that Read has returned, or nil if it has not failed. Only the
// goroutine that calls Read may call it.
func (c *Conn) ReadErr() error { return c.ended }

// endRead records the error err with which the read from the network has failed.
func (c *Conn) endRead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.pulled {
		err = ErrSilent
	}
	c.readErr = err
	close(c.reading)
}

// The kernel reports only once, either to a Read or to a Write, that a client's machine has
// acknowledged nothing for too long (see limitUnacknowledged). Later calls only find a closed
// connection. Therefore a Read that fails takes over the error of a concurrent Write, and a Write
// that fails takes over the error of a concurrent Read.

// overdueRead returns the error for a failed Read. It is the error of the running Write if the
// kernel has reported its timeout to the Write, or if the Write has ended the Read.
func (c *Conn) overdueRead() error {
	c.Interrupt() // makes a running Write return soon and unlock the mutex sending
	c.sending.Lock()
	defer c.sending.Unlock()
	if errors.Is(c.readErr, os.ErrDeadlineExceeded) || errors.Is(c.writeErr, syscall.ETIMEDOUT) {
		return c.writeErr
	}
	return c.readErr
}

// overdueWrite returns the error for a Write that has failed with err. It is the error of the
// running Read if the kernel has reported its timeout to the Read, or if the Read has failed
// first and has interrupted the Write.
func (c *Conn) overdueWrite(err error) error {
	overdue := errors.Is(err, os.ErrDeadlineExceeded)
	if !overdue && c.inRead.Load() {
		c.pull()
		// wait for this time at most, because the Read may succeed now: it may have received bytes
		timer := time.NewTimer(hearing)
		defer timer.Stop()
		select {
		case <-c.reading:
		case <-timer.C:
		}
	}
	select {
	case <-c.reading:
		if overdue || errors.Is(c.readErr, syscall.ETIMEDOUT) {
			return c.readErr
		}
	default:
	}
	return err
}

// pull makes a running Read return at once, by setting a read deadline in the past.
func (c *Conn) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
	c.net.SetReadDeadline(time.Now())
}
