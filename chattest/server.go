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

// patience is the longest time that the method close waits for active requests to end.
const patience = 5 * time.Second

// Options are the optional settings of a Server. The zero value selects the defaults.
type Options struct {
	// Limits selects the rate limits: "fair", the default, which ordinary tests do not reach;
	// "azure", the limits of the real service, above which the server answers 429; or "off".
	Limits string
	// DeletionGrace is the time between the deletion of a user and the erasure of its data. Until
	// then the user's tokens can still leave threads and delete threads. 0 means 30 seconds.
	DeletionGrace time.Duration
	// Log writes a line for every request, and the log of the server, to the log of the test, which
	// `go test -v` and failed tests show.
	Log bool
}

// Server is a running server. Its methods are safe for concurrent use. Methods that fail call
// t.Fatal, so call them in the goroutine of the test.
type Server struct {
	// Clock is the server's clock, which the test can move forward.
	Clock *Clock
	// Faults is the list of faults that the server applies to requests. Tests add to it.
	Faults *Faults

	t      failer
	server *server.Server
	client *http.Client
	roots  *x509.CertPool
}

// failer is the part of testing.TB that this package uses to fail a test.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// NewServer starts a server for the test and closes it when the test and all its subtests have
// ended. It keeps all data in memory, writes no file and listens on a free port of 127.0.0.1, so
// any number of servers can run in parallel. At most one Options may be given; none or nil selects
// the defaults. It fails the test if the server cannot be started.
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
		so.Access = nil // if the option Access is nil, the server writes requests to its log
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

// start starts a server. o holds the options that the test chose, and so holds further options of
// package server. The caller binds the server to a test with the method of.
func start(o Options, so server.Options) (*Server, error) {
	settings := map[string]string{
		"dev": "true", "data": config.Memory, "listen": "127.0.0.1:0", "listen-http": "off", "listen-ops": "off", "listen-admin": "off",
	}
	if o.Limits != "" {
		settings["limits"] = o.Limits
	}
	if o.DeletionGrace != 0 {
		settings["deletion-grace"] = o.DeletionGrace.String()
	}
	// Load only the settings of this function, and not the environment and confab.yaml, so that a
	// test gets the same server everywhere.
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
		TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true, // uses no proxy
	}}
	return s, nil
}

func (s *Server) close() error {
	s.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.server.Close(ctx)
	s.client.CloseIdleConnections() // close idle connections again, because requests that ended during Close have left idle connections
	return err
}

// of returns a copy of s for the test t. When a method of the copy, of its Clock or of its Faults
// fails, it fails the test t.
func (s *Server) of(t failer) *Server {
	own := *s
	own.t = t
	own.Clock = &Clock{t: t, clock: s.server.Clock()}
	own.Faults = &Faults{t: t, faults: s.server.Faults()}
	return &own
}

// Endpoint returns the address for clients, such as "https://127.0.0.1:43121".
func (s *Server) Endpoint() string { return s.server.Info().Endpoint }

// ConnectionString returns the endpoint and an access key, as a portal shows them, for identity
// clients. The key is the same for all development servers and not secret.
func (s *Server) ConnectionString() string {
	i := s.server.Info()
	return clientenv.Server{Endpoint: i.Endpoint, AccessKey: i.AccessKey}.ConnectionString()
}

// Client returns an HTTP client that trusts the server. It implements azcore's policy.Transporter,
// so it can be the Transport of every SDK client that is based on azcore.
func (s *Server) Client() *http.Client { return s.client }

// CA returns the certificate of the authority that signed the server's certificate, in PEM, for
// code under test that needs a file or a pool of certificates.
func (s *Server) CA() []byte { return append([]byte(nil), s.server.Info().CA...) }

// Requests returns how many requests for an operation the server received. If operation is "", it
// counts the requests of all operations. Requests that the server refused, or whose connection a
// fault closed, count too. Tests use it to check how often code retries. Requests fails the test if
// operation is not one of the names that Fault.Operation lists.
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

// testLog writes lines to the log of a test, and discards them after the test has ended.
type testLog struct {
	t testing.TB

	mu    sync.Mutex // guards the field ended, and makes the method end wait for active writes
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

// withoutTime removes the time from each line of a log. It is a ReplaceAttr function for log/slog.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
