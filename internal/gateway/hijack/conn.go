// Package hijack takes connections of HTTP/1 over from net/http. A Conn ends a write that
// moves no byte for too long, and tells a client that is slow or lost its network from one
// that left. It knows nothing of chat.
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

// MaxRecord is the number of bytes that are written with one deadline at most. It is the
// size of a full TLS record.
const MaxRecord = 16 << 10

const (
	// Goodbye is the time that a write may take after Interrupt.
	Goodbye = 50 * time.Millisecond
	// hearing is the time for which a Write that has failed waits for the Read.
	hearing = time.Second
)

// ErrSilent is the error of a Read that has got nothing for the time of AwaitInput.
var ErrSilent = errors.New("the client has sent nothing for too long")

// Conn is a connection that was taken over. One goroutine at a time may call Read; all other
// methods may be called by many.
type Conn struct {
	net     net.Conn
	timeout time.Duration

	inRead  atomic.Bool   // Read waits for the client
	reading chan struct{} // closed when a Read has failed; then readErr is set
	readErr error         // why; os.ErrDeadlineExceeded if a Write has ended the Read
	ended   error         // the error that Read has returned

	sending  sync.Mutex // held while something is written; guards writeErr
	writeErr error      // why a write failed

	mu     sync.Mutex // guards the fields below
	until  time.Time  // the deadline of writes that is set
	hurry  bool       // Interrupt was called
	broken bool       // a write failed, or Abort was called
	pulled bool       // a write failed and has ended the Read
	closed bool
}

// Take takes the connection of the request over to which w is the response. A Write that
// moves no byte for the timeout fails. early is the number of bytes after the request that
// net/http had read; they are lost. The deadlines of the http.Server no longer apply. Take
// fails if the connection cannot be taken over, as with HTTP/2.
func Take(w http.ResponseWriter, timeout time.Duration) (c *Conn, early int, err error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, 0, fmt.Errorf("take over the connection: %w", err)
	}
	limitUnacknowledged(rawConn(conn), timeout)
	return &Conn{net: conn, timeout: timeout, reading: make(chan struct{})}, buffered.Reader.Buffered(), nil
}

// rawConn returns the connection below TLS, or conn itself.
func rawConn(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

// Net returns the connection that was taken over. Its Read, Write and Close must not be called
// after those of c.
func (c *Conn) Net() net.Conn { return c.net }

// Write writes b. It fails with an error whose Timeout method returns true if the client
// takes no byte for the timeout of Take. After an error all calls fail.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	for n < len(b) {
		if err := c.setDeadline(); err != nil {
			return n, err
		}
		wrote, err := c.net.Write(b[n:min(len(b), n+MaxRecord)])
		n += wrote
		again := errors.Is(err, os.ErrDeadlineExceeded) && wrote > 0 && !c.hurried() // the client has taken a part
		if err != nil && !again {
			c.writeErr = err
			c.Abort()
			return n, c.overdueWrite(err)
		}
	}
	return n, nil
}

// setDeadline gives the next write the timeout, or up to a 32nd less. That way many writes in
// a short time set one deadline, which costs as much as a tenth of a write. It fails if the
// connection is broken or closed.
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

// Interrupt gives the present Write and each later one only the time Goodbye.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hurry && !c.closed {
		c.hurry = true
		c.net.SetWriteDeadline(time.Now().Add(min(c.timeout, Goodbye))) // of a Write that runs
	}
}

// Abort makes all later writes fail, and Close end the connection at once.
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

// Close closes the connection and makes Read return. It may be called more than once. After
// Abort it does not say goodbye by the rules of TLS, because it would wait for a client that
// takes nothing.
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

// AwaitInput makes Read fail with ErrSilent if it gets nothing for d from now on.
func (c *Conn) AwaitInput(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pulled {
		c.net.SetReadDeadline(time.Now().Add(d)) // fails on a closed connection: so does Read
	}
}

// Read reads what the client sends. It fails with ErrSilent, and with an error whose Timeout
// method returns true if the client has taken no byte for the timeout of Take. After an
// error it must not be called again.
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

// ReadErr returns the error of Read, or nil if Read has not failed. It must be called by the
// goroutine that calls Read.
func (c *Conn) ReadErr() error { return c.ended }

// endRead records why Read has failed.
func (c *Conn) endRead(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.pulled {
		err = ErrSilent
	}
	c.readErr = err
	close(c.reading)
}

// The kernel says only once, to a Read or to a Write, that a client's machine has
// acknowledged nothing for too long (limitUnacknowledged). Calls after that see a closed
// connection. So a Read that fails asks a Write that runs at the same time, and a Write asks
// the Read.

// overdueRead returns why Read has failed: the error of a Write if only that says that the
// kernel's timeout has passed, or if the Write has ended the Read.
func (c *Conn) overdueRead() error {
	c.Interrupt() // so that the lock is free soon
	c.sending.Lock()
	defer c.sending.Unlock()
	if errors.Is(c.readErr, os.ErrDeadlineExceeded) || errors.Is(c.writeErr, syscall.ETIMEDOUT) {
		return c.writeErr
	}
	return c.readErr
}

// overdueWrite returns why a Write has failed: the error of the Read if only that says that the
// kernel's timeout has passed, or if the Read was the first and has interrupted the Write.
func (c *Conn) overdueWrite(err error) error {
	overdue := errors.Is(err, os.ErrDeadlineExceeded)
	if !overdue && c.inRead.Load() {
		c.pull()
		timer := time.NewTimer(hearing) // the client may have sent something, which the reader handles
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

// pull makes the Read end soon.
func (c *Conn) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
	c.net.SetReadDeadline(time.Now())
}
