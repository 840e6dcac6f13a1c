package trouter

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
)

// Options of a Handler. Hub, Tokens and Store are required.
type Options struct {
	Hub    *gateway.Hub
	Tokens *token.Authority
	Store  core.Store // keeps the endpoints

	// PublicEndpoint is the URL at which clients reach the server, such as
	// "https://chat.example.org". If it is empty, the answers name the scheme and the Host
	// of the request.
	PublicEndpoint string
	// Polling offers long polls to clients that get no WebSocket. It needs all requests of
	// a client to reach the same server.
	Polling bool
	// Handover is the time for which Drain waits after it has asked the clients to open
	// other sockets. 0: Drain does not ask. It needs another server behind the same
	// address.
	Handover time.Duration
	// WriteTimeout is the time after which a client that takes no byte is cut off; 0 means
	// gateway.WriteTimeout.
	WriteTimeout time.Duration

	Limiter *limits.Limiter      // nil: no rate limits
	Faults  *dev.Faults          // nil: no injected faults
	Now     func() time.Time     // the clock by which tokens expire; nil: time.Now
	Logger  *slog.Logger         // nil: nothing is logged
	Access  func(gateway.Record) // called after each request, and after each socket; may be nil
}

// Handler serves the routes of the official protocol for live events. It is safe for
// concurrent use.
type Handler struct {
	o         Options
	hub       *gateway.Hub
	log       *slog.Logger
	now       func() time.Time
	endpoints endpoints
	sids      sids
	upgrades  upgrader
	waiting   sync.WaitGroup // goroutines that read sockets
	draining  atomic.Bool
	changed   chan struct{} // capacity 1: endpoints must be stored

	stats struct{ forgotten, unhandled, again atomic.Uint64 }
}

// Stats are figures of a Handler for metrics.
type Stats struct {
	Endpoints int    // in memory now
	Forgotten uint64 // sockets of which nobody knew what the client has answered: gaps
	Unhandled uint64 // events that a client had no handler for (status 404)
	Again     uint64 // events that were written twice to a socket (status 504)
}

// New returns a Handler. Run must run so that endpoints are stored.
func New(o Options) *Handler {
	h := &Handler{o: o, hub: o.Hub, log: o.Logger, now: o.Now, changed: make(chan struct{}, 1)}
	h.endpoints = endpoints{store: o.Store, users: map[string]map[string]*endpoint{}}
	h.sids = sids{pending: map[string]*pending{}, polls: map[string]*poll{}}
	h.upgrades = newUpgrader()
	h.o.WriteTimeout = cmp.Or(o.WriteTimeout, gateway.WriteTimeout)
	h.o.PublicEndpoint = strings.TrimSuffix(o.PublicEndpoint, "/")
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Stats returns the handler's figures.
func (h *Handler) Stats() Stats {
	return Stats{Endpoints: h.endpoints.count(), Forgotten: h.stats.forgotten.Load(),
		Unhandled: h.stats.unhandled.Load(), Again: h.stats.again.Load()}
}

// Run stores changed endpoints every five seconds and after a socket has ended, until ctx
// is done.
func (h *Handler) Run(ctx context.Context) {
	tick := time.NewTicker(storeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.endpoints.tidy(h.now())
		case <-h.changed:
		}
		if err := h.endpoints.save(ctx, h.now()); err != nil {
			h.log.Error("store the endpoints of live clients", "error", err)
		}
	}
}

// saveSoon makes Run store the changed endpoints.
func (h *Handler) saveSoon() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Drain refuses new sockets. If Options.Handover is set, it asks all clients to open
// sockets at another server and waits until they have closed theirs, for that time at most.
// Call it before Hub.Drain.
func (h *Handler) Drain(ctx context.Context) {
	h.draining.Store(true)
	if h.o.Handover == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.o.Handover)
	defer cancel()
	var open []*socket
	for _, e := range h.endpoints.all() {
		e.mu.Lock()
		if e.current != nil {
			open = append(open, e.current)
		}
		e.mu.Unlock()
	}
	for _, s := range open {
		s.handOver()
	}
	for _, s := range open {
		select {
		case <-s.session.Done():
		case <-ctx.Done():
			return
		}
	}
}

// Close waits until the sockets are closed, and stores what their clients have answered.
// Call it after Hub.Drain, which ends them, and after the HTTP server was shut down.
func (h *Handler) Close(ctx context.Context) error {
	closed := make(chan struct{})
	go func() { h.waiting.Wait(); close(closed) }()
	select {
	case <-closed:
	case <-ctx.Done():
	}
	return h.endpoints.save(ctx, h.now())
}

// route is a path of the protocol, with what serves each of its methods. A pattern that
// ends in {id} matches a path with one more element.
type route struct {
	pattern   string
	methods   []string
	operation string // for faults, limits and the access log
	serve     func(*Handler, *request) error
}

