package sse

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Conn is the response to one request, to which messages are written for as long as the
// client stays. One goroutine at a time may call Write and Close; Interrupt and Wait may be
// called by others meanwhile.
type Conn interface {
	// Write sends b. It fails with an error whose Timeout method returns true if the client
	// takes no byte for the timeout of Take. After an error all calls fail.
	Write(b []byte) error
	// Interrupt gives the present Write and each later one only 50 ms.
	Interrupt()
	// Abort makes Close end the response without its regular end, so that the client sees a
	// broken connection.
	Abort()
	// Aborted reports whether the response ended, or will end, as a broken connection. If the
	// connection was not Taken, the handler must then panic with http.ErrAbortHandler.
	Aborted() bool
	// Close ends the response and makes Wait return. It may be called more than once.
	Close()
	// Taken reports whether the connection was taken over from net/http.
	Taken() bool
	// Wait waits until the client has closed the connection or Close was called. It discards
	// what the client sends, and returns ErrNoisy if that is too much. It returns an error
	// whose Timeout method returns true if the client has taken no byte for too long. ctx is
	// that of the request; it is only used if the connection was not Taken.
	Wait(ctx context.Context) error
}

// ErrNoisy is the error of Conn.Wait when the client has sent more than 16 KB after its
// request.
var ErrNoisy = errors.New("the client has sent too much after its request")

// Take begins the response to r: status 200, the headers that w has, and those of an event
// stream. If Conn.Taken, the handler must return and must not use w and r again. Otherwise
// the handler must return after Conn.Close. A Write that moves no byte for the timeout fails.
// The deadlines of the http.Server no longer apply.
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
