package trouter

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// Options of a Handler. Hub, Tokens and Store are required.
type Options struct {
	Hub    *gateway.Hub
	Tokens *token.Authority
	Store  core.Store // keeps the endpoints

	// PublicEndpoint is the URL at which clients reach the server, such as
	// "https://chat.example.org". If it is empty, responses contain URLs with the scheme and the
	// host that a trusted proxy forwards (hosts.Forwarded), or else with the scheme and the host of
	// the request.
	PublicEndpoint string
	// Polling offers long polls to clients that cannot open a WebSocket. All requests of a
	// client must then reach the same server.
	Polling bool
	// Handover is the longest time for which Drain waits after it has asked the clients to open
	// sockets at another server. Set it only if clients reach another server at the same address.
	// If it is 0, Drain asks no client.
	Handover time.Duration
	// WriteTimeout is the time after which a socket is closed if its client reads no byte; 0 means
	// gateway.WriteTimeout.
	WriteTimeout time.Duration

	Limiter *limits.Limiter      // nil: no rate limits
	Faults  *dev.Faults          // nil: no injected faults
	Now     func() time.Time     // returns the time by which tokens expire; nil means time.Now
	Logger  *slog.Logger         // nil: nothing is logged
	Access  func(gateway.Record) // called after each request and after the end of each socket; may be nil
	Opened  func(gateway.Record) // called when a socket has opened; may be nil
}

// Handler serves the routes of the official protocol for live events. It is safe for
// concurrent use.
type Handler struct {
	o         Options
	hub       *gateway.Hub
	checks    *requests.Checks
	log       *slog.Logger
	now       func() time.Time
	endpoints endpoints
	sids      sids
	upgrades  upgrader
	waiting   sync.WaitGroup // goroutines that read sockets
	draining  atomic.Bool
	changed   chan struct{} // has capacity 1; an element makes Run store the changed endpoints at once

	stats struct{ forgotten, unhandled, again atomic.Uint64 }
}

// Stats are figures of a Handler for the metrics of the server.
type Stats struct {
	Endpoints int // number of endpoints in memory now
	// number of sockets opened without knowing which events the client had answered; each of them
	// may miss events (a gap)
	Forgotten uint64
	Unhandled uint64 // number of events that a client answered with status 404, because it had no handler for them
	// number of events that were written twice to a socket, because the client answered with status
	// 504
	Again uint64
}

// New returns a Handler. Endpoints are stored only while Run runs.
func New(o Options) *Handler {
	h := &Handler{o: o, hub: o.Hub, now: o.Now, changed: make(chan struct{}, 1)}
	h.checks = requests.New(requests.Checks{Tokens: o.Tokens, Limiter: o.Limiter, Faults: o.Faults, Logger: o.Logger, Access: o.Access})
	h.log = h.checks.Logger
	h.endpoints = endpoints{store: o.Store, users: map[string]map[string]*endpoint{}}
	if _, ok := o.Store.(core.SharedEndpoints); ok {
		h.endpoints.owner = rand.Text()
	}
	h.sids = newSids(o.Hub.Bounds())
	h.upgrades = newUpgrader()
	h.o.WriteTimeout = cmp.Or(o.WriteTimeout, gateway.WriteTimeout)
	h.o.PublicEndpoint = strings.TrimSuffix(o.PublicEndpoint, "/")
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// Stats returns the present figures of the handler.
func (h *Handler) Stats() Stats {
	return Stats{Endpoints: h.endpoints.count(), Forgotten: h.stats.forgotten.Load(),
		Unhandled: h.stats.unhandled.Load(), Again: h.stats.again.Load()}
}

// Run stores changed endpoints, every four seconds and each time a socket has ended. It
// returns when ctx is done.
func (h *Handler) Run(ctx context.Context) {
	if h.endpoints.owner != "" {
		var looking sync.WaitGroup
		looking.Go(func() { h.letGo(ctx) })
		defer looking.Wait()
	}
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
		saving, cancel := context.WithTimeout(ctx, saveTime)
		if err := h.endpoints.save(saving, h.now()); err != nil {
			h.log.Error("store the endpoints of live clients", "error", err)
		}
		cancel()
	}
}

// saveSoon makes Run store the changed endpoints now, without waiting for its timer.
func (h *Handler) saveSoon() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Drain makes the handler refuse new sockets. If Options.Handover is set, Drain also asks all
// clients to open sockets at another server, and waits until they have closed their present
// ones, at most for Handover. Call it before Hub.Drain.
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

