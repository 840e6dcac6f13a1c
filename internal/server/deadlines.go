package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// operatorBodyTime is the longest time in which the body of a request to the operator's API or
// the ops port must arrive. It is short because these requests come from this machine or a
// network near it.
const operatorBodyTime = 5 * time.Second

// unreadTime is the longest time for which an HTTP/1 response waits for the part of the request
// body that the handler has not read. The client of a refused request may never send it.
const unreadTime = 500 * time.Millisecond

// limitBody returns a handler that passes requests to next and sets a deadline for reading each
// request's body. The deadline also applies if next does not read the body, because net/http reads
// the rest of the body before it sends the response, and would wait without end for a slow client.
// When the body was read, limitBody removes the deadline, which would otherwise end the request's
// context. Package rest and the protocols for live events replace this deadline by their own. When
// the response begins, the rest of the body must arrive within unreadTime.
//
// The handler next gets a copy of the request with another Body, for the reason that the comment
// on bodies.limit gives.
func limitBody(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		if http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		var memory *limitMemory
		if counted, copied := r.Body.(*countedBody); copied {
			memory = &counted.memory
		} else {
			other := *r
			r, memory = &other, new(limitMemory)
		}
		body, out := &memory.body, &memory.out
		*body = limitedBody{ReadCloser: r.Body, w: w}
		r.Body = body
		if r.ProtoMajor != 1 { // do not limit the rest of the body over HTTP/2, where a stream does not wait for the bodies of other streams
			next.ServeHTTP(w, r)
			return
		}
		*out = unreadWriter{ResponseWriter: w, body: body}
		next.ServeHTTP(out, r)
		out.limit() // set the deadline for the rest of the body, which net/http reads after the handler
	})
}

// limitMemory is the memory that limitBody needs for a request.
type limitMemory struct {
	body limitedBody
	out  unreadWriter
}

// unreadWriter writes the response to a request with a body. It limits the time for which
// net/http waits for the part of the body that the handler has not read.
type unreadWriter struct {
	http.ResponseWriter
	body    *limitedBody
	began   bool // whether the header of the response was written
	flushed bool
	taken   bool // the handler has taken the connection
}

// limit sets the deadline for the rest of the body to unreadTime from now, unless the whole body
// was read or the handler has taken over the connection.
func (w *unreadWriter) limit() {
	if !w.taken && !w.body.ended.Load() {
		w.conn().SetReadDeadline(time.Now().Add(unreadTime)) // ignore the error, because it means that the connection is broken
	}
}

// conn returns a new http.ResponseController. The compiler puts it on the stack of the caller, so
// it costs no allocation.
func (w *unreadWriter) conn() *http.ResponseController {
	return http.NewResponseController(w.ResponseWriter)
}

func (w *unreadWriter) begin() {
	if !w.began {
		w.began = true
		w.limit()
	}
}

func (w *unreadWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *unreadWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// FlushError sends the buffered part of the response. On the first call net/http also reads the
// rest of the body. After that, FlushError removes the body's deadline, because the deadline would
// end the context of a handler that is still running.
func (w *unreadWriter) FlushError() error {
	w.begin()
	err := w.conn().Flush()
	if !w.flushed && !w.body.ended.Load() {
		w.conn().SetReadDeadline(time.Time{})
	}
	w.flushed = true
	return err
}

// Hijack implements http.Hijacker. After a call, only the handler sets the deadlines of the
// connection.
func (w *unreadWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.conn().Hijack()
	w.taken = w.taken || err == nil
	return conn, buffered, err
}

// Unwrap returns the wrapped writer. http.ResponseController calls it.
func (w *unreadWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// limitedBody is the body of a request whose reading has a deadline. It removes the deadline
// when the whole body was read.
type limitedBody struct {
	io.ReadCloser
	w     http.ResponseWriter
	ended atomic.Bool // whether the whole body was read and its deadline removed
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended.Swap(true) {
		http.NewResponseController(b.w).SetReadDeadline(time.Time{}) // ignore the error, because it means that the connection is broken
	}
	return n, err
}
