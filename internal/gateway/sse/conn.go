package sse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxRecord is the number of bytes that one write sends at most. It is the size of a
	// full TLS record.
	maxRecord = 16 << 10
	// chunkFrame is the number of bytes around the data of a chunk of up to maxRecord bytes.
	chunkFrame = len("4000\r\n" + "\r\n")
	// maxInput is the number of bytes that a client may send after its request.
	maxInput = 16 << 10
	// goodbye is the time that a write may take after Interrupt.
	goodbye = 50 * time.Millisecond
)

// ErrNoisy is the error of Conn.Wait when the client has sent more than 16 KB after its
// request.
var ErrNoisy = errors.New("the client has sent too much after its request")

// Conn is the response to one request, to which messages are written for as long as the
// client stays. Over HTTP/1 it has taken the connection over from net/http; over HTTP/2
// it writes to the ResponseWriter. One goroutine at a time may call Write and Close;
// Interrupt and Wait may be called by others meanwhile.
type Conn struct {
	net     net.Conn // of HTTP/1; nil over HTTP/2
	chunked bool
	head    []byte // of the response; sent with the first message
	early   int    // bytes after the request that net/http had read

	writer     http.ResponseWriter // of HTTP/2; nil over HTTP/1
	controller *http.ResponseController

	timeout time.Duration
	done    chan struct{} // of HTTP/2: closed by Close

	reading  chan struct{} // of HTTP/1: closed when Wait reads no more; then readErr is set
	waiting  atomic.Bool   // of HTTP/1: Wait was called
	readErr  error         // of HTTP/1: why Wait reads no more
	sending  sync.Mutex    // of HTTP/1: held while a record is written; guards writeErr
	writeErr error         // of HTTP/1: why a write failed

	mu      sync.Mutex // guards the fields below
	hurry   bool       // Interrupt was called
	until   time.Time  // the deadline that is set, of HTTP/1
	broken  bool       // a write failed, or Abort was called
	closed  bool
	writing time.Time // when the present write to an HTTP/2 stream began, or zero
}

// Take begins the response to r: status 200, the headers that w has, and those of an event
// stream. If Conn.Taken, the handler must return and must not use w and r again. Otherwise
// the handler must return after Conn.Close. A Write that moves no byte for the timeout fails.
// The deadlines of the http.Server no longer apply.
func Take(w http.ResponseWriter, r *http.Request, timeout time.Duration) (*Conn, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx must not buffer the response
	c := &Conn{timeout: timeout}
	controller := http.NewResponseController(w)
	if r.ProtoMajor > 1 {
		if err := controller.SetWriteDeadline(time.Time{}); err != nil {
			return nil, fmt.Errorf("take over the response: %w", err)
		}
		c.writer, c.controller, c.done = w, controller, make(chan struct{})
		w.WriteHeader(http.StatusOK)
		return c, nil
	}
	c.chunked = r.ProtoAtLeast(1, 1)
	c.head = appendHead(h, c.chunked)
	conn, buffered, err := controller.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	c.net, c.early, c.reading = conn, buffered.Reader.Buffered(), make(chan struct{})
	limitUnacknowledged(rawConn(conn), timeout)
	return c, nil
}

