package chattest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

// patience is how long a server that is closed waits for requests in progress.
const patience = 5 * time.Second

// Options of a server; the zero value is the default.
type Options struct {
	// Limits is "fair", the default, which no test of ordinary size meets;
	// "azure", the ceilings of the real service and its 429s; or "off".
	Limits string
	// DeletionGrace is how long a deleted user's tokens may still delete threads
	// and leave them, before its content goes. Zero is 30 seconds.
	DeletionGrace time.Duration
	// Log writes a line for every request, and the server's own words, to the
	// log of the test, which `go test -v` shows, and a test that fails.
	Log bool
}

// Server is a running server. Its methods are safe for concurrent use; those
// that fail end the test with t.Fatal, and so belong into the test's goroutine.
type Server struct {
	// Clock is the server's clock, which goes forward when the test says so.
	Clock *Clock
	// Faults are what goes wrong when the test says so.
	Faults *Faults

	t      failer
	server *server.Server
	client *http.Client
	roots  *x509.CertPool
}

// failer is what is needed of a test.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// NewServer starts a server for the test and closes it when the test and all
// its subtests have ended. It keeps everything in memory, writes no file and
// listens on a free port of 127.0.0.1, so any number may run side by side, in
// parallel tests too. At most one Options may be given; none, or nil, is the
// default.
func NewServer(t testing.TB, options ...*Options) *Server {
	t.Helper()
	o, err := one(options)
	if err != nil {
		t.Fatalf("chattest: start a server: %v", err)
	}
	so := server.Options{Access: func(rest.Record) {}}
	lines := &testLog{t: t}
	if o.Log {
		so.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
		so.Access = nil // a line of the log
	}
	s, err := start(o, so)
	if err != nil {
		t.Fatalf("chattest: start a server: %v", err)
	}
	t.Cleanup(func() {
		err := s.close()
		lines.end()
		if err != nil {
			t.Errorf("chattest: close the server: %v", err)
		}
	})
	return s.of(t)
}

func one(options []*Options) (Options, error) {
	switch {
	case len(options) > 1:
		return Options{}, fmt.Errorf("there are %d Options, and one at most counts", len(options))
	case len(options) == 0 || options[0] == nil:
		return Options{}, nil
	}
	return *options[0], nil
}

// start starts a server that belongs to no test yet.
func start(o Options, so server.Options) (*Server, error) {
	settings := map[string]string{
		"dev": "true", "data": config.Memory, "listen": "127.0.0.1:0", "listen-http": "off", "listen-ops": "off",
	}
	if o.Limits != "" {
		settings["limits"] = o.Limits
	}
	if o.DeletionGrace != 0 {
		settings["deletion-grace"] = o.DeletionGrace.String()
	}
	// No environment and no confab.yaml: a test meets the same server everywhere.
	cfg, err := config.Load(config.Input{Defaults: settings})
	var wrong *config.Error
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("%w: %s", wrong, wrong.Next)
	}
	if err != nil {
		return nil, err
	}
	so.Config, so.Version, so.NoFiles = cfg, "chattest", true
	srv, err := server.Start(context.Background(), so)
	if err != nil {
		return nil, err
	}
	s := &Server{server: srv, roots: x509.NewCertPool()}
	if !s.roots.AppendCertsFromPEM(srv.Info().CA) {
		return nil, fmt.Errorf("the server's authority is no certificate")
	}
	s.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true, // and no proxy
	}}
	return s, nil
}

func (s *Server) close() error {
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.server.Close(ctx)
	s.client.CloseIdleConnections() // of requests that ended meanwhile
	return err
}

// of is the server with its failures told to a test.
func (s *Server) of(t failer) *Server {
	own := *s
	own.t = t
	own.Clock = &Clock{t: t, clock: s.server.Clock()}
	own.Faults = &Faults{t: t, faults: s.server.Faults()}
	return &own
}

// Endpoint is the address for clients, such as "https://127.0.0.1:43121".
func (s *Server) Endpoint() string { return s.server.Info().Endpoint }

// ConnectionString is the endpoint and an access key, as a portal would show
// them: for identity clients. The key is public knowledge.
func (s *Server) ConnectionString() string {
	i := s.server.Info()
	return clientenv.Server{Endpoint: i.Endpoint, AccessKey: i.AccessKey}.ConnectionString()
}

// Client is an HTTP client that trusts the server. It is a policy.Transporter
// of azcore too, and so the Transport of any SDK's client that is built on it.
func (s *Server) Client() *http.Client { return s.client }

// CA is the certificate of the authority that signed the server's, in PEM: for
// code under test that takes its roots from a file or a pool of its own.
func (s *Server) CA() []byte { return append([]byte(nil), s.server.Info().CA...) }

// Requests is how many requests the server got for an operation, or for all of
// them if it is empty: those that were refused or dropped too. It tells how
// often the code under test tries again. Names are those of Fault.Operation.
func (s *Server) Requests(operation string) int {
	s.t.Helper()
	if err := s.server.Faults().Known(operation); err != nil {
		s.t.Fatalf("chattest: count requests: %v", err)
	}
	n := 0
	for o, count := range s.server.Faults().Requests() {
		if operation == "" || o == operation {
			n += count
		}
	}
	return n
}

// testLog writes lines to a test's log, until the test has ended.
type testLog struct {
	t testing.TB

	mu    sync.Mutex // guards ended, and the end against lines under way
	ended bool
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return len(line), nil
	}
	return l.t.Output().Write(line)
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// withoutTime leaves the time out of log lines: a test has little of it.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
