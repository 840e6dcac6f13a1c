// Package rest answers the HTTP requests of the contract.
//
// A request goes through the same steps whatever it asks for, in this order:
// path, method, api-version, token, scope, ids and body, and then the operation
// in package core, which looks things up. What a route is, is a row in routes.go;
// the version of a request is known to the codec in package wire and to nobody
// else. Every refusal is a [core.Error] and is written in one place.
package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// Defaults of Options.
const (
	DefaultMaxBody     = 1 << 20
	DefaultBodyTimeout = 10 * time.Second
)

// Tokens issues and verifies user tokens and holds the access keys. Package
// token has the one implementation.
type Tokens interface {
	// Verify fails with token.ErrInvalid if the token is no good, and with
	// another error if that could not be found out.
	Verify(ctx context.Context, text string) (token.Claims, error)
	// Issue makes a token with the access key that has the given index.
	Issue(user core.User, scopes token.Scopes, lifetime time.Duration, key int) (text string, expires time.Time, err error)
	// Keys are the access keys, primary first.
	Keys() []communication.AccessKey
}

// Options of a Handler. Core and Tokens are required.
type Options struct {
	Core   *core.Service
	Tokens Tokens

	// PublicEndpoint is where clients reach the server, such as
	// "https://chat.example.org": the beginning of absolute links. Empty: the
	// scheme and the host that the client called.
	PublicEndpoint string

	Limiter Limiter // nil: no rates
	Faults  Faults  // nil: nothing goes wrong on purpose

	MaxBody     int64         // in bytes; 0 is DefaultMaxBody
	BodyTimeout time.Duration // for a whole body to arrive; 0 is DefaultBodyTimeout

	// Now is the clock of the world outside: of clients that date what they sign,
	// and of the log. That of the domain is core's and that of Tokens.
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // nil is silence
	// Access is told of every request once its answer was written. It is called
	// by many goroutines at a time.
	Access func(Record)
}

// Record is a request and its answer, for the access log. It holds nothing
// secret: no query, content, token or key.
type Record struct {
	Time      time.Time
	Duration  time.Duration
	Method    string
	Path      string
	Status    int    // 0: the connection was dropped before
	Operation string // such as "send message"; empty for an unknown path
	Thread    string
	User      string // the caller's id; on identity routes, whom the request is about
	Note      string // the topic of a new thread, or what was refused
	UserAgent string
	RequestID string
}

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	core        *core.Service
	tokens      Tokens
	endpoint    string
	authorities []string // of the endpoint, which clients sign behind a proxy
	limiter     Limiter
	faults      Faults
	maxBody     int64
	bodyTimeout time.Duration
	now         func() time.Time
	log         *slog.Logger
	access      func(Record)
	paths       []*path
}

var _ http.Handler = (*Handler)(nil)

// New makes a handler.
func New(o Options) (*Handler, error) {
	h := &Handler{
		core: o.Core, tokens: o.Tokens, limiter: o.Limiter, faults: o.Faults,
		endpoint:    strings.TrimSuffix(o.PublicEndpoint, "/"),
		maxBody:     cmp.Or(o.MaxBody, DefaultMaxBody),
		bodyTimeout: cmp.Or(o.BodyTimeout, DefaultBodyTimeout),
		now:         o.Now,
		log:         cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		access:      o.Access,
		paths:       group(routes),
	}
	if h.core == nil || h.tokens == nil {
		return nil, errors.New("rest: Core and Tokens are required")
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.endpoint != "" {
		u, err := url.Parse(h.endpoint)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("public endpoint %q is not of the form https://host", o.PublicEndpoint)
		}
		h.authorities = []string{u.Host}
	}
	return h, nil
}

// request is a request on its way through the steps.
type request struct {
	*http.Request
	w     http.ResponseWriter
	start time.Time
	id    string // of the request, for logs and MS-CV

	family *family
	path   *path  // nil: unknown
	row    *route // nil: unknown path, method or version
	params []string
	query  url.Values

	version apiver.Version // for decode and encode alone
	body    []byte
	read    bool // the body was read
	caller  string
	leaving bool // the caller was deleted a moment ago
	key     int  // the index of the access key that signed

	// The ids in the path. The thread is for the record too, and so may be that
	// of a new one.
	thread  string
	message int64

	retryAfter time.Duration // with 429
	fault      dev.Fault
	// What the operation adds to a successful answer and to the record.
	location string
	note     string
}

// answer is what will be written.
type answer struct {
	status int
	body   *[]byte // JSON from the pool; nil: none
	code   core.Code
	allow  string // the methods of a path, with 405 and to OPTIONS
	close  bool   // the connection is of no further use
}

// ServeHTTP answers one request and reports it to Options.Access.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, w: w, start: h.now(), id: newRequestID()}
	h.limitBody(q)
	a := h.answer(q)
	if q.fault.Drop != "" {
		defer panic(http.ErrAbortHandler) // the connection ends without an answer
		q.note = dropped[q.fault.Drop]
	} else {
		h.write(q, a)
	}
	if h.access == nil {
		return
	}
	record := Record{
		Time: q.start, Duration: h.now().Sub(q.start), Method: r.Method, Path: r.URL.EscapedPath(),
		Status: a.status, Thread: q.thread, User: q.caller, Note: q.note,
		UserAgent: r.UserAgent(), RequestID: cmp.Or(q.clientID(), q.id),
	}
	if q.row != nil {
		record.Operation = q.row.operation
	}
	h.access(record)
}

// answer never panics: what went wrong inside is logged, and the client hears
// that something did.
func (h *Handler) answer(q *request) (a answer) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			h.log.Error("panic", "request", q.id, "method", q.Method, "path", q.URL.EscapedPath(),
				"panic", p, "stack", string(debug.Stack()))
			a = h.refuse(q, errInternal)
		}
	}()
	a, err := h.do(q)
	if err != nil {
		return h.refuse(q, err)
	}
	return a
}

// do takes the steps that all requests share, in their order.
func (h *Handler) do(q *request) (answer, error) {
	if err := h.find(q); err != nil {
		return answer{}, err
	}
	if q.Method == http.MethodOptions {
		return answer{status: http.StatusNoContent, allow: q.path.allow}, nil
	}
	if err := h.findRow(q); err != nil {
		return answer{}, err
	}
	if err := h.goWrong(q); err != nil {
		return answer{}, err
	}
	if q.fault.Drop == dev.Before {
		return answer{}, nil
	}
	if err := q.family.authenticate(h, q); err != nil {
		return answer{}, err
	}
	if err := q.readIDs(); err != nil {
		return answer{}, err
	}
	if err := h.limit(q); err != nil {
		return answer{}, err
	}
	body, err := q.row.handler(h, q)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: q.row.status}
	if body != nil {
		a.body = buffer()
		*a.body = wire.Encode(*a.body, body, q.version)
	}
	return a, nil
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func buffer() *[]byte {
	b := buffers.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}