// routes lists the paths of docs/contract/realtime.md §7. The polling route logs and
// injects faults with the first request of a sid only.
var routes = []route{
	{"/chat/config/realTimeNotifications", []string{"GET"}, "get live configuration", (*Handler).configure},
	{"/v4/a", []string{"POST"}, "allocate live socket", (*Handler).allocate},
	{"/socket.io/1/", []string{"GET"}, "live handshake", (*Handler).handshake},
	{"/socket.io/1/websocket/{id}", []string{"GET"}, opensSocket, (*Handler).openWebSocket},
	{"/socket.io/1/xhr-polling/{id}", []string{"GET", "POST"}, opensSocket, (*Handler).poll},
	{"/v3/registrations", []string{"POST"}, "register live client", (*Handler).register},
	{"/v3/registrations/{id}", []string{"DELETE"}, "unregister live client", (*Handler).unregister},
}

// opensSocket is the operation of the routes that open sockets.
const opensSocket = "open live socket"

// match returns the route of a path and the value of {id}. Double slashes count as one,
// because a client whose endpoint ends in a slash sends them.
func match(path string) (r *route, id string) {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	for i := range routes {
		prefix, hasID := strings.CutSuffix(routes[i].pattern, "{id}")
		if !hasID && path == prefix {
			return &routes[i], ""
		}
		if rest, ok := strings.CutPrefix(path, prefix); hasID && ok && rest != "" && !strings.Contains(rest, "/") {
			return &routes[i], rest
		}
	}
	return nil, ""
}

// Handles reports whether a path belongs to the protocol.
func (h *Handler) Handles(path string) bool {
	r, _ := match(path)
	return r != nil
}

// request is the state of one request.
type request struct {
	*http.Request
	w      http.ResponseWriter
	route  *route
	id     string // from the path
	record gateway.Record
	silent bool // do not log: the socket does, or nothing of interest has happened
	drop   bool // an injected fault cuts the connection after the operation
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	req := &request{Request: r, w: w}
	req.record = gateway.Record{Time: time.Now(), Method: brief(r.Method), Path: "unknown", UserAgent: brief(r.UserAgent()), RequestID: newRequestID()}
	if req.route, req.id = match(r.URL.Path); req.route != nil {
		req.record.Path = req.route.pattern
	}
	cors(w.Header(), r, req.route)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Ms-Cv", req.record.RequestID+".0")
	err := h.handle(req)
	var drop dropped
	switch {
	case errors.As(err, &drop):
		req.record.Note = drop.Error()
	case err != nil:
		h.refuse(req, err)
	}
	if !req.silent {
		req.record.Took = time.Since(req.record.Time)
		req.record.Duration = req.record.Took
		h.access(req.record)
	}
	if errors.As(err, &drop) || req.drop {
		panic(http.ErrAbortHandler)
	}
}

// brief returns a text of the client for the access log. It keeps no memory of the request:
// net/http cuts the method out of the request line, and a socket holds its record for long.
func brief(text string) string { return strings.Clone(clip.Text(text, 200)) }

// handle serves a request, or answers a preflight of CORS.
func (h *Handler) handle(req *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "route", req.record.Path, "panic", p, "stack", string(debug.Stack()))
			err = &refusal{status: http.StatusInternalServerError, note: "panic"}
		}
	}()
	switch {
	case req.route == nil:
		return &refusal{status: http.StatusNotFound, note: "no such path"}
	case req.Method == http.MethodOptions:
		req.respond(http.StatusNoContent, "", nil)
		return nil
	case !slices.Contains(req.route.methods, req.Method):
		req.w.Header().Set("Allow", strings.Join(req.route.methods, ", ")+", OPTIONS")
		return &refusal{status: http.StatusMethodNotAllowed, note: "no such method"}
	}
	req.record.Operation = req.route.operation
	if req.route.operation != opensSocket {
		if err := h.fault(req); err != nil {
			return err
		}
	}
	return req.route.serve(h, req)
}

// dropped is the error of a request whose connection a fault cuts.
type dropped string

// Error returns the note for the access log.
func (d dropped) Error() string { return string(d) }

// fault applies a fault of a development server to a request.
func (h *Handler) fault(req *request) error {
	if h.o.Faults == nil {
		return nil
	}
	f, ok := h.o.Faults.Next(req.route.operation)
	if !ok {
		return nil
	}
	if f.Delay > 0 {
		h.o.Faults.Wait(req.Context(), f.Delay)
	}
	switch {
	case f.Status != 0:
		return &refusal{status: f.Status, note: "refused on purpose", retryAfter: f.RetryAfter}
	case f.Drop == "before":
		return dropped("dropped on purpose: not carried out")
	case f.Drop == "after":
		req.drop = true
	}
	return nil
}

