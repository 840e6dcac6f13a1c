package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/exchange"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/traffic"
	"github.com/confab-chat/confab/internal/why"
)

// Traffic returns the log of the newest requests of clients.
func (s *Server) Traffic() *traffic.Log { return s.traffic }

// keep adds a request of a client to the log of the newest requests.
func (s *Server) keep(r rest.Record) {
	if r.Ended {
		return
	}
	x := traffic.Exchange{
		Time: r.Time, Duration: r.Duration, Status: r.Status, Method: r.Method, Path: r.Path, Operation: r.Operation,
		User: r.User, Thread: r.Thread, Agent: r.UserAgent, Client: r.Client, ID: r.RequestID, ClientID: r.ClientID,
		Why: r.Why, Answer: r.Answer,
	}
	if r.Request != nil {
		x.Request, x.Host, x.Query, x.InSize = r.Request.Header, r.Request.Host, r.Request.URL.RawQuery, r.Request.ContentLength
		x.Bare = s.bare(r.Request.URL.Path)
		if s.traffic.Bodies() {
			x.Copy, _ = r.Request.Context().Value(copyKey{}).(*exchange.Copy)
		}
	}
	s.traffic.Add(x)
}

// bare reports whether requests for a path are logged and recorded without bodies and queries. It
// returns true for the live protocols, whose paths and bodies contain secrets and whose
// connections last for hours. It also returns true for the welcome page and the chat page, which
// are the same for everybody.
func (s *Server) bare(path string) bool {
	if strings.HasPrefix(path, chatThreads) {
		return false
	}
	return path == "/" || strings.HasPrefix(path, threadPages) || strings.HasPrefix(path, chatAssets) || isEvents(path) || s.trouter.Handles(path) || withoutSecrets(path) != path
}

// copyKey is the key under which the context of a request has an *exchange.Copy.
type copyKey struct{}

// copyBodies returns a handler that passes requests to next and copies the bodies of requests and
// responses for the log of the newest requests. It returns next itself if that log has no bodies.
func (s *Server) copyBodies(next http.Handler) http.Handler {
	if !s.traffic.Bodies() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.bare(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		c, out, in := exchange.Begin(w, r, exchange.Options{Room: traffic.Room})
		next.ServeHTTP(out, in.WithContext(context.WithValue(in.Context(), copyKey{}, c)))
	})
}

// Limits for the work of the method explain.
const (
	maxLookups = 50              // greatest number of refusals in a second for which explain reads the store
	lookupTime = 2 * time.Second // longest time for one read of the store
)

// lookups counts the refusals for which the method explain reads the store. It limits their
// number, because clients can cause that work. The zero value is ready to use.
type lookups struct {
	mu    sync.Mutex // guards the fields below
	since time.Time  // begin of the second
	n     int        // in it
}

// take counts a refusal, and reports whether the store may be read for it.
func (l *lookups) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.since); since >= time.Second || since < 0 {
		l.since, l.n = now, 0
	}
	l.n++
	return l.n <= maxLookups
}

// explain completes the reason of a refused request. It gives each refusal a code, and for a user
// who was removed from a thread it finds out who removed the user and when. The client already has
// its answer.
func (s *Server) explain(r *rest.Record) {
	if r.Request != nil && r.Status != 0 && r.Status < http.StatusBadRequest {
		if origin := r.Request.Header[leftOutOrigin]; len(origin) > 0 {
			r.Why = why.Because(why.OriginLeftOut, "origin", origin[0])
		}
		return
	}
	if r.Why.IsZero() && !r.Ended && (r.Status == 0 || r.Status >= http.StatusBadRequest) {
		r.Why = why.Because(why.Other, "status", strconv.Itoa(r.Status), "problem", strings.TrimSuffix(r.Note, "."))
	}
	event, err := strconv.ParseUint(r.Why.Fact("event"), 10, 64)
	if err != nil || r.Why.Code != why.NotParticipant || !s.lookups.take(time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	d, ok, err := s.core.Departure(ctx, r.Thread, event)
	switch {
	case err != nil || !ok:
	case d.By == r.User:
		r.Why = r.Why.As(why.Left).With("at", why.Time(d.At))
	default:
		// Use the id of the user who removed the other one, because the log of a production server must
		// not contain names of people.
		by := why.User(d.By)
		if s.info.Dev && d.Name != "" {
			by = d.Name
		}
		r.Why = r.Why.As(why.Removed).With("by", by, "at", why.Time(d.At))
	}
}
