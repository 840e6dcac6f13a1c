// Package exchange copies the requests and responses of an http.Handler, without the secrets in
// them.
//
// Two packages use it: internal/record, which writes the requests and responses of a development
// server to files, and internal/traffic, which keeps the newest requests in memory. [Begin] starts
// to copy a request: it copies the bodies while the handler reads and writes them. The functions of
// clean.go replace tokens, keys and signatures by the word "sanitized".
package exchange

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Body is a copy of a request's or response's body, or of the body's beginning.
type Body struct {
	Data []byte
	Cut  bool  // Data lacks bytes of the body
	Size int64 // number of bytes that the handler has read or written, whether they were copied or not
}

// Options configures a Copy.
type Options struct {
	// Bare makes the Copy contain no bodies.
	Bare bool
	// Room returns how many of the next n bytes of a body the Copy may copy, and counts them
	// against the limits of the caller. If the result is less than n, the copy of the body is
	// incomplete.
	Room func(body *Body, n int) int
	// Answered is called when the response begins, after Status and Answer were set. It may be nil.
	Answered func()
}

// Copy is the copy of a request and its response. It is not safe for concurrent use: only the
// handler's goroutine may use it.
type Copy struct {
	In, Out Body
	Status  int         // status of the response; 0: the handler has not responded
	Answer  http.Header // the response's header, copied when the response began

	o        Options
	switches bool // the request asks to switch protocols
}

// Begin returns a new Copy, and the writer and the request to pass to the handler instead of w and
// r. The request is a shallow copy of r with another body: r itself is unchanged, because net/http
// uses its body after the handler.
func Begin(w http.ResponseWriter, r *http.Request, o Options) (*Copy, http.ResponseWriter, *http.Request) {
	c := &Copy{o: o, switches: r.Header.Get("Upgrade") != ""}
	in := *r
	if !o.Bare && r.Body != nil {
		in.Body = &reader{r.Body, c}
	}
	return c, &writer{w, c}, &in
}

// End must be called when the handler has returned. If the handler has written nothing, End sets
// the status to 200, which net/http then sends.
func (c *Copy) End(w http.ResponseWriter) {
	if c.Status == 0 {
		c.begin(http.StatusOK, w.Header())
	}
}

// begin stores the status and the header of the response. It ignores a provisional response, such
// as 100.
func (c *Copy) begin(status int, header http.Header) {
	if c.Status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	c.Status, c.Answer = status, header.Clone()
	if c.o.Answered != nil {
		c.o.Answered()
	}
}

// take appends bytes to the copy of a body, at most as many as Options.Room allows.
func (c *Copy) take(body *Body, p []byte) {
	body.Size += int64(len(p))
	n := c.o.Room(body, len(p))
	body.Data = append(body.Data, p[:n]...)
	body.Cut = body.Cut || n < len(p)
}

// reader is a request body that copies each byte that the handler reads.
type reader struct {
	io.ReadCloser
	copy *Copy
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.copy.take(&r.copy.In, p[:n])
	return n, err
}

// writer is an http.ResponseWriter that copies the response that the handler writes.
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

// FlushError flushes the response, and copies the header if this flush sends it.
// http.ResponseController calls it.
func (w *writer) FlushError() error {
	w.copy.begin(http.StatusOK, w.Header())
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. After it, the handler writes the response to the connection,
// where the writer cannot copy it. So Hijack stores the status: 101 if the request asks to switch
// protocols, and otherwise 200, for an event stream.
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
