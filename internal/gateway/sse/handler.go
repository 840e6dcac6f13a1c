// Package sse serves GET /chat/events: the events of a user's threads as a stream of
// server-sent events. docs/events.md describes it.
//
// A Handler checks a request and opens a session of package gateway. The session writes
// through a sink, which encodes events, to a Conn, which writes to the client and knows
// nothing of chat.
package sse

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
)

// Path is the path of the stream.
const Path = "/chat/events"

// Operation is the name of a request for a stream in logs, rate limits and faults.
const Operation = limits.OpenEventStream

// The notes of the two access records of a stream: that of the end begins with Ended and
// has the reason behind it.
const (
	Opened = "opened"
	Ended  = "ended: "
)

// Limits on a request.
const (
	maxThreads  = 100  // thread ids in the parameter threads
	maxThreadID = 200  // bytes of a thread id
	maxEcho     = 200  // bytes of a client's text in headers and access records
	maxAsked    = 1000 // bytes of a browser's list of headers that a preflight allows
)

// Values of headers.
const (
	allowed        = "GET, OPTIONS"
	allowedHeaders = "authorization, accept, cache-control, last-event-id, x-ms-client-request-id"
	exposedHeaders = "MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code"
)

// anyChat has the scopes of which a token needs one.
const anyChat = token.Chat | token.ChatJoin | token.ChatJoinLimited

// Tokens verifies user access tokens. token.Authority implements it.
type Tokens interface {
	// Verify returns the claims of a token. It fails with token.ErrInvalid if the token is
	// not valid, and with another error if its user cannot be read from the store.
	Verify(ctx context.Context, text string) (token.Claims, error)
}

// Options configures a Handler. Hub and Tokens are required.
type Options struct {
	Hub     *gateway.Hub
	Tokens  Tokens
	Limiter *limits.Limiter // nil: no rate limits
	Faults  *dev.Faults     // nil: no injected faults

	Now    func() time.Time // the real time, for access records; nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
	// Access, if not nil, is called when a request was refused, when a stream has opened,
	// and when it has ended. Many goroutines call it.
	Access func(gateway.Record)

	// WriteTimeout is the time after which a client that takes no byte is cut off; 0 means
	// gateway.WriteTimeout.
	WriteTimeout time.Duration
}

// Handler serves the requests for event streams. It is safe for concurrent use.
type Handler struct {
	o       Options
	streams sync.WaitGroup // streams whose end is not in the access log yet
}

// New returns a Handler.
func New(o Options) *Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Access == nil {
		o.Access = func(gateway.Record) {}
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.WriteTimeout = cmp.Or(o.WriteTimeout, gateway.WriteTimeout)
	return &Handler{o: o}
}

// ServeHTTP opens a stream or refuses the request. Over HTTP/1 it returns when the stream
// is open, over HTTP/2 when it has ended.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	id := newRequestID()
	head(w, r, id)
	record := h.record(r, id)
	if r.Method == http.MethodOptions {
		h.preflight(w, r, &record)
		return
	}
	k, s, err := h.open(r, &record)
	if err != nil {
		h.refuse(w, r, record, err)
		return
	}
	h.streams.Add(1) // before Take: until then, http.Server.Shutdown waits for this request
	c, err := Take(w, r, h.o.WriteTimeout)
	if err != nil {
		h.streams.Done()
		s.End(gateway.Gone)
		h.refuse(w, r, record, &refusal{status: http.StatusInternalServerError, code: codeInternal, message: "Internal server error.", cause: err})
		return
	}
	hello := k.hello(s.At(), s.Claims().Expires)
	opened := record
	opened.Note = Opened
	h.log(opened, http.StatusOK)
	if !k.attach(c) { // the session has ended meanwhile: the token was revoked, or a fault cuts it
		if b := k.End(hello, s.Why()); len(b) > 0 {
			c.Write(b)
		}
		c.Close()
	} else {
		s.Start(hello)
	}
	if c.Taken() {
		go h.attend(context.Background(), c, s, record)
		return
	}
	h.attend(r.Context(), c, s, record)
	if c.Aborted() {
		panic(http.ErrAbortHandler) // reset the HTTP/2 stream
	}
}

// attend ends the session when its client is gone, waits until it has ended, and writes the
// second access record. ctx is that of a request over HTTP/2.
func (h *Handler) attend(ctx context.Context, c Conn, s *gateway.Session, record gateway.Record) {
	defer h.streams.Done()
	err := c.Wait(ctx)
	why := gateway.WhyOf(err)
	if err == ErrNoisy {
		why = gateway.Hostile
	}
	s.End(why)
	<-s.Done()
	record.Note = Ended + s.Why().String()
	h.log(record, http.StatusOK)
}

