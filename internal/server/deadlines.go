package server

import (
	"io"
	"net/http"
	"time"
)

// operatorBodyTime is the longest time in which the body of a request to the operator's
// API or the ops port must arrive. These requests come from this machine or next to it.
const operatorBodyTime = 5 * time.Second

// limitBody returns a handler that gives each request the timeout for its body and passes
// it to next. The deadline holds also if next does not read the body: net/http reads what
// is left of it before it sends the response, and would wait for a slow client without
// end. It ends when the body was read; otherwise the request's context would end with it.
// Package rest and the protocols for live events replace the deadline by their own.
func limitBody(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			c := http.NewResponseController(w)
			if c.SetReadDeadline(time.Now().Add(timeout)) == nil {
				r.Body = &limitedBody{ReadCloser: r.Body, conn: c}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// limitedBody is the body of a request that has a deadline. At its end it removes the
// deadline.
type limitedBody struct {
	io.ReadCloser
	conn *http.ResponseController // nil: the deadline was removed
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.conn != nil {
		b.conn.SetReadDeadline(time.Time{}) // if it fails, the connection is broken
		b.conn = nil
	}
	return n, err
}