// appendHead returns the head of an HTTP/1 response. The connection is closed after the
// response.
func appendHead(h http.Header, chunked bool) []byte {
	b := []byte("HTTP/1.0 200 OK\r\n")
	if chunked {
		b = []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
	}
	h.Set("Connection", "close")
	if h.Get("Date") == "" {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	var w byteWriter = b
	h.Write(&w) // cannot fail
	return append(w, "\r\n"...)
}

// byteWriter is an io.Writer that appends to a slice.
type byteWriter []byte

// Write appends b. It never fails.
func (w *byteWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// rawConn returns the connection below TLS, or conn itself.
func rawConn(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}

// Taken reports whether the connection was taken over from net/http.
func (c *Conn) Taken() bool { return c.net != nil }

// records holds buffers of maxRecord bytes.
var records = sync.Pool{New: func() any { return new([maxRecord]byte) }}

// Write sends b. It fails with an error whose Timeout method returns true if the client
// takes no byte for the timeout of Take. After an error all calls fail.
func (c *Conn) Write(b []byte) error {
	if c.writer != nil {
		return c.writeStream(b)
	}
	record := records.Get().(*[maxRecord]byte)
	defer records.Put(record)
	if len(c.head) > maxRecord/2 {
		if err := c.send(c.head); err != nil {
			return err
		}
		c.head = nil
	}
	for len(b) > 0 {
		out := append(record[:0], c.head...)
		c.head = nil
		n := min(len(b), maxRecord-chunkFrame-len(out))
		if c.chunked {
			out = append(strconv.AppendInt(out, int64(n), 16), "\r\n"...)
			out = append(append(out, b[:n]...), "\r\n"...)
		} else {
			out = append(out, b[:n]...)
		}
		if err := c.send(out); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// send writes b to the connection. It begins again with the rest of b when the deadline
// has passed and the client has taken a part.
func (c *Conn) send(b []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	for {
		if err := c.setDeadline(); err != nil {
			return err
		}
		n, err := c.net.Write(b)
		if err == nil {
			return nil
		}
		b = b[n:]
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.writeErr = err
			c.Abort()
			return c.overdueWrite(err)
		}
	}
}

// writeStream writes b to the ResponseWriter of an HTTP/2 request. net/http resets the
// stream when a deadline passes, also while nothing is written; so it is taken off at
// the end.
func (c *Conn) writeStream(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxRecord)
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
	c.writing = time.Time{}
	return c.controller.SetWriteDeadline(time.Time{})
}

// overdue returns err as a timeout error if a write to an HTTP/2 stream has taken c.timeout
// or longer. Otherwise it returns err.
func (c *Conn) overdue(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing.IsZero() && time.Since(c.writing) >= c.timeout {
		return errTimeout{err}
	}
	return err
}

// errTimeout is the error of a write to an HTTP/2 stream whose deadline has passed.
type errTimeout struct{ error }

// Timeout returns true.
func (errTimeout) Timeout() bool { return true }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// setDeadline gives the next write the timeout, or up to a 32nd less over HTTP/1. That way
// many writes in a short time set one deadline, which costs as much as a tenth of a write.
// It fails if the connection is broken or closed.
func (c *Conn) setDeadline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.closed {
		return net.ErrClosed
	}
	now := time.Now()
	if c.writer != nil {
		c.writing = now
	}
	switch {
	case c.hurry:
		return c.deadlines().SetWriteDeadline(now.Add(min(c.timeout, goodbye)))
	case c.writer != nil:
		return c.deadlines().SetWriteDeadline(now.Add(c.timeout))
	case c.until.Sub(now) >= c.timeout-c.timeout/32:
		return nil
	}
	c.until = now.Add(c.timeout)
	return c.net.SetWriteDeadline(c.until)
}

// deadlines returns the connection or the controller of the response.
func (c *Conn) deadlines() interface{ SetWriteDeadline(time.Time) error } {
	if c.writer != nil {
		return c.controller
	}
	return c.net
}

// Interrupt gives the present Write and each later one only 50 ms.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hurry && !c.closed {
		c.hurry = true
		c.deadlines().SetWriteDeadline(time.Now().Add(goodbye)) // of a Write that runs
	}
}

// Abort makes Close end the response without a last chunk, so that the client sees a
// broken connection.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
}

// Aborted reports whether the response ended, or will end, as a broken connection. Over
// HTTP/2 the handler must then panic with http.ErrAbortHandler.
func (c *Conn) Aborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Close ends the response and makes Wait return. It may be called more than once.
func (c *Conn) Close() {
	if c.net != nil && c.chunked && !c.Aborted() && c.setDeadline() == nil {
		last := append(c.head, "0\r\n\r\n"...)
		c.head = nil
		if _, err := c.net.Write(last); err != nil {
			c.Abort()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	switch {
	case c.net == nil:
		close(c.done)
	case c.broken:
		rawConn(c.net).Close() // tls.Conn.Close would wait for a client that takes nothing
	default:
		c.net.Close()
	}
}

// Wait waits until the client has closed the connection or Close was called. It reads and
// discards what the client sends. It returns ErrNoisy if that is more than 16 KB, and an
// error whose Timeout method returns true if the client has taken no byte for too long. ctx
// is that of the request over HTTP/2; it is not used over HTTP/1.
func (c *Conn) Wait(ctx context.Context) error {
	if c.net == nil {
		select {
		case <-ctx.Done():
			return c.overdue(ctx.Err()) // the deadline of a write resets the stream
		case <-c.done:
			return net.ErrClosed
		}
	}
	c.waiting.Store(true)
	var b [64]byte
	for got := c.early; got <= maxInput; {
		n, err := c.net.Read(b[:])
		if err != nil {
			return c.overdueRead(err)
		}
		got += n
	}
	c.endRead(ErrNoisy)
	return ErrNoisy
}

// The kernel says only once, to a Read or to a Write, that a client's machine has
// acknowledged nothing for too long (limitUnacknowledged). Calls after that see a closed
// connection. So a Read that fails asks a Write that runs at the same time, and a Write asks
// the Read.

// endRead records why the connection is no longer read.
func (c *Conn) endRead(err error) {
	c.readErr = err
	close(c.reading)
}

// overdueRead returns the error of a Read, or that of a Write if only that says that the
// kernel's timeout has passed.
func (c *Conn) overdueRead(err error) error {
	c.endRead(err)
	c.Interrupt() // so that the lock is free soon
	c.sending.Lock()
	defer c.sending.Unlock()
	if errors.Is(c.writeErr, syscall.ETIMEDOUT) {
		return c.writeErr
	}
	return err
}

// overdueWrite returns the error of a Write, or that of the Read if only that says that the
// kernel's timeout has passed, or if it was the first and has interrupted the Write.
func (c *Conn) overdueWrite(err error) error {
	interrupted := errors.Is(err, os.ErrDeadlineExceeded)
	select {
	case <-c.reading:
	default:
		if interrupted || !c.waiting.Load() {
			return err
		}
		c.net.SetReadDeadline(time.Now()) // so that the Read ends soon
		<-c.reading
	}
	if interrupted || errors.Is(c.readErr, syscall.ETIMEDOUT) {
		return c.readErr
	}
	return err
}
