// Package rest answers the HTTP requests of the contract.
//
// A request goes through the same steps whatever it asks for, in this order:
// path, method, api-version, token, scope, ids and body, and then the operation
// in package core. routes.go has a row per route. Only the codec in package wire
// knows the version of a request. Every refusal is a [core.Error], and one place
// writes it.
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
	Faults  Faults  // nil: no faults

	MaxBody     int64         // in bytes; 0 is DefaultMaxBody
	BodyTimeout time.Duration // for a whole body to arrive; 0 is DefaultBodyTimeout

	// Now is the clock of the world outside: of clients that date what they sign,
	// and of the log. That of the domain is core's and that of Tokens.
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // nil is silence
	// Access is called after each response, by many goroutines at a time.
	Access func(Record)
}

// Record is a request and its response, for the access log. It holds nothing
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
	buffers     sync.Pool // of *[]byte
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
		paths:       pathsOf(routes),
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

// request is the state of one request.
type request struct {
	*http.Request
	w     http.ResponseWriter
	start time.Time
	id    string // of the request, for logs and MS-CV

	api    *api
	path   *path  // nil: unknown
	route  *route // nil: unknown path, method or version
	params []string
	query  url.Values

	version  apiver.Version // for decoding and encoding alone
	body     []byte
	bodyRead bool
	caller   string
	leaving  bool // the caller was deleted a moment ago
	key      int  // the index of the access key that signed

	// The ids in the path. The record has the thread too, so createThread sets it.
	thread  string
	message int64

	retryAfter time.Duration // of a refusal; 0: none
	fault      Fault
	location   string // of a new thread or message
	note       string // for the record
}

// response is a response that is not written yet.
type response struct {
	status int
	body   *[]byte // JSON, from getBuffer; nil: none
	code   core.Code
	allow  string // the methods of a path, with 405 and to OPTIONS
	close  bool   // close the connection
}

// ServeHTTP answers one request and reports it to Options.Access.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &request{Request: r, w: w, start: h.now(), id: newRequestID()}
	h.setBodyDeadline(req)
	resp := h.respond(req)
	if req.fault.Drop != "" {
		defer panic(http.ErrAbortHandler) // the connection ends without a response
		req.note = dropNotes[req.fault.Drop]
	} else {
		h.write(req, resp)
	}
	if h.access == nil {
		return
	}
	record := Record{
		Time: req.start, Duration: h.now().Sub(req.start), Method: r.Method, Path: r.URL.EscapedPath(),
		Status: resp.status, Thread: req.thread, User: req.caller, Note: req.note,
		UserAgent: r.UserAgent(), RequestID: cmp.Or(req.clientID(), req.id),
	}
	if req.route != nil {
		record.Operation = req.route.operation
	}
	h.access(record)
}

// respond turns errors and panics into responses.
func (h *Handler) respond(req *request) (resp response) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			h.log.Error("panic", "request", req.id, "method", req.Method, "path", req.URL.EscapedPath(),
				"panic", p, "stack", string(debug.Stack()))
			resp = h.refuse(req, errInternal)
		}
	}()
	resp, err := h.handle(req)
	if err != nil {
		return h.refuse(req, err)
	}
	return resp
}

// handle does the steps that all requests share, in their order.
func (h *Handler) handle(req *request) (response, error) {
	if err := h.findPath(req); err != nil {
		return response{}, err
	}
	if req.Method == http.MethodOptions {
		return response{status: http.StatusNoContent, allow: req.path.allow}, nil
	}
	if err := h.findRoute(req); err != nil {
		return response{}, err
	}
	if err := h.injectFault(req); err != nil {
		return response{}, err
	}
	if req.fault.Drop == DropBefore {
		return response{}, nil
	}
	if err := req.api.authenticate(h, req); err != nil {
		return response{}, err
	}
	if err := req.readIDs(); err != nil {
		return response{}, err
	}
	if err := h.checkRate(req); err != nil {
		return response{}, err
	}
	body, err := req.route.handler(h, req)
	if err != nil {
		return response{}, err
	}
	resp := response{status: req.route.status}
	if body != nil {
		resp.body = h.getBuffer()
		*resp.body = wire.Encode(*resp.body, body, req.version)
	}
	return resp, nil
}

// maxPooled bounds, in bytes, the buffers that return to the pool: a few big responses
// must not leave all buffers big.
const maxPooled = 64 << 10

// getBuffer returns an empty buffer, for putBuffer once the response is written.
func (h *Handler) getBuffer() *[]byte {
	b, ok := h.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = (*b)[:0]
	return b
}

func (h *Handler) putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		h.buffers.Put(b)
	}
}
