// Package server builds a running server from settings. It is the composition root,
// which imports all the parts.
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// Limits of a connection, beside those of a request in package rest.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = time.Minute
	maxHeader     = 32 << 10 // bytes; net/http answers 431 beyond
)

// sweepInterval is the longest time between two sweeps. The work that is due is in the
// store, so it may be late but is not lost.
const sweepInterval = time.Second

// Options of Start.
type Options struct {
	Config  config.Config
	Version string
	Logger  *slog.Logger      // nil is silence
	Access  func(rest.Record) // nil: a log line per request
	// Now is the real clock, time.Now. A development server's domain has one
	// that can be ahead of it: Server.Clock.
	Now func() time.Time
	// NoFiles keeps the certificates of a server without a data folder in memory:
	// clients find the authority in Info.CA, and no file is written.
	NoFiles bool
	// PrimaryKey is called with the new primary access key after a rotation.
	PrimaryKey func(communication.AccessKey)
}

// Info describes a running server to its owner. It holds the access key: show it only
// in a file that nobody else can read, and on the terminal only with --dev.
type Info struct {
	PID           int
	Endpoint      string // for clients: the public one, or LocalEndpoint
	LocalEndpoint string // https, on this machine
	HTTP          string // plain http, or empty
	Ops           string // metrics and health, or empty

	Data      string // the folder, or config.Memory
	DataState string // what is in it, in a word; empty when it is not known
	Memory    bool
	Database  bool // chats are in PostgreSQL
	Dev       bool
	Fresh     bool // the data folder is new
	NewCA     bool // the certificate authority is new: no client trusts it yet

	AccessKey string
	// What clients trust, in files; empty with a certificate of the user's own.
	CAFile, BundleFile, TrustStoreFile string
	CertFile                           string // the user's own certificate, or empty
	// CA is the authority's certificate in PEM, with Options.NoFiles.
	CA []byte
}

// Server is a running server.
type Server struct {
	info    Info
	log     *slog.Logger
	store   core.Store
	core    *core.Service
	keys    *keyring
	metrics *metrics.Metrics
	ready   atomic.Bool
	servers []*http.Server
	serving sync.WaitGroup
	temp    string // a folder to remove at the end, or empty

	stopSweep context.CancelFunc
	sweepNow  chan chan struct{} // asks the sweeper to sweep and to close the channel then
	now       func() time.Time   // the domain's clock
	clock     *dev.Clock         // with --dev, or nil
	faults    *dev.Faults        // with --dev, or nil

	failed chan error // of capacity 1: why the server cannot go on
	closed chan struct{}
	once   sync.Once
	err    error // of Close
}

// Start opens the store, listens and serves. It returns when every listener
// accepts, or with an error after undoing what it did: *PortInUseError and
// *DataInUseError are for the caller to word.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{log: o.Logger, now: o.Now, failed: make(chan error, 1), closed: make(chan struct{}), sweepNow: make(chan chan struct{})}
	if o.Config.Dev {
		s.clock, s.faults = dev.NewClock(o.Now), dev.NewFaults(rest.Operations())
		s.now = s.clock.Now
	}
	// Ports first: they are quick to try and the store is not.
	ports, err := listen(o.Config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ports.close()
			err = errors.Join(err, s.release())
		}
	}()
	if err := s.open(ctx, o); err != nil {
		return nil, err
	}
	tlsConfig, err := s.certificate(o)
	if err != nil {
		return nil, err
	}
	handler, err := s.handler(o)
	if err != nil {
		return nil, err
	}
	s.info.PID, s.info.Dev = os.Getpid(), o.Config.Dev
	s.info.LocalEndpoint = ports.https.url("https")
	s.info.Endpoint = cmp.Or(o.Config.PublicEndpoint, s.info.LocalEndpoint)
	s.info.HTTP, s.info.Ops = ports.http.url("http"), ports.ops.url("http")
	s.serve(ports.https, handler, tlsConfig)
	s.serve(ports.http, handler, nil)
	s.serve(ports.ops, s.opsHandler(), nil)
	sweeping, stop := context.WithCancel(context.Background())
	s.stopSweep = stop
	s.serving.Go(func() { s.sweep(sweeping) })
	if s.clock != nil {
		s.clock.Wake(func() { s.sweepAndWait(sweeping) })
	}
	if _, shared := s.store.(core.Shared); shared {
		s.serving.Go(func() { s.watchKeys(sweeping) })
	}
	s.ready.Store(true)
	return s, nil
}

