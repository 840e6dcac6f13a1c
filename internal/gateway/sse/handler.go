// Package sse serves GET /chat/events: the events of a user's threads as a stream of
// server-sent events. docs/events.md describes it.
//
// A Handler checks a request and opens a session of package gateway. The session writes events
// to a sink, which encodes them and writes to a Conn. A Conn writes bytes to the client and
// knows nothing of chat.
package sse

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/why"
)

// Path is the URL path of the event stream.
const Path = "/chat/events"

// Operation is the name of a request for a stream in logs, rate limits and faults.
const Operation = limits.OpenEventStream

// The notes of the two access records of a stream: Opened when it opens, and Ended followed by
// the reason when it ends.
const (
	Opened = "opened"
	Ended  = "ended: "
)

// Limits on the parameter threads of a request.
const (
	maxThreads  = 100 // maximum number of thread ids in the parameter threads
	maxThreadID = 200 // bytes of a thread id
)

// Values of CORS headers.
const (
	allowed        = "GET, OPTIONS"
	allowedHeaders = "authorization, accept, cache-control, last-event-id, x-ms-client-request-id"
	exposedHeaders = "MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code, x-ms-request-id"
)

// Options configures a Handler. Hub and Tokens are required.
type Options struct {
	Hub     *gateway.Hub
	Tokens  requests.Tokens
	Limiter *limits.Limiter // nil: no rate limits
	Faults  *dev.Faults     // nil: no injected faults

	Now    func() time.Time // returns the real time, for access records; nil means time.Now
	Logger *slog.Logger     // nil: nothing is logged
	// Access, if not nil, is called with a record when a request was refused, when a stream
	// has opened, and when a stream has ended. Several goroutines may call it at the same
	// time.
	Access func(gateway.Record)

	// WriteTimeout is the time after which a stream ends if its client reads no byte; 0 means
	// gateway.WriteTimeout.
	WriteTimeout time.Duration
}

// Handler serves the requests for event streams. It is safe for concurrent use.
type Handler struct {
	o       Options
	checks  *requests.Checks
	streams sync.WaitGroup // counts the streams whose end is not in the access log yet
}

// New returns a Handler.
func New(o Options) *Handler {
	o.WriteTimeout = cmp.Or(o.WriteTimeout, gateway.WriteTimeout)
	return &Handler{o: o, checks: requests.New(requests.Checks{
		Tokens: o.Tokens, Limiter: o.Limiter, Faults: o.Faults, Logger: o.Logger, Now: o.Now, Access: o.Access,
	})}
}