// Wait waits until the access records of all streams have been written, or until ctx is done.
// Call it after http.Server.Shutdown, which does not wait for connections that were taken over.
func (h *Handler) Wait(ctx context.Context) {
	written := make(chan struct{})
	go func() {
		h.streams.Wait()
		close(written)
	}()
	select {
	case <-written:
	case <-ctx.Done():
	}
}

// open checks a request and opens its session. It fails with a *refusal, or with
// errDroppedBefore or errDroppedAfter if a fault closes the connection.
func (h *Handler) open(r *http.Request, record *gateway.Record) (*sink, *gateway.Session, error) {
	if r.Method != http.MethodGet {
		return nil, nil, &refusal{status: http.StatusMethodNotAllowed, code: codeMethod,
			message: "The method " + clip.Text(r.Method, maxEcho) + " is not allowed here; the path has " + allowed + "."}
	}
	dropAfter, err := h.injectFault(r)
	if err != nil {
		return nil, nil, err
	}
	claims, err := h.authenticate(r)
	if err != nil {
		return nil, nil, err
	}
	record.User = claims.User
	threads, text, err := parameters(r)
	if err != nil {
		return nil, nil, err
	}
	if h.o.Limiter != nil {
		if refused, ok := h.o.Limiter.Allow(Operation, claims.User, ""); !ok {
			return nil, nil, &refusal{status: http.StatusTooManyRequests, code: codeTooMany, retryAfter: refused.RetryAfter,
				message: "Rate limit exceeded (" + refused.Limit + ")."}
		}
	}
	from, err := h.cursor(r.Context(), text, claims.User, threads)
	if err != nil {
		return nil, nil, err
	}
	k := newSink(claims.User, threads)
	s, err := h.o.Hub.Open(r.Context(), claims, from, gateway.SessionOptions{Protocol: gateway.SSE, Threads: threads}, k)
	if err != nil {
		return nil, nil, notOpened(err)
	}
	if dropAfter {
		s.End(gateway.Dropped)
		return nil, nil, errDroppedAfter
	}
	return k, s, nil
}

// The errors that make ServeHTTP close the connection without a response. Their texts are
// the notes of package rest.
var (
	errDroppedBefore = errors.New("dropped on purpose: not carried out")
	errDroppedAfter  = errors.New("dropped on purpose: the answer is lost")
)

// injectFault waits for the delay of the fault rule for this request, if there is one, and
// fails if the rule has a status or closes the connection before anything is done.
// dropAfter means that the rule closes it when the session is open.
func (h *Handler) injectFault(r *http.Request) (dropAfter bool, _ error) {
	if h.o.Faults == nil {
		return false, nil
	}
	f, ok := h.o.Faults.Next(Operation)
	if !ok {
		return false, nil
	}
	if f.Delay > 0 {
		h.o.Faults.Wait(r.Context(), f.Delay)
	}
	switch {
	case f.Status != 0:
		return false, ofFault(f.Status, f.RetryAfter)
	case f.Drop == "before":
		return false, errDroppedBefore
	}
	return f.Drop == "after", nil
}

// authenticate returns the claims of the token in the header Authorization. It fails with
// a *refusal.
func (h *Handler) authenticate(r *http.Request) (token.Claims, error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return token.Claims{}, unauthorized("no bearer token")
	}
	claims, err := h.o.Tokens.Verify(r.Context(), strings.TrimSpace(text))
	switch {
	case errors.Is(err, token.ErrInvalid):
		return token.Claims{}, unauthorized("token refused")
	case err != nil:
		return token.Claims{}, unavailable(core.ErrBusy.Message, 0, err)
	case claims.Leaving:
		return token.Claims{}, unauthorized("the user was deleted")
	case !claims.Scopes.Any(anyChat):
		return token.Claims{}, &refusal{status: http.StatusForbidden, code: core.ErrForbidden.Code, message: core.ErrForbidden.Message}
	}
	return claims, nil
}

// parameters returns the threads and the text of the cursor that a request has. It fails
// with a *refusal.
func parameters(r *http.Request) (threads []string, cursor string, _ error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, "", badRequest("query", "it is not well formed")
	}
	for _, list := range query["threads"] {
		if list == "" {
			continue
		}
		for id := range strings.SplitSeq(list, ",") {
			if !isThreadID(id) {
				return nil, "", badRequest("threads", "it has text that is not the id of a thread") // not which: the access log has this
			}
			threads = append(threads, strings.Clone(id))
		}
	}
	slices.Sort(threads)
	threads = slices.Clip(slices.Compact(threads))
	if len(threads) > maxThreads {
		return nil, "", badRequest("threads", "it has more than 100 ids")
	}
	return threads, cmp.Or(query.Get("cursor"), r.Header.Get("Last-Event-ID")), nil
}