// open opens the store and starts core on it.
func (s *Server) open(ctx context.Context, o Options) error {
	s.info.Data, s.info.Memory = o.Config.Data, o.Config.InMemory()
	if s.info.Memory && !o.NoFiles {
		temp, err := os.MkdirTemp("", "confab-")
		if err != nil {
			return fmt.Errorf("make a folder for the certificates: %w", err)
		}
		s.temp = temp
	}
	switch {
	case o.Config.Database != "":
		s.info.DataState, s.info.Database = "chats in PostgreSQL", true
	case !hasStore(o.Config):
		s.info.DataState, s.info.Fresh = "empty", true
	}
	var err error
	if s.store, err = openStore(ctx, o.Config, storeOptions{logger: s.log, fatal: s.storeFailed, now: s.now}); err != nil {
		return err
	}
	if err := reconcileKeys(ctx, s.store, o.Config); err != nil {
		return err
	}
	s.metrics = metrics.New(o.Version, storageOf(s.store))
	s.core, err = core.New(ctx, s.store, new(local.Bus), core.Options{
		Now: s.now, Batch: s.metrics.Batch, Limits: o.Config.Limits.Sizes(),
		Adopt: o.Config.ResourceID != "", Grace: o.Config.DeletionGrace,
		Patience: o.Config.RequestTimeout, ThreadCache: int(o.Config.ThreadCache),
	})
	return err
}

// sweep ends threads and erases deleted users when they are due. It wakes up when the
// next one is due, and at least every sweepInterval, for the rows of other servers.
func (s *Server) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		next := s.sweepOnce(ctx)
		wait := sweepInterval
		if !next.IsZero() {
			wait = min(max(next.Sub(s.now()), sweepInterval/100), wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case done := <-s.sweepNow:
			for next := s.now(); !next.IsZero() && !next.After(s.now()) && ctx.Err() == nil; {
				next = s.sweepOnce(ctx)
			}
			close(done)
		}
	}
}

// sweepOnce returns when the next is due, or the zero time when nothing is or it
// failed.
func (s *Server) sweepOnce(ctx context.Context) (next time.Time) {
	next, err := s.core.Sweep(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.Error("sweep what is due", "error", err)
		return time.Time{}
	}
	return next
}

// sweepAndWait makes the sweeper read the clock again, and returns when all that is due
// by now is done.
func (s *Server) sweepAndWait(sweeping context.Context) {
	done := make(chan struct{})
	select {
	case <-sweeping.Done():
		return
	case s.sweepNow <- done:
	}
	select {
	case <-sweeping.Done():
	case <-done:
	}
}

// certificate returns the configuration for https, and writes the files that clients
// trust.
func (s *Server) certificate(o Options) (*tls.Config, error) {
	if o.Config.TLSCert != "" {
		files, err := openCertFiles(o.Config.TLSCert, o.Config.TLSKey, o.Now, s.log)
		if err != nil {
			return nil, err
		}
		s.info.CertFile = o.Config.TLSCert
		return files.tlsConfig(), nil
	}
	if s.info.Memory && o.NoFiles {
		pair, ca, err := localca.Temporary(localca.Options{Names: o.Config.TLSNames, Now: o.Now})
		if err != nil {
			return nil, err
		}
		s.info.NewCA, s.info.CA = true, ca
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
	}
	dir := cmp.Or(s.temp, TLSFolder(s.info.Data))
	ca, err := localca.Open(dir, localca.Options{Names: o.Config.TLSNames, Now: o.Now, Temporary: s.temp != "", Logger: s.log})
	if err != nil {
		return nil, err
	}
	trust, err := ca.WriteTrust()
	if err != nil {
		return nil, err
	}
	if trust.SystemRoots == "" {
		s.log.Warn("no file with the system's roots was found: clients that use ours trust this server alone")
	}
	s.info.NewCA = ca.Fresh()
	s.info.CAFile, s.info.BundleFile, s.info.TrustStoreFile = trust.CAFile, trust.BundleFile, trust.TrustStoreFile
	return ca.TLSConfig(), nil
}

