package server

import (
	"cmp"
	"context"
	"strings"
	"syscall"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
)

// openLive creates the hub of live connections. serveLive must run for sessions to open.
func (s *Server) openLive(c config.Config, tokens *token.Authority) {
	s.hub = gateway.NewHub(gateway.Options{
		Core: s.core, Store: s.store, Bus: s.bus, Keys: tokens, Now: s.now, Logger: s.log,
		Bounds: gateway.Bounds{Sessions: cmp.Or(c.LiveSessions, sessionsOf(openFiles())), Queues: c.LiveQueue},
	})
	s.metrics.Live(func() metrics.Live { return metrics.Live(s.hub.Stats()) })
	if s.clock != nil {
		s.clock.Wake(s.hub.Judge)
		s.faults.Live(s.cutLive)
	}
}

// cutTime is the longest time that cutLive waits for connections to close.
const cutTime = time.Second

// cutLive ends the live connections that are open now, as if the network had failed, and
// returns their number. It is what the fault of a live socket does.
func (s *Server) cutLive() int {
	ctx, cancel := context.WithTimeout(context.Background(), cutTime)
	defer cancel()
	return s.hub.Cut(ctx)
}

// faultOperations returns the operations to which a fault of a development server can apply.
func faultOperations() []string { return append(rest.Operations(), sse.Operation) }

// serveLive follows the event log for the live connections until ctx is done.
func (s *Server) serveLive(ctx context.Context) { s.hub.Run(ctx) }

// reservedFiles is the number of open files that live connections leave for requests, the
// store and the database.
const reservedFiles = 512

// sessionsOf returns the number of live connections that a limit of open files allows:
// all but reservedFiles, or half of them, whichever is more.
func sessionsOf(files uint64) int {
	return int(max(int64(files)-reservedFiles, int64(files/2)))
}

// openFiles returns the limit of open files of this process. The Go runtime has raised it
// to the hard limit.
func openFiles() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024 // the usual limit
	}
	return min(l.Cur, 1<<20)
}

// liveAccess counts a request of a live protocol and passes it to access. The record of
// the end of a connection is not a request.
func (s *Server) liveAccess(r gateway.Record, access func(rest.Record)) {
	if !strings.HasPrefix(r.Note, sse.Ended) {
		s.metrics.Request(r.Operation, r.Status, r.Duration)
	}
	access(rest.Record{
		Time: r.Time, Duration: r.Duration, Method: r.Method, Path: r.Path, Status: r.Status, Operation: r.Operation,
		User: r.User, Note: r.Note, UserAgent: r.UserAgent, RequestID: r.RequestID,
	})
}
