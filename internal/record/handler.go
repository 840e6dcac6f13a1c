package record

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/exchange"
)

// entry is an exchange (a request and its response) that waits to be written to a file.
type entry struct {
	number int64
	bare   bool // see Options.Bare

	method, path string // the path is escaped and contains no secrets
	query        url.Values
	header       http.Header
	copy         *exchange.Copy // the copied request and response; Status is 0 if the server closed the connection without a response

	began time.Time
	took  time.Duration
	held  int64 // number of bytes of this entry in Recorder.held
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
		finished := false
		finish := func() { // finish passes the exchange to the goroutine that writes the files, at most once
			if !finished {
				finished = true
				e.took = r.o.Now().Sub(e.began)
				r.add(e)
			}
		}
		copied, out, in := exchange.Begin(w, q, exchange.Options{
			Bare: e.bare,
			Room: func(body *exchange.Body, n int) int { return r.room(e, body, n) },
			Answered: func() {
				if e.bare { // an exchange without bodies is complete when the response begins
					finish()
				}
			},
		})
		e.copy = copied
		defer finish() // finish is deferred, because next may panic with http.ErrAbortHandler
		next.ServeHTTP(out, in)
		copied.End(out)
	})
}

// begin returns the entry of a request that has arrived. It copies the header, because
// handlers may change it.
func (r *Recorder) begin(q *http.Request) *entry {
	e := &entry{
		number: r.arrived.Add(1), began: r.o.Now(), bare: r.o.Bare != nil && r.o.Bare(q.URL.Path),
		method: q.Method, path: q.URL.EscapedPath(), query: q.URL.Query(), header: q.Header.Clone(),
	}
	if r.o.Path != nil {
		e.path = r.o.Path(e.path)
	}
	e.path = exchange.Text(e.path)
	e.header.Set("Host", q.Host)
	return e
}

// room returns how many of the next n bytes of a body fit into the bounds of the recorder, and adds
// them to the counts of e and r.
func (r *Recorder) room(e *entry, body *exchange.Body, n int) int {
	n = min(n, r.bounds.body-len(body.Data))
	if n > 0 && r.held.Add(int64(n)) > r.bounds.held {
		r.held.Add(-int64(n))
		n = 0
	}
	e.held += int64(n)
	return n
}

// Parts of file names.
var (
	methodName = regexp.MustCompile(`^[A-Z]{1,16}$`)
	pathWord   = regexp.MustCompile(`^[A-Za-z]{1,32}$`)
)

// maxWords is the maximum number of words of a path in a file name.
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
	return strings.Join(append(words, fmt.Sprintf("%03d.json", e.copy.Status)), "-")
}