// TLSFolder returns the folder of a data folder's local authority.
func TLSFolder(data string) string { return filepath.Join(data, "tls") }

func (s *Server) handler(o Options) (http.Handler, error) {
	resource := s.core.Resource()
	tokens, err := token.New(resource, s.core, s.now)
	if err != nil {
		return nil, err
	}
	s.info.AccessKey = tokens.Keys()[0].Text()
	s.keys = &keyring{Authority: tokens, store: s.store, config: o.Config, changed: o.PrimaryKey, rows: resource.Keys}
	access := o.Access
	if access == nil {
		access = s.logAccess
	}
	ro := rest.Options{
		Core: s.core, Tokens: tokens, PublicEndpoint: o.Config.PublicEndpoint,
		Limiter: limits.New(o.Config.Limits, s.now), MaxBody: o.Config.MaxBodySize, BodyTimeout: o.Config.BodyTimeout, Now: o.Now, Logger: s.log,
		Access: func(r rest.Record) {
			s.metrics.Request(r.Operation, r.Status, r.Duration)
			access(r)
		},
	}
	if s.faults != nil { // not a Faults that holds a nil pointer
		ro.Faults = s.faults
	}
	api, err := rest.New(ro)
	if err != nil {
		return nil, err
	}
	adminHandler := admin.New(admin.Options{Core: s.core, Keys: s.keys, Backup: s.backup(o.Version), Now: o.Now, Logger: s.log})
	devHandler := s.devHandler(o.Config)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, admin.Prefix):
			adminHandler.ServeHTTP(w, r)
		case devHandler != nil && strings.HasPrefix(r.URL.Path, dev.Prefix):
			devHandler.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	}), nil
}

// logAccess logs one line per request.
func (s *Server) logAccess(r rest.Record) {
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.Int("status", r.Status), slog.String("operation", r.Operation),
		slog.Float64("ms", float64(r.Duration.Microseconds())/1000),
		slog.String("method", r.Method), slog.String("path", r.Path),
		slog.String("thread", r.Thread), slog.String("user", r.User), slog.String("note", r.Note),
		slog.String("agent", r.UserAgent), slog.String("request", r.RequestID))
}

// serve serves on all listeners of a port. A port that is off has none.
func (s *Server) serve(p port, handler http.Handler, config *tls.Config) {
	if len(p.listeners) == 0 {
		return
	}
	srv := &http.Server{
		Handler: handler, TLSConfig: config, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		// Handshakes that clients break off are no errors of the server.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.servers = append(s.servers, srv)
	for _, l := range p.listeners {
		s.serving.Go(func() {
			run := srv.Serve
			if config != nil {
				run = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
			}
			if err := run(l); !errors.Is(err, http.ErrServerClosed) {
				s.stop(fmt.Errorf("serve on %s: %w", l.Addr(), err))
			}
		})
	}
}

// Info returns where the server is and how to trust it.
func (s *Server) Info() Info { return s.info }

// Wait returns nil after Close, or the error for which the server cannot continue; the
// process should then end without Close.
func (s *Server) Wait() error {
	select {
	case err := <-s.failed:
		return err
	case <-s.closed:
		return nil
	}
}

// stop makes Wait return err.
func (s *Server) stop(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// storeFailed is called by the store when it cannot promise durability any more. It does
// not return: requests that wait for the store must get no response.
func (s *Server) storeFailed(err error) {
	s.log.Error("the store failed", "error", err)
	s.stop(fmt.Errorf("the store failed: %w", err))
	select {}
}

// Close stops accepting, finishes what was accepted within the context's time,
// and closes the store. It may be called more than once.
func (s *Server) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.ready.Store(false)
		if s.faults != nil {
			s.faults.Close()
		}
		var errs []error
		for _, srv := range s.servers {
			if err := srv.Shutdown(ctx); err != nil {
				errs = append(errs, fmt.Errorf("requests were cut off: %w", err), srv.Close())
			}
		}
		s.stopSweep()
		s.serving.Wait()
		s.err = errors.Join(errors.Join(errs...), s.release())
		close(s.closed)
	})
	return s.err
}

// release undoes open.
func (s *Server) release() error {
	var errs []error
	if s.core != nil {
		s.core.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.temp != "" {
		errs = append(errs, os.RemoveAll(s.temp))
	}
	return errors.Join(errs...)
}

func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
