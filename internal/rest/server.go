// Package rest serves the chat and identity HTTP API that docs/contract describes.
//
// Every request passes the same checks in this order: path, method, api-version,
// access token or request signature, scope, ids in the path, rate limit, body. On identity
// routes the body comes right after the signature, which covers its hash. Then the route's
// handler calls the operation in package core. The table in routes.go lists all routes. Only
// package wire encodes and decodes differently by api-version.
// A refusal is a [core.Error], which Handler.refuse turns into a response.
package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// The defaults of Options: the longest request body in bytes, and the longest time for
// a request body to arrive.
const (
	DefaultMaxBody     = 1 << 20
	DefaultBodyTimeout = 10 * time.Second
)

// Tokens issues and verifies user access tokens and holds the access keys. token.Authority
// implements it.
type Tokens interface {
	// Verify returns the claims of a token. It fails with a token.Refusal if the token
	// is not valid, and with another error if its user cannot be read from the store.
	Verify(ctx context.Context, text string) (token.Claims, error)
	// Issue returns a new token for the user, made with the access key that signed the request.
	// It fails with token.ErrKeyReplaced if that key was replaced meanwhile.
	Issue(user core.User, scopes token.Scopes, lifetime time.Duration, key token.Key) (text string, expires time.Time, err error)
	// Held returns the two access keys, the primary first. Holds reports whether key is one of them:
	// it returns false for a key that was replaced.
	Held() [2]token.Key
	Holds(key token.Key) bool
	// Reload reads the access keys from the store again, if other servers share it, and
	// reports whether they have changed.
	Reload(ctx context.Context) (changed bool, err error)
}

// Options configures a Handler. Core and Tokens are required.
type Options struct {
	Core   *core.Service
	Tokens Tokens

	// PublicEndpoint is the URL at which clients reach the server, such as
	// "https://chat.example.org". Absolute links in responses begin with it. If it is empty, they
	// begin with the scheme and the host that a trusted proxy has put into a header
	// (hosts.Forwarded), or else with those of the request.
	PublicEndpoint string

	// Hosts lists names of the server, with and without a port, that clients may use. A client may
	// sign the host of its request in the letter case of this list. If a client has signed another
	// host of this list than the host of its request, the log names the signed host.
	Hosts []string

	// Signs reports whether signatures may cover a host that a proxy has put into a header
	// (hosts.Forwarded), as if the client had sent that host. If Signs is nil, they may not.
	Signs func(told string) bool

	// NamesOrigin makes the header Access-Control-Allow-Origin of responses name the origin of the
	// web page that sent the request, instead of "*".
	NamesOrigin bool

	Limiter Limiter // nil: no rate limits
	// Written limits the bytes that each user may write; nil means no limit.
	Written *limits.Written
	// AnswerMemory is the memory, in bytes, for all answers to GET requests in progress. A
	// request is refused with 503 if no memory becomes free for its answer. 0 means
	// DefaultAnswerMemory.
	AnswerMemory int64
	Faults       Faults // nil: no injected faults

	MaxBody     int64         // the longest request body, in bytes; 0 means DefaultMaxBody
	BodyTimeout time.Duration // the longest time for a whole request body to arrive; 0 means DefaultBodyTimeout

	// NewerVersions makes the server answer a request whose api-version is newer than all known ones
	// as if the request had the newest known api-version. Without it the server refuses such a
	// request.
	NewerVersions bool

	// Now returns the real time, for checking the dates of signed requests and for
	// Record; nil means time.Now. Core and Tokens have a clock of their own, because
	// tests can move the clock of a development server ahead.
	Now    func() time.Time
	Logger *slog.Logger // nil: nothing is logged
	// Access, if not nil, is called after each request, concurrently by many
	// goroutines.
	Access func(Record)
}