// saveTime is the longest time that one write of endpoints to the store may take. Handler.Close
// gives its write this time even if its context is done.
const saveTime = 5 * time.Second

// Close waits until the sockets are closed or ctx is done, and then stores which events their
// clients have answered. Call it after Hub.Drain, which ends the sockets, and after the HTTP server
// was shut down. Run need not have returned.
func (h *Handler) Close(ctx context.Context) error {
	closed := make(chan struct{})
	go func() { h.waiting.Wait(); close(closed) }()
	select {
	case <-closed:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	return h.endpoints.save(ctx, h.now())
}

// route is a path of the protocol, with its methods and the function that serves them. The {id} at
// the end of a pattern matches one path element.
type route struct {
	pattern   string
	methods   []string
	operation string // name of the route's operation in injected faults, rate limits and the access log
	serve     func(*Handler, *request) error
}

// routes lists the paths of docs/contract/realtime.md §7. A polling client sends many requests with
// one sid (one-time id); only the first of them is logged and can meet an injected fault.
var routes = []route{
	{"/chat/config/realTimeNotifications", []string{"GET"}, "get live configuration", (*Handler).configure},
	{"/v4/a", []string{"POST"}, "allocate live socket", (*Handler).allocate},
	{"/socket.io/1/", []string{"GET"}, "live handshake", (*Handler).handshake},
	{"/socket.io/1/websocket/{id}", []string{"GET"}, opensSocket, (*Handler).openWebSocket},
	{"/socket.io/1/xhr-polling/{id}", []string{"GET", "POST"}, opensSocket, (*Handler).poll},
	{"/v3/registrations", []string{"POST"}, "register live client", (*Handler).register},
	{"/v3/registrations/{id}", []string{"DELETE"}, "unregister live client", (*Handler).unregister},
}

// opensSocket is the operation of the routes that open sockets, for logs, limits and faults.
const opensSocket = "open live socket"

// match returns the route of a path, or nil, and the path element that matches {id}. It treats
// several slashes like one, because a client whose endpoint URL ends in a slash sends two.
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

// Handles reports whether a URL path belongs to the protocol, so that Handler.ServeHTTP serves it.
func (h *Handler) Handles(path string) bool {
	r, _ := match(path)
	return r != nil
}

// request is the state of one request.
type request struct {
	*http.Request
	w      http.ResponseWriter
	route  *route
	id     string // the element of the request's path that matches {id} in the route's pattern
	record gateway.Record
	// true if the request is not logged, because the end of its socket is logged or nothing of
	// interest has happened
	silent bool
	drop   bool // true if an injected fault cuts the connection after the request was carried out
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	req := &request{Request: r, w: w}
	req.record = h.checks.Record(r, "unknown", "", requests.NewID())
	if req.route, req.id = match(r.URL.Path); req.route != nil {
		req.record.Path = req.route.pattern
	}
	cors(w.Header(), r, req.route)
	w.Header().Set("Cache-Control", "no-store")
	requests.SetID(w.Header(), req.record.RequestID)
	err := h.handle(req)
	var drop requests.Dropped
	switch {
	case errors.As(err, &drop):
		req.record.Note, req.record.Why = drop.Error(), why.Because(why.Dropped, "problem", drop.Error())
	case err != nil:
		h.refuse(req, err)
	}
	if !req.silent {
		h.checks.Answered(&req.record)
		h.checks.Access(req.record)
	}
	if errors.As(err, &drop) || req.drop {
		panic(http.ErrAbortHandler)
	}
}

// opened calls Options.Opened with the record of a request that has opened a socket. The access
// record is written when the socket ends.
func (h *Handler) opened(record gateway.Record) {
	if h.o.Opened != nil {
		h.checks.Answered(&record)
		h.o.Opened(record)
	}
}

// handle serves a request, or responds to the preflight request of a browser.
func (h *Handler) handle(req *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "route", req.record.Path, "panic", p, "stack", string(debug.Stack()))
			err = &refusal{Status: http.StatusInternalServerError, Message: "panic", Why: why.Because(why.Internal)}
		}
	}()
	switch {
	case req.route == nil:
		return &refusal{Status: http.StatusNotFound, Message: "no such path", Why: why.Because(why.UnknownPath)}
	case req.Method == http.MethodOptions:
		req.respond(http.StatusNoContent, "", nil)
		return nil
	case !slices.Contains(req.route.methods, req.Method):
		req.w.Header().Set("Allow", strings.Join(req.route.methods, ", ")+", OPTIONS")
		return &refusal{Status: http.StatusMethodNotAllowed, Message: "no such method", Why: why.Because(why.Method, "allowed", strings.Join(req.route.methods, ", ")+", OPTIONS")}
	}
	req.record.Operation = req.route.operation
	if req.route.operation != opensSocket {
		if err := h.fault(req); err != nil {
			return err
		}
	}
	return req.route.serve(h, req)
}