// allow fails if the user exceeds a rate limit.
func (h *Handler) allow(req *request, user string) error {
	if h.o.Limiter == nil {
		return nil
	}
	if r, ok := h.o.Limiter.Allow(req.route.operation, user, ""); !ok {
		return &refusal{status: http.StatusTooManyRequests, note: "Rate limit exceeded (" + r.Limit + ").", retryAfter: r.RetryAfter}
	}
	return nil
}

// refusal is the error of a request that is refused.
type refusal struct {
	status     int
	note       string // for the client and the access log
	retryAfter time.Duration
	cause      error // for the log; may be nil
	hub        error // the error of the hub that led to it, or nil
}

// Error returns the note and the cause.
func (r *refusal) Error() string {
	if r.cause != nil {
		return r.note + ": " + r.cause.Error()
	}
	return r.note
}

// Unwrap returns the error of the hub.
func (r *refusal) Unwrap() error { return r.hub }

// unauthorized returns the refusal of a request whose token, parameters or sid are not
// valid.
func unauthorized(note string) *refusal {
	return &refusal{status: http.StatusUnauthorized, note: note}
}

// away returns the refusal of a request for which the store cannot be read.
func away(err error) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, note: "the server cannot read its store", retryAfter: time.Second, cause: err}
}

// reasonOf returns the reason in an error of the hub, or 0.
func reasonOf(err error) gateway.Reason {
	var e *gateway.OpenError
	if errors.As(err, &e) {
		return e.Why
	}
	return 0
}

// refused returns the refusal for an error of the hub. The client must come back later
// unless its token has ended.
func refused(err error) *refusal {
	switch why := reasonOf(err); why {
	case gateway.Expired, gateway.Revoked, gateway.Deleted:
		return unauthorized(why.String())
	case gateway.Draining, gateway.UserFull, gateway.NodeFull:
		return &refusal{status: http.StatusServiceUnavailable, note: why.String(), retryAfter: why.Delay(), hub: err}
	}
	return away(err)
}

// admit fails if the user could not open a socket now.
func (h *Handler) admit(ctx context.Context, c token.Claims) error {
	if h.draining.Load() {
		return refused(&gateway.OpenError{Why: gateway.Draining})
	}
	if err := h.hub.Admit(ctx, c); err != nil {
		return refused(err)
	}
	return nil
}

// refuse answers a request with an error.
func (h *Handler) refuse(req *request, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{status: http.StatusInternalServerError, note: "internal error", cause: err}
	}
	if r.cause != nil {
		level := slog.LevelError
		if req.Context().Err() != nil { // the client hung up
			level = slog.LevelDebug
		}
		h.log.Log(req.Context(), level, "refuse a live client", "operation", req.record.Operation, "user", req.record.User, "error", r.cause)
	}
	if r.retryAfter > 0 {
		req.w.Header().Set("Retry-After", strconv.FormatInt(int64((r.retryAfter+time.Second-1)/time.Second), 10))
	}
	req.record.Note, req.silent = r.note, false
	code := strings.ReplaceAll(http.StatusText(r.status), " ", "")
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": r.note}}) // strings cannot fail
	req.respond(r.status, "application/json; charset=utf-8", body)
}

// readBody returns the body of a request. It fails if the body is longer than maxFrame or
// does not arrive in time.
func (req *request) readBody() ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(req.w, req.Body, maxFrame))
	if err == nil {
		gateway.UnlimitBody(req.w, req.Request)
	}
	return b, err
}

// respond writes a response.
func (req *request) respond(status int, contentType string, body []byte) {
	if contentType != "" {
		req.w.Header().Set("Content-Type", contentType)
	}
	if status != http.StatusNoContent {
		req.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	req.record.Status = status
	req.w.WriteHeader(status)
	req.w.Write(body) // an error means that the client is gone
}

// respondJSON writes a response with status 200.
func (req *request) respondJSON(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a response: %w", err)
	}
	// The browser build accepts no other spelling of this type (docs/contract/realtime.md §3).
	req.respond(http.StatusOK, "application/json; charset=utf-8", body)
	return nil
}

// cors sets the headers of CORS. They name the origin and allow credentials, because old
// clients send the handshake with credentials.
func cors(header http.Header, r *http.Request, to *route) {
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Set("Access-Control-Expose-Headers", "MS-CV, Retry-After, WWW-Authenticate")
	if r.Method != http.MethodOptions || to == nil {
		return
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = "authorization, content-type, x-ms-client-request-id, x-ms-useragent, x-skypetoken"
	}
	header.Set("Access-Control-Allow-Methods", strings.Join(to.methods, ", ")+", OPTIONS")
	header.Set("Access-Control-Allow-Headers", asked)
	header.Set("Access-Control-Max-Age", "7200")
}

// access calls Options.Access with the record of a request or a socket.
func (h *Handler) access(r gateway.Record) {
	if h.o.Access != nil {
		h.o.Access(r)
	}
}

// newRequestID returns a random id of 22 characters.
func newRequestID() string { return randomText(16) }

// randomText returns the base64url form of n random bytes.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