// Record describes one request and its response for the access log. Its texts hold no
// secrets and nothing that users wrote: no query string, topic, name, message content, token
// or key. Texts of the client have at most MaxLogged bytes.
type Record struct {
	Time      time.Time
	Duration  time.Duration
	Method    string
	Path      string
	Status    int    // HTTP status of the response; 0 if the client got none, as Note says
	Operation string // name of the request's operation, such as "send message"; empty for an unknown path
	Thread    string
	User      string    // id of the caller; for an identity request, the id of the user in the path or of the new user
	Note      string    // the message of a refusal, or the reason for which the client got no answer
	Reason    string    // the reason for which the caller was refused, for the log only: "expired 5m0s ago", "not a participant"
	Why       why.Cause // the reason for the refusal as a row of the table of package why, with facts; zero if the request was not refused
	UserAgent string    // the name of the client's library
	Client    string    // IP address of the client, without a port
	RequestID string    // id that this server gave the request, as in the headers MS-CV and x-ms-request-id
	ClientID  string    // the client's x-ms-client-request-id, or empty
	Ended     bool      // whether the record describes the end of a live connection instead of a request
	Signed    bool      // whether the request was signed with an access key and the signature was accepted

	// Request and Answer are the request and the headers of its response, for the log of the newest
	// requests, which copies their parts that are not secret. They may be nil. Do not use them after
	// the call of Options.Access that gets the Record.
	Request *http.Request
	Answer  http.Header
}

// MaxLogged is the greatest number of bytes of a client's text in a field of a Record.
const MaxLogged = 512

// Handler serves all chat and identity routes. It is safe for concurrent use.
type Handler struct {
	core          *core.Service
	tokens        Tokens
	endpoint      string
	authorities   []string // host of the public endpoint, which clients sign if a proxy stands before the server
	hosts         []string // Options.Hosts, and the host of the public endpoint
	names         []string // the names in hosts, without ports
	signs         func(told string) bool
	hints         hints
	namesOrigin   bool
	limiter       Limiter
	written       *limits.Written
	answers       answers
	answerWait    time.Duration // the longest time that a request waits for the memory for its answer
	faults        Faults
	maxBody       int64
	bodyTimeout   time.Duration
	newerVersions bool
	warned        warned
	now           func() time.Time
	log           *slog.Logger
	access        func(Record)
	paths         []*path
	buffers       sync.Pool // of *[]byte
	requests      sync.Pool // of *request
}

var _ http.Handler = (*Handler)(nil)

// New returns a Handler. It fails if Core or Tokens is missing or PublicEndpoint is not
// of the form https://host or http://host.
func New(o Options) (*Handler, error) {
	h := &Handler{
		core: o.Core, tokens: o.Tokens, namesOrigin: o.NamesOrigin, limiter: o.Limiter, written: o.Written, faults: o.Faults,
		answers: newAnswers(cmp.Or(o.AnswerMemory, DefaultAnswerMemory)), answerWait: answerWait,
		endpoint:      strings.TrimSuffix(o.PublicEndpoint, "/"),
		hosts:         o.Hosts,
		signs:         o.Signs,
		maxBody:       cmp.Or(o.MaxBody, DefaultMaxBody),
		bodyTimeout:   cmp.Or(o.BodyTimeout, DefaultBodyTimeout),
		newerVersions: o.NewerVersions,
		now:           o.Now,
		log:           cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		access:        o.Access,
		paths:         pathsOf(routes),
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
		h.hosts = append(slices.Clone(h.hosts), u.Host)
	}
	for _, host := range h.hosts {
		if name := hosts.Name(host); !slices.Contains(h.names, name) {
			h.names = append(h.names, name)
		}
	}
	return h, nil
}

// answerTime is the longest time that a request may wait for the store before anything is written.
// After that time the request is refused with 503. A commit that has begun may take a few seconds
// more (core.Batch.Until). So every request is answered, or its connection is closed, within 20 s,
// long before the write timeout of the HTTP server. The time in which the body arrives does not
// count.
const answerTime = 13 * time.Second