// ServeHTTP opens a stream or refuses the request. Over HTTP/1 it returns when the stream has
// opened; over HTTP/2 it returns when the stream has ended.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	id := requests.NewID()
	head(w, r, id)
	record := h.checks.Record(r, Path, Operation, id)
	if r.Method == http.MethodOptions {
		h.preflight(w, r, &record)
		return
	}
	k, s, err := h.open(r, &record)
	if err != nil {
		h.refuse(w, r, record, err)
		return
	}
	// count the stream before Take, because http.Server.Shutdown no longer waits for the request
	// after Take
	h.streams.Add(1)
	c, err := Take(w, r, h.o.WriteTimeout)
	if err != nil {
		h.streams.Done()
		s.End(gateway.Gone)
		h.refuse(w, r, record, err)
		return
	}
	hello := k.hello(s.At(), s.Claims().Expires)
	opened := record
	opened.Note = Opened
	h.log(opened, http.StatusOK)
	if !k.attach(c) { // the session has ended already, because the token was revoked or an injected fault cut it
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

// attend waits until the client closes the connection or the session ends. It then ends the
// session, if it is still open, and writes the record of the stream's end to the access log. ctx is
// the context of the request; it is used only over HTTP/2.
func (h *Handler) attend(ctx context.Context, c Conn, s *gateway.Session, record gateway.Record) {
	defer h.streams.Done()
	err := c.Wait(ctx)
	why := gateway.WhyOf(err)
	if err == ErrNoisy {
		why = gateway.Hostile
	}
	s.End(why)
	<-s.Done()
	record.Note, record.Ended = Ended+s.Why().String(), true
	h.log(record, http.StatusOK)
}

// Wait waits until the ends of all streams are in the access log, or until ctx is done. Call
// it after http.Server.Shutdown, which does not wait for connections that were taken over.
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

// open checks a request and opens its session. It fails with a *requests.Refusal, or with
// requests.Dropped if an injected fault closes the connection.
func (h *Handler) open(r *http.Request, record *gateway.Record) (*sink, *gateway.Session, error) {
	if r.Method != http.MethodGet {
		return nil, nil, &requests.Refusal{Status: http.StatusMethodNotAllowed,
			Message: "The method " + clip.Text(r.Method, requests.MaxEcho) + " is not allowed here; the path has " + allowed + ".",
			Why:     why.Because(why.Method, "allowed", allowed)}
	}
	dropAfter, err := h.checks.Fault(r.Context(), Operation)
	if err != nil {
		return nil, nil, err
	}
	claims, err := h.checks.Bearer(r)
	record.User = claims.User
	if err != nil {
		return nil, nil, err
	}
	threads, text, err := parameters(r)
	if err != nil {
		return nil, nil, err
	}
	if err := h.checks.Allow(Operation, claims.User); err != nil {
		return nil, nil, err
	}
	from, err := h.cursor(r.Context(), text, claims.User, threads)
	if err != nil {
		return nil, nil, err
	}
	k := newSink(claims.User, threads)
	s, err := h.o.Hub.Open(r.Context(), claims, from, gateway.SessionOptions{Protocol: gateway.SSE, Threads: threads, From: record.Client, Agent: record.UserAgent}, k)
	if err != nil {
		return nil, nil, requests.OfHub(err)
	}
	if dropAfter {
		s.End(gateway.Dropped)
		return nil, nil, requests.DroppedAfter
	}
	return k, s, nil
}

// parameters returns the ids of the threads and the text of the cursor in a request. The names
// of the query parameters are matched without regard to case. It fails with a
// *requests.Refusal.
func parameters(r *http.Request) (threads []string, cursor string, _ error) {
	query, err := inbound.Query(r.URL.RawQuery, "threads", "cursor")
	if err != nil {
		return nil, "", requests.BadRequest("query: it is not well formed", why.Because(why.BadQuery))
	}
	for _, list := range query["threads"] {
		if list == "" {
			continue
		}
		for id := range strings.SplitSeq(list, ",") {
			if !isThreadID(id) {
				// do not quote the client's text, because the message is also in the access log
				return nil, "", badThreads("threads: it has text that is not the id of a thread")
			}
			threads = append(threads, strings.Clone(id))
		}
	}
	slices.Sort(threads)
	threads = slices.Clip(slices.Compact(threads))
	if len(threads) > maxThreads {
		return nil, "", badThreads("threads: it has more than 100 ids")
	}
	return threads, cmp.Or(query.Get("cursor"), r.Header.Get("Last-Event-ID")), nil
}

// badThreads returns the refusal of a request whose parameter threads is not valid.
func badThreads(problem string) error {
	return requests.BadRequest(problem, why.Because(why.BadParameter, "parameter", "threads", "problem", problem))
}

// isThreadID reports whether id has the form of a thread's id, such as "19:...@thread.v2".
func isThreadID(id string) bool {
	rest, ok := strings.CutPrefix(id, "19:")
	plain := func(r rune) bool { return r > ' ' && r < 0x7f }
	return ok && len(id) <= maxThreadID && strings.Contains(rest, "@") &&
		!strings.ContainsFunc(id, func(r rune) bool { return !plain(r) })
}

// cursor parses the text of a cursor. It returns nil if the text is empty. It fails with a
// *requests.Refusal if the text is damaged or was made for another user or other threads.
func (h *Handler) cursor(ctx context.Context, text, user string, threads []string) (*core.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	now, err := h.o.Hub.At(ctx)
	if err != nil {
		return nil, requests.OfHub(err)
	}
	c, err := gateway.ParseCursor(text, now.Epoch, user, threads)
	if err != nil {
		return nil, requests.BadRequest("cursor: "+err.Error(), why.Because(why.LiveCursor, "problem", err.Error()))
	}
	return &c, nil
}

// refuse writes the response for an error that open has returned.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, record gateway.Record, err error) {
	var drop requests.Dropped
	if errors.As(err, &drop) {
		record.Note, record.Why = drop.Error(), why.Because(why.Dropped, "problem", drop.Error())
		h.log(record, 0)
		panic(http.ErrAbortHandler) // ends the connection without a response
	}
	refused := requests.RefusalOf(err)
	h.checks.LogCause(r.Context(), refused, record)
	write(w, refused)
	refused.Refused(&record)
	h.log(record, refused.Status)
}

// preflight answers the OPTIONS request that a browser sends before a page of another origin
// may open a stream.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request, record *gateway.Record) {
	header := w.Header()
	header.Set("Allow", allowed)
	if r.Header.Get("Origin") != "" {
		requests.Preflight(header, r, allowed, allowedHeaders)
	}
	w.WriteHeader(http.StatusNoContent)
	h.log(*record, http.StatusNoContent)
}

// head sets the headers that all responses have. They allow pages of every origin, because
// requests are authenticated by a token and not by a cookie.
func head(w http.ResponseWriter, r *http.Request, id string) {
	h := w.Header()
	if hosts.WantsTransportSecurity(r) {
		h.Set("Strict-Transport-Security", "max-age=2592000")
	}
	requests.SetID(h, id)
	if id := clientID(r); id != "" {
		h.Set("X-Ms-Client-Request-Id", id)
	}
	requests.AllowOrigin(h, r, exposedHeaders)
}

// clientID returns the request's x-ms-client-request-id, or "" if it is missing or too long.
func clientID(r *http.Request) string {
	if id := r.Header.Get("X-Ms-Client-Request-Id"); len(id) <= requests.MaxEcho {
		return id
	}
	return ""
}

// log writes an access record with a status: for a request that was answered, or for a stream
// that has opened or ended.
func (h *Handler) log(record gateway.Record, status int) {
	record.Status = status
	h.checks.Answered(&record)
	h.checks.Access(record)
}