// fault delays a request, fails, or marks the request so that its connection is cut, if a fault was
// injected for it. Only a development server has injected faults.
func (h *Handler) fault(req *request) (err error) {
	req.drop, err = h.checks.Fault(req.Context(), req.route.operation)
	return err
}

// allow counts a request against the user's rate limits, and fails if it exceeds one.
func (h *Handler) allow(req *request, user string) error {
	return h.checks.Allow(req.route.operation, user)
}

// refusal is the error of a request that is refused, with the status of the response.
type refusal = requests.Refusal

// reasonOf returns the reason for which the hub refused a session with err, or 0 if err does not
// come from the hub.
func reasonOf(err error) gateway.Reason {
	var e *gateway.OpenError
	if errors.As(err, &e) {
		return e.Why
	}
	return 0
}

// refused returns the refusal for an error of the hub. Its status is 503 and not 429 as in other
// protocols, because a client waits longer before each new attempt after 503.
func refused(err error) *refusal {
	r := requests.OfHub(err)
	if r.Status == http.StatusTooManyRequests {
		r.Status = http.StatusServiceUnavailable
	}
	return r
}

// admit fails if the user with these claims could not open a socket now.
func (h *Handler) admit(ctx context.Context, c token.Claims) error {
	if h.draining.Load() {
		return refused(&gateway.OpenError{Why: gateway.Draining})
	}
	if err := h.hub.Admit(ctx, c); err != nil {
		return refused(err)
	}
	return nil
}

// refuse writes the response for a request that has failed with err.
func (h *Handler) refuse(req *request, err error) {
	r := requests.RefusalOf(err)
	h.checks.LogCause(req.Context(), r, req.record)
	r.SetRetryAfter(req.w.Header())
	r.Refused(&req.record)
	req.silent = false
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": r.Code(), "message": r.Message}}) // cannot fail: the value has only strings
	req.respond(r.Status, "application/json; charset=utf-8", body)
}

// query returns the query parameters of a request, without malformed ones. The names of the
// parameters that the handler reads are matched without regard to case.
func (req *request) query() url.Values {
	q, _ := inbound.Query(req.URL.RawQuery, "epid", "sig", "sr")
	return q
}

// readBody returns the body of a request. It fails if the body is longer than maxFrame or does
// not arrive in time. If the body is compressed, it fails with a *refusal of status 415.
func (req *request) readBody() ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(req.w, req.Body, maxFrame))
	if err != nil {
		return b, err
	}
	gateway.UnlimitBody(req.w, req.Request)
	if message := inbound.RefusedCoding(req.Header); message != "" && len(b) > 0 {
		req.w.Header().Set("Accept-Encoding", inbound.AcceptedCoding)
		return nil, &refusal{Status: http.StatusUnsupportedMediaType, Message: message, Why: why.Because(why.MediaType, "problem", message)}
	}
	return b, nil
}

// respond writes a response with a status and a body, and records the status for the access
// log.
func (req *request) respond(status int, contentType string, body []byte) {
	if contentType != "" {
		req.w.Header().Set("Content-Type", contentType)
	}
	if status != http.StatusNoContent {
		req.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	req.record.Status = status
	req.w.WriteHeader(status)
	req.w.Write(body) // ignore the error: it means that the client has disconnected
}

// respondJSON writes v as JSON in a response with status 200.
func (req *request) respondJSON(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a response: %w", err)
	}
	// Write the content type exactly so, because the browser build accepts no other spelling
	// (docs/contract/realtime.md §3).
	req.respond(http.StatusOK, "application/json; charset=utf-8", body)
	return nil
}

// cors sets the headers that allow a page of any origin to read the response. They allow
// credentials, because old clients send the handshake with credentials.
func cors(header http.Header, r *http.Request, to *route) {
	if !requests.AllowOrigin(header, r, "MS-CV, Retry-After, WWW-Authenticate, x-ms-request-id") {
		return
	}
	header.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions && to != nil {
		requests.Preflight(header, r, strings.Join(to.methods, ", ")+", OPTIONS",
			"authorization, content-type, x-ms-client-request-id, x-ms-useragent, x-skypetoken")
	}
}