// request is the state of one request.
type request struct {
	*http.Request
	ctx *deadline // the context of the operation; it has no deadline until limit is called

	w     http.ResponseWriter
	start time.Time
	id    string // random id of the request, for the log and the headers MS-CV and x-ms-request-id

	api     *api
	escaped string     // path of the URL
	path    *path      // nil if no path matches
	route   *route     // the route of the request; nil if its path, method or api-version is unknown
	params  []string   // values of the path's parameters, decoded
	query   url.Values // the query parameters of the request; must not be changed, because requests may share the map

	version    apiver.Version // only for decoding and encoding bodies
	answeredAs string         // the api-version for the header confab-api-version, if the client asked for a newer one
	body       []byte
	bodyRead   bool
	buffer     *[]byte   // the buffer from getBuffer that holds the body; nil until readBody is called
	counted    int64     // bytes of the body that were counted towards the limit of bytes that the caller may write in an hour
	reserved   reserved  // memory for the answer
	caller     string    // user id
	leaving    bool      // whether the caller's account was deleted and its deletion grace has not ended yet
	key        token.Key // the access key that signed the request
	signed     bool      // key is set

	// thread and message are the ids in the path of the request. createThread sets thread to the id
	// of the new thread, for the access log.
	thread  string
	message int64

	retryAfter time.Duration // value of the Retry-After header; 0 means that the response has no such header
	fault      Fault
	location   string // URL of the new thread or message, for the Location header
	note       string // Record.Note
	reason     string // Record.Reason
	why        why.Cause
	unknown    bool // it is not known whether the operation was carried out, so the client gets no answer

	values []string // of headers of the response
	room   room
}

// room is memory for small parts of a request. It is allocated together with the request, so that
// most requests need no further allocation.
type room struct {
	params [3]string
	random [16]byte
}

// lasting is the memory of a request that may be used after the request has ended, so no later
// request reuses it. The response refers to the values. A task that the operation has started may
// use the context: for example, a pool of database connections opens a connection with the context
// of the request that needed it, even if that request has ended.
type lasting struct {
	ctx    deadline
	values [usualValues]string
}

// Context returns the context of the operation: the context of the http.Request, with the deadline
// that limit has set.
func (req *request) Context() context.Context {
	if req.ctx.until.IsZero() {
		return req.Request.Context()
	}
	return req.ctx
}

// limit sets the deadline of the context that Context returns.
func (req *request) limit(until time.Time) { req.ctx.set(req.Request.Context(), until) }

// response holds the parts of a response before it is written.
type response struct {
	status int
	body   *[]byte   // the JSON body, in a buffer from getBuffer; nil: no body
	code   core.Code // error code of a response that refuses a request; empty for a success
	allow  string    // value of the Allow header, the methods of the path, for a 405 and for OPTIONS
	close  bool      // send Connection: close
}

// ServeHTTP handles one request, writes its response and calls Options.Access.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := h.newRequest(w, r)
	defer h.reuse(req)
	h.setBodyDeadline(req)
	defer h.sent(req)
	resp := h.respond(req)
	req.ctx.end()
	if req.buffer != nil {
		h.putBuffer(req.buffer)
		req.buffer, req.body = nil, nil
	}
	switch {
	case req.fault.Drop != "":
		defer panic(http.ErrAbortHandler) // close the connection without sending a response
		req.note = dropNotes[req.fault.Drop]
		req.why = why.Because(why.Dropped, "problem", req.note)
	case req.unknown:
		// If it is not known whether the operation was carried out, send no response and close the
		// connection (over HTTP/2, the stream). SDKs repeat a request after any 5xx, which could carry
		// out the operation twice, and any other response would be a guess.
		defer panic(http.ErrAbortHandler)
		req.note = "no answer: it is not known whether this was carried out"
		req.why = why.Because(why.UnknownFate)
	default:
		if err := h.write(req, resp); err != nil {
			req.note = fmt.Sprintf("no answer: the %d could not be written: %v", resp.status, err)
			req.why = why.Because(why.NotWritten, "status", strconv.Itoa(resp.status), "problem", err.Error())
			resp.status = 0
		}
	}
	if h.access == nil {
		return
	}
	record := Record{
		Time: req.start, Duration: h.now().Sub(req.start), Method: logged(r.Method), Path: logged(req.escaped),
		Status: resp.status, Thread: logged(req.thread), User: logged(req.caller), Note: logged(req.note), Reason: logged(req.reason), Why: req.why,
		UserAgent: logged(agent(r)), Client: logged(clientAddress(r)), RequestID: req.id, ClientID: logged(r.Header.Get("X-Ms-Client-Request-Id")),
		Request: r, Answer: w.Header(), Signed: req.signed,
	}
	if req.route != nil {
		record.Operation = req.route.operation
	}
	h.access(record)
}