// isThreadID reports whether id has the form of a thread's id, such as "19:...@thread.v2".
func isThreadID(id string) bool {
	rest, ok := strings.CutPrefix(id, "19:")
	plain := func(r rune) bool { return r > ' ' && r < 0x7f }
	return ok && len(id) <= maxThreadID && strings.Contains(rest, "@") &&
		!strings.ContainsFunc(id, func(r rune) bool { return !plain(r) })
}

// cursor returns the cursor with this text, or nil if the text is empty. It fails with a
// *refusal.
func (h *Handler) cursor(ctx context.Context, text, user string, threads []string) (*core.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	now, err := h.o.Hub.At(ctx)
	if err != nil {
		return nil, notOpened(err)
	}
	c, err := gateway.ParseCursor(text, now.Epoch, user, threads)
	if err != nil {
		return nil, badRequest("cursor", err.Error())
	}
	return &c, nil
}

// refuse writes the response for an error of open.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, record gateway.Record, err error) {
	if err == errDroppedBefore || err == errDroppedAfter {
		record.Note = err.Error()
		h.log(record, 0)
		panic(http.ErrAbortHandler) // the connection ends without a response
	}
	var e *refusal
	if !errors.As(err, &e) {
		e = &refusal{status: http.StatusInternalServerError, code: codeInternal, message: "Internal server error.", cause: err}
	}
	if e.cause != nil {
		level := slog.LevelError
		if r.Context().Err() != nil {
			level = slog.LevelDebug // the client hung up
		}
		h.o.Logger.Log(context.WithoutCancel(r.Context()), level, "event stream refused", "request", record.RequestID,
			"status", e.status, "error", e.cause)
	}
	e.write(w)
	record.Note = e.message
	h.log(record, e.status)
}

// preflight answers the request by which a browser asks for permission.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request, record *gateway.Record) {
	header := w.Header()
	header.Set("Allow", allowed)
	if r.Header.Get("Origin") != "" {
		header.Set("Access-Control-Allow-Methods", allowed)
		asked := r.Header.Get("Access-Control-Request-Headers")
		if asked == "" || len(asked) > maxAsked {
			asked = allowedHeaders
		}
		header.Set("Access-Control-Allow-Headers", asked)
		header.Set("Access-Control-Max-Age", "7200")
	}
	w.WriteHeader(http.StatusNoContent)
	h.log(*record, http.StatusNoContent)
}

// head sets the headers that all responses have. Every origin is allowed, because a token
// and not a cookie authenticates requests.
func head(w http.ResponseWriter, r *http.Request, id string) {
	h := w.Header()
	h.Set("Strict-Transport-Security", "max-age=2592000")
	h.Set("Ms-Cv", id+".0")
	if id := clientID(r); id != "" {
		h.Set("X-Ms-Client-Request-Id", id)
	}
	if origin := r.Header.Get("Origin"); origin != "" && len(origin) <= maxEcho {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
		h.Set("Vary", "Origin")
	}
}

// clientID returns the request's x-ms-client-request-id, or "" if it is missing or too long.
func clientID(r *http.Request) string {
	if id := r.Header.Get("X-Ms-Client-Request-Id"); len(id) <= maxEcho {
		return id
	}
	return ""
}

// record returns the access record of a request, of which the status, the note and the user
// are not known yet. It keeps no memory of the request.
func (h *Handler) record(r *http.Request, id string) gateway.Record {
	method := http.MethodGet
	if r.Method != method {
		method = strings.Clone(clip.Text(r.Method, maxEcho))
	}
	return gateway.Record{
		Time: h.o.Now(), Method: method, Path: Path, Operation: Operation,
		UserAgent: strings.Clone(clip.Text(r.UserAgent(), maxEcho)),
		RequestID: strings.Clone(cmp.Or(clientID(r), id)),
	}
}

// newRequestID returns a random id of the form that package rest uses.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// log calls Options.Access for a request or a stream that has ended.
func (h *Handler) log(record gateway.Record, status int) {
	record.Status, record.Duration = status, h.o.Now().Sub(record.Time)
	record.Took = record.Duration
	h.o.Access(record)
}
