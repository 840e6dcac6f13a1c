// Package exchange copies what passes through a handler, and removes the secrets from it.
//
// Two packages use it: internal/record, which writes the requests and answers of a development server
// to files, and internal/traffic, which keeps the newest ones in memory. [Begin] copies the bodies
// while a handler reads and writes them. The functions of clean.go replace tokens, keys and
// signatures by the word "sanitized".
package exchange

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Body is a copy of a body, or of its beginning.
type Body struct {
	Data []byte
	Cut  bool  // bytes are missing in Data
	Size int64 // of the whole body, as far as the handler has read or written it
}

// Options configures a Copy.
type Options struct {
	// Bare leaves out the bodies.
	Bare bool
	// Room returns how many of n further bytes of a body are copied, and takes them from the caller's
	// limits. If there are fewer than n, the body is cut.
	Room func(body *Body, n int) int
	// Answered is called when the answer begins, after Status and Answer were set. It may be nil.
	Answered func()
}

// Copy is the copy of one request and its answer. Only the goroutine of the handler may use it.
type Copy struct {
	In, Out Body
	Status  int         // 0: the handler has not answered
	Answer  http.Header // when the answer began

	o        Options
	switches bool // the request asks to switch protocols
}

// Begin returns a new Copy, with the writer and the request that the handler gets in place of w and r.
// The request is a shallow copy, because net/http must find its own body in the original.
func Begin(w http.ResponseWriter, r *http.Request, o Options) (*Copy, http.ResponseWriter, *http.Request) {
	c := &Copy{o: o, switches: r.Header.Get("Upgrade") != ""}
	in := *r
	if !o.Bare && r.Body != nil {
		in.Body = &reader{r.Body, c}
	}
	return c, &writer{w, c}, &in
}

// End notes the status of a handler that has returned without writing anything: 200.
func (c *Copy) End(w http.ResponseWriter) {
	if c.Status == 0 {
		c.begin(http.StatusOK, w.Header())
	}
}

// begin notes the status and the header of the answer, unless it is a provisional one.
func (c *Copy) begin(status int, header http.Header) {
	if c.Status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	c.Status, c.Answer = status, header.Clone()
	if c.o.Answered != nil {
		c.o.Answered()
	}
}

// take appends bytes to the copy of a body, as far as Options.Room lets it.
func (c *Copy) take(body *Body, p []byte) {
	body.Size += int64(len(p))
	n := c.o.Room(body, len(p))
	body.Data = append(body.Data, p[:n]...)
	body.Cut = body.Cut || n < len(p)
}

// reader is the body of a request. It copies what the handler reads.
type reader struct {
	io.ReadCloser
	copy *Copy
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.copy.take(&r.copy.In, p[:n])
	return n, err
}

// writer is the http.ResponseWriter of a request that is copied.
type writer struct {
	http.ResponseWriter
	copy *Copy
}

func (w *writer) WriteHeader(status int) {
	w.copy.begin(status, w.Header())
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	w.copy.begin(http.StatusOK, w.Header())
	if !w.copy.o.Bare {
		w.copy.take(&w.copy.Out, b)
	}
	return w.ResponseWriter.Write(b)
}

// FlushError implements the Flush of http.ResponseController. The first flush sends the header.
func (w *writer) FlushError() error {
	w.copy.begin(http.StatusOK, w.Header())
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. The handler then writes the response itself: one that takes
// the connection switches protocols if it was asked to, and else sends an event stream.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		status := http.StatusOK
		if w.copy.switches {
			status = http.StatusSwitchingProtocols
		}
		w.copy.begin(status, w.Header())
	}
	return conn, buffered, err
}

// Unwrap returns the wrapped writer. http.ResponseController calls it.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
