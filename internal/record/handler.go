package record

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// entry is one exchange that is on its way to its file.
type entry struct {
	number int64
	bare   bool // see Options.Bare

	method, path string // the path is escaped and without secrets
	query        url.Values
	header       http.Header
	in           captured

	status int // 0: the server closed the connection without a response
	answer http.Header
	out    captured

	began time.Time
	took  time.Duration
	held  int64 // of Recorder.held
}

// captured is a copy of a body, or of its beginning.
type captured struct {
	data []byte
	cut  bool // bytes are missing
}

// Handler returns a handler that passes requests to next and records them with their responses.
func (r *Recorder) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if r.full.Load() {
			r.left.Add(1)
			next.ServeHTTP(w, q)
			return
		}
		e := r.begin(q)
		out := &writer{ResponseWriter: w, recorder: r, entry: e}
		in := *q // net/http must find its own Body in the original request
		if !e.bare && q.Body != nil {
			in.Body = &body{q.Body, r, e}
		}
		returned := false
		defer func() { // also if next panics with http.ErrAbortHandler
			if returned && e.status == 0 {
				out.begin(http.StatusOK)
			}
			out.finish()
		}()
		next.ServeHTTP(out, &in)
		returned = true
	})
}

// begin returns the entry of a request that has arrived. It copies the header, which handlers
// change.
func (r *Recorder) begin(q *http.Request) *entry {
	e := &entry{
		number: r.arrived.Add(1), began: r.o.Now(), bare: r.o.Bare != nil && r.o.Bare(q.URL.Path),
		method: q.Method, path: q.URL.EscapedPath(), query: q.URL.Query(), header: q.Header.Clone(),
	}
	if r.o.Path != nil {
		e.path = r.o.Path(e.path)
	}
	e.path = cleanText(e.path)
	e.header.Set("Host", q.Host)
	return e
}

// capture appends bytes of a body to its copy, up to the bounds of the recorder.
func (r *Recorder) capture(e *entry, c *captured, b []byte) {
	n := int64(min(len(b), r.bounds.body-len(c.data)))
	if n > 0 && r.held.Add(n) > r.bounds.held {
		r.held.Add(-n)
		n = 0
	}
	e.held += n
	c.data = append(c.data, b[:n]...)
	c.cut = c.cut || n < int64(len(b))
}

// body is the body of a request. It copies what the handler reads.
type body struct {
	io.ReadCloser
	recorder *Recorder
	entry    *entry
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.recorder.capture(b.entry, &b.entry.in, p[:n])
	return n, err
}

// writer is the http.ResponseWriter of a request that is recorded.
type writer struct {
	http.ResponseWriter
	recorder *Recorder
	entry    *entry
	finished bool
}

// begin notes the status and the header. A bare exchange is then complete.
func (w *writer) begin(status int) {
	e := w.entry
	if e.status != 0 || status < http.StatusOK && status != http.StatusSwitchingProtocols {
		return
	}
	e.status, e.answer = status, w.Header().Clone()
	if e.bare {
		w.finish()
	}
}

// finish hands the exchange to the recorder, once.
func (w *writer) finish() {
	if !w.finished {
		w.finished = true
		w.entry.took = w.recorder.o.Now().Sub(w.entry.began)
		w.recorder.add(w.entry)
	}
}

func (w *writer) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	if !w.entry.bare {
		w.recorder.capture(w.entry, &w.entry.out, b)
	}
	return w.ResponseWriter.Write(b)
}

// FlushError implements the Flush of http.ResponseController. The first flush sends the header.
func (w *writer) FlushError() error {
	w.begin(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. The handler then writes the response itself: one that takes
// the connection switches protocols if it was asked to, and else sends an event stream.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		status := http.StatusOK
		if w.entry.header.Get("Upgrade") != "" {
			status = http.StatusSwitchingProtocols
		}
		w.begin(status)
	}
	return conn, buffered, err
}

// Unwrap returns the wrapped writer. http.ResponseController calls it.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Parts of file names.
var (
	methodName = regexp.MustCompile(`^[A-Z]{1,16}$`)
	pathWord   = regexp.MustCompile(`^[A-Za-z]{1,32}$`)
)

// maxWords is the most words of a path in a file name.
const maxWords = 8

// fileName returns a name such as 000012-POST-chat-threads-id-messages-201.json.
func (e *entry) fileName() string {
	words := []string{fmt.Sprintf("%06d", e.number), "OTHER"}
	if methodName.MatchString(e.method) {
		words[1] = e.method
	}
	for part := range strings.SplitSeq(strings.Trim(e.path, "/"), "/") {
		switch part = strings.TrimPrefix(part, ":"); {
		case len(words) == maxWords+2 || part == "":
		case pathWord.MatchString(part):
			words = append(words, part)
		default:
			words = append(words, "id")
		}
	}
	return strings.Join(append(words, fmt.Sprintf("%03d.json", e.status)), "-")
}
