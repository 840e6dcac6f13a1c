package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// operatorBodyTime is the longest time in which the body of a request to the operator's
// API or the ops port must arrive. These requests come from this machine or next to it.
const operatorBodyTime = 5 * time.Second

// unreadTime is the longest time for which a response of HTTP/1 waits for the rest of a body
// that its handler has not read. The client of a refused request may not send it at all.
const unreadTime = 500 * time.Millisecond

// limitBody returns a handler that gives each request the timeout for its body and passes
// it to next. The deadline holds also if next does not read the body: net/http reads what
// is left of it before it sends the response, and would wait for a slow client without
// end. It ends when the body was read; otherwise the request's context would end with it.
// Package rest and the protocols for live events replace the deadline by their own. From the
// response on, the rest of the body has unreadTime.
//
// next gets a copy of the request: net/http looks at the body of its own one, and closes the
// connection if a client waits in vain for a 100 (Continue).
func limitBody(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		c := http.NewResponseController(w)
		if c.SetReadDeadline(time.Now().Add(timeout)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		other := *r
		body := &limitedBody{ReadCloser: r.Body, conn: c}
		other.Body = body
		if r.ProtoMajor != 1 { // the streams of HTTP/2 do not wait for each other's bodies
			next.ServeHTTP(w, &other)
			return
		}
		out := &unreadWriter{ResponseWriter: w, conn: c, body: body}
		next.ServeHTTP(out, &other)
		out.limit() // net/http reads the rest now, if it has not yet
	})
}

// unreadWriter writes the response to a request with a body. It bounds the time for which
// net/http waits for what the handler has not read of the body.
type unreadWriter struct {
	http.ResponseWriter
	conn    *http.ResponseController
	body    *limitedBody
	began   bool // the header was written
	flushed bool
	taken   bool // the handler has taken the connection
}

// limit gives the client a short time for the rest of a body that the handler has not read.
func (w *unreadWriter) limit() {
	if !w.taken && !w.body.ended.Load() {
		w.conn.SetReadDeadline(time.Now().Add(unreadTime)) // if it fails, the connection is broken
	}
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

// FlushError sends what was written. The first time net/http has read the rest of the body
// then, and a deadline would end the context of a handler that goes on.
func (w *unreadWriter) FlushError() error {
	w.begin()
	err := w.conn.Flush()
	if !w.flushed && !w.body.ended.Load() {
		w.conn.SetReadDeadline(time.Time{})
	}
	w.flushed = true
	return err
}

// Hijack implements http.Hijacker. The deadlines of the connection are then the handler's.
func (w *unreadWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.conn.Hijack()
	w.taken = w.taken || err == nil
	return conn, buffered, err
}

// Unwrap is for http.ResponseController.
func (w *unreadWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// limitedBody is the body of a request that has a deadline. At its end it removes the
// deadline.
type limitedBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	ended atomic.Bool // all was read, and the deadline was removed
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended.Swap(true) {
		b.conn.SetReadDeadline(time.Time{}) // if it fails, the connection is broken
	}
	return n, err
}
