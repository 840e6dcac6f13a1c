package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
)

// openLive creates the hub, which serves the live connections. Clients can open live sessions only
// while serveLive runs.
func (s *Server) openLive(c config.Config, tokens *token.Authority) {
	sessions := sessionsOf(c.LiveSessions, openFiles())
	if sessions < c.LiveSessions {
		s.log.Warn("live-sessions is more than three quarters of the connections that the limit of open files allows: the rest is left for other requests; raise the limit (LimitNOFILE of the unit, ulimit -n)",
			"live-sessions", c.LiveSessions, "allowed", sessions)
	}
	s.hub = gateway.NewHub(gateway.Options{
		Core: s.core, Store: s.store, Bus: s.bus, Keys: tokens, Now: s.now, Logger: s.log,
		Bounds: gateway.Bounds{Sessions: sessions, Queues: c.LiveQueue},
	})
	s.metrics.Live(func() metrics.Live { return metrics.Live(s.hub.Stats()) })
	if s.clock != nil {
		s.clock.Wake(s.hub.Judge)
		s.faults.Live(s.cutLive)
	}
}

// cutTime is the longest time that cutLive waits for connections to close.
const cutTime = time.Second

// cutLive ends all live connections as if the network had failed, and returns their number. It is
// called when a fault rule for the operation "live socket" is added.
func (s *Server) cutLive() int {
	ctx, cancel := context.WithTimeout(context.Background(), cutTime)
	defer cancel()
	return s.hub.Cut(ctx)
}

// faultOperations returns the names of the operations that a fault rule of a development server
// can name.
func faultOperations() []string { return append(rest.Operations(), limits.LiveOperations()...) }

// Operations returns the names of all operations that the access records for Options.Access can
// have.
func Operations() []string {
	return append(faultOperations(), "probe", "welcome page", "chat page", "dev")
}

// liveHandler returns a handler that serves the requests of the live protocols and GET /, and
// passes other requests to next.
func (s *Server) liveHandler(o Options, tokens *token.Authority, limiter *limits.Limiter, access func(rest.Record), next http.Handler) http.Handler {
	record := func(r gateway.Record) { s.liveAccess(r, access) }
	s.events = sse.New(sse.Options{
		Hub: s.hub, Tokens: tokens, Limiter: limiter, Faults: s.faults, Now: o.Now, Logger: s.log, Access: record,
	})
	s.trouter = trouter.New(trouter.Options{
		Hub: s.hub, Tokens: tokens, Store: s.store, PublicEndpoint: o.Config.PublicEndpoint,
		Polling: !s.info.Database || o.Config.Dev, // allow polling only if no other server shares the database; a development server counts as the only one
		Limiter: limiter, Faults: s.faults, Now: s.now, Logger: s.log, Access: record, Opened: s.liveOpened,
	})
	probe := s.recorded("probe", o.Now, access, http.HandlerFunc(answerProbe))
	welcome := s.recorded("welcome page", o.Now, access, s.welcome(o))
	s.metrics.Official(func() metrics.Official { return metrics.Official(s.trouter.Stats()) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case isEvents(path):
			s.events.ServeHTTP(w, r)
		case s.trouter.Handles(path):
			s.trouter.ServeHTTP(w, r)
		case path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			if wantsHTML(r) {
				welcome.ServeHTTP(w, r)
			} else {
				probe.ServeHTTP(w, r)
			}
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isEvents reports whether a path is the path of the event stream.
func isEvents(path string) bool { return path == sse.Path || path == "/"+sse.Path }

// answerProbe answers GET / with a fixed text. After network failures the official client requests
// this text to check that it reaches a server (docs/contract/realtime.md §14, rule 15).
func answerProbe(w http.ResponseWriter, r *http.Request) {
	gateway.LimitBody(w, r)
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	w.Header().Set("Vary", "Accept, Origin")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Trouter")
}

// serveLive delivers the events of the event log to the live connections until ctx is done. It
// also stores how far the clients of the official protocol have confirmed the events.
func (s *Server) serveLive(ctx context.Context) {
	var storing sync.WaitGroup
	storing.Go(func() { s.trouter.Run(ctx) })
	s.hub.Run(ctx)
	storing.Wait()
}

// drainLive refuses new live connections and ends the open ones.
func (s *Server) drainLive(ctx context.Context) {
	s.trouter.Drain(ctx)
	s.hub.Drain(ctx)
}

// closeLive waits until the live connections that drainLive ended are closed, and stores how far
// their clients have confirmed the events. Call it after the listeners were closed.
func (s *Server) closeLive(ctx context.Context) error {
	s.events.Wait(ctx)
	return s.trouter.Close(ctx)
}

// reservedFiles is the number of open files that are reserved for requests, the store and the
// database, so live connections cannot use them.
const reservedFiles = 512

const (
	usualFiles = 1024    // the assumed limit of open files if the system's limit cannot be read
	maxFiles   = 1 << 20 // the greatest limit of open files that is used; a greater one counts as this one
)

// sessionsOf returns how many live connections may be open at a time, in a process that may open
// the given number of files. The argument wanted is the number in the settings. If wanted is 0,
// the result is files less reservedFiles, or half of files, whichever is more. It is never more
// than three quarters of the connections that the gate accepts, because live connections last long
// and would otherwise leave no room for other requests.
func sessionsOf(wanted int, files uint64) int {
	if wanted == 0 {
		wanted = int(max(int64(files)-reservedFiles, int64(files/2)))
	}
	return min(wanted, max(Connections(files)*3/4, 1))
}

// liveAccess passes the record of a request of a live protocol to access, and counts the request
// in the metrics. It does not count the record of the end of a connection, which is not a
// request.
func (s *Server) liveAccess(r gateway.Record, access func(rest.Record)) {
	if !strings.HasPrefix(r.Note, sse.Ended) {
		s.answered(r.Operation, r.Status, r.Took)
	}
	access(liveRecord(r))
}

// liveOpened adds the request that has opened a socket of the official protocol to the log of the
// newest requests. It is needed because the access record of that request is written only when the
// socket ends.
func (s *Server) liveOpened(r gateway.Record) { s.keep(liveRecord(r)) }

// liveRecord returns the record of a request of a live protocol in the form of package rest.
func liveRecord(r gateway.Record) rest.Record {
	return rest.Record{
		Time: r.Time, Duration: r.Duration, Method: r.Method, Path: r.Path, Status: r.Status, Operation: r.Operation,
		User: r.User, Note: r.Note, Reason: r.Reason, Why: r.Why, Ended: r.Ended, UserAgent: r.UserAgent,
		Client: r.Client, RequestID: r.RequestID, ClientID: r.ClientID,
	}
}
