package sse

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Conn is the response to one request for an event stream. It stays open until the client or the
// server closes it, and the server writes messages to it. Only one goroutine at a time may call
// Write and Close; other goroutines may call Interrupt and Wait at the same time.
type Conn interface {
	// Write sends b to the client. It fails if the client takes no byte for the timeout given
	// to Take; the error then has a Timeout method that returns true. After an error all calls
	// fail.
	Write(b []byte) error
	// Interrupt limits the running Write, and each later Write, to 50 ms.
	Interrupt()
	// Abort makes Close break the connection instead of ending the response regularly, so that the
	// client notices an error.
	Abort()
	// Aborted reports whether the response has ended or will end as a broken connection. In
	// that case, if Taken returns false, the handler must panic with http.ErrAbortHandler.
	Aborted() bool
	// Close ends the response and makes Wait return. It may be called more than once.
	Close()
	// Taken reports whether the connection was taken over from net/http, as with HTTP/1.
	Taken() bool
	// Wait waits until the client has closed the connection or Close was called. It discards
	// the bytes that the client sends, and returns ErrNoisy if there are too many. If the
	// client takes no byte for too long, it returns an error whose Timeout method returns true.
	// ctx is the context of the request; it is used only if Taken returns false.
	Wait(ctx context.Context) error
}

// ErrNoisy is the error that Conn.Wait returns when the client has sent more than 16 KB after
// its request.
var ErrNoisy = errors.New("the client has sent too much after its request")

// Take begins the response to r: status 200, the headers in w, and the headers of an event
// stream. If Conn.Taken returns true, the handler must return and must not use w and r again.
// Otherwise the handler must not return before Conn.Close. A Write fails if the client takes
// no byte for the timeout. The deadlines of the http.Server no longer apply.
func Take(w http.ResponseWriter, r *http.Request, timeout time.Duration) (Conn, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx must not buffer the response
	if r.ProtoMajor > 1 {
		return takeStream(w, timeout)
	}
	return takeConnection(w, r, timeout)
}