// usualValues is the number of header values that most responses have.
const usualValues = 5

// newRequest returns the state of a request at its start. Call reuse when the request has ended.
func (h *Handler) newRequest(w http.ResponseWriter, r *http.Request) *request {
	req, ok := h.requests.Get().(*request)
	if !ok {
		req = new(request)
	}
	req.Request, req.w, req.start, req.escaped = r, w, h.now(), escapedPath(r.URL)
	req.id = newRequestID(&req.room.random)
	kept := new(lasting)
	req.ctx, req.values = &kept.ctx, kept.values[:0]
	return req
}

// reuse clears req and puts it into the pool, so that a later request uses its memory.
func (h *Handler) reuse(req *request) {
	*req = request{}
	h.requests.Put(req)
}

func logged(text string) string { return clip.Text(text, MaxLogged) }

// clientAddress returns the address of a request's client without the port. Package server
// replaces RemoteAddr by the address that a trusted proxy forwards.
func clientAddress(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// respond handles a request and returns its response. It turns an error or a panic into
// an error response, but lets a panic with http.ErrAbortHandler pass.
func (h *Handler) respond(req *request) (resp response) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p)
		}
		if p != nil {
			h.log.Error("panic", "request", req.id, "client_request", logged(req.Header.Get("X-Ms-Client-Request-Id")),
				"method", logged(req.Method), "path", logged(req.escaped),
				"panic", p, "stack", string(debug.Stack()))
			resp = h.refuse(req, errInternal)
		}
	}()
	resp, err := h.handle(req)
	if errors.Is(err, core.ErrUnknown) {
		h.logCause(req, http.StatusInternalServerError, err)
		req.unknown = true
		return response{}
	}
	if err != nil {
		return h.refuse(req, err)
	}
	return resp
}

// handle checks a request, calls the handler of its route and encodes the result. It returns an
// empty response if a fault rule closes the connection before the operation is carried out.
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
	req.limit(time.Now().Add(answerTime))
	if err := req.api.authenticate(h, req); err != nil {
		return response{}, err
	}
	h.warnOfNewer(req)
	if err := req.readIDs(); err != nil {
		return response{}, err
	}
	if err := h.checkRate(req); err != nil {
		return response{}, err
	}
	reads := req.api == chat && req.Method == http.MethodGet
	if reads {
		if err := h.reserve(req, smallPage); err != nil {
			return response{}, err
		}
		defer h.made(req)
	}
	body, err := req.route.handler(h, req)
	if err != nil {
		h.uncount(req, err)
		return response{}, err
	}
	resp := response{status: req.route.status}
	if body == nil {
		return resp, nil
	}
	resp.body = h.getBuffer()
	*resp.body = wire.Encode(*resp.body, body, req.version)
	h.made(req)
	if reads {
		if err := h.holdAnswer(req, int64(len(*resp.body))); err != nil {
			h.putBuffer(resp.body)
			return response{}, err
		}
	}
	return resp, nil
}

// maxPooled is the size in bytes of the largest buffer that putBuffer returns to the
// pool. Without the limit, a few big responses would make every pooled buffer big.
const maxPooled = 64 << 10

// getBuffer returns an empty buffer from the pool. Give it back with putBuffer after
// the response is written.
func (h *Handler) getBuffer() *[]byte {
	b, ok := h.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = (*b)[:0]
	return b
}

// putBuffer returns a buffer to the pool, unless it is larger than maxPooled.
func (h *Handler) putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		h.buffers.Put(b)
	}
}
