// Package server starts a server with given settings: it opens the store and the
// listeners and connects the packages that implement the server.
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

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/figures"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/logs"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/record"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/traffic"
	"github.com/confab-chat/confab/sdk/communication"
)

// Limits of an HTTP connection. Package rest sets further limits for each request.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = time.Minute
	maxHeader     = 32 << 10 // greatest size of a request's header in bytes; net/http answers 431 to a larger header

	// answerTimeout is the time for sending the response, after the request's body has arrived, until
	// the write timeout of the connection. Package rest answers a request, or closes its connection,
	// within 20 s after the body has arrived. So the write timeout only ends connections of clients
	// that do not read.
	answerTimeout = 30 * time.Second
)

// sweepInterval is the longest time between two calls of core.Service.Sweep, which deletes expired
// data. A late sweep loses no work, because the store lists the work that is due.
const sweepInterval = time.Second

// Options configures Start.
type Options struct {
	Config   config.Config
	Version  string            // version of Confab, for metrics and backups
	Logger   *slog.Logger      // nil: nothing is logged
	Audit    *slog.Logger      // logger for the records of the operator's requests, with the level info; nil: Logger
	Requests *slog.Logger      // logger for the access log, with the level info; nil: Logger
	Dropped  func() uint64     // returns the number of log lines that were dropped, for the metrics; nil: no metric
	Access   func(rest.Record) // called after each request that Config.AccessLog or LogRequests selects; nil: log one line for each
	// Failed is called for connections that ended before their first request, such as those of
	// clients that do not trust the certificate. It is called at most once a minute for each kind of
	// failure of each client. If Failed is nil, the server logs a line instead.
	Failed func(FailedConnection)
	// Command returns the command line with which the user of this server can run the Confab command
	// name: for "token", for example, "go run ./cmd/confab token --data d". A development server
	// prints such lines as hints. If Command is nil, the lines are "confab" and the name.
	Command func(name string) string
	// Now returns the real time; nil means time.Now. The clock of a development server (Server.Clock)
	// can be ahead of the real time.
	Now func() time.Time
	// NoFiles makes a server without a data folder write no files: it keeps its certificates in
	// memory, and returns the authority's certificate in Info.CA.
	NoFiles bool
	// FS is the file system of the embedded store, unless that store is in memory. nil means the file
	// system of the operating system.
	FS vfs.FS
	// PrimaryKey is called with the new primary access key after the key was replaced. It may be nil.
	PrimaryKey func(communication.AccessKey)
}

// Info describes a running server to its owner. It contains the access key and the operator's
// secret: write it only to a file that nobody else can read, and print it only with --dev.
type Info struct {
	PID           int
	Endpoint      string // URL for clients: the public endpoint if one is set, otherwise LocalEndpoint
	LocalEndpoint string // https URL on this machine
	HTTP          string // URL of the listener without TLS, or empty if that listener is off
	Chat          string // URL of the chat page, or empty if the page is off
	Console       string // URL of the operator's console, or empty if the console is off; with --dev it contains a code with which one person can sign in
	Ops           string // URL of metrics and health checks, or empty if the ops port is off

	AdminSocket string // path of the Unix socket of the operator's API; empty for a server in memory with Options.NoFiles
	Admin       string // URL of the operator's API, or empty if its port is off
	AdminSecret string // bearer token for the URL in Admin, or empty if that is off; the secret is stored nowhere else

	Data      string // the data folder, or config.Memory
	DataState string // state of the data folder: "empty" if it is new, "chats in PostgreSQL", or ""
	Memory    bool   // whether the server keeps its data in memory
	Database  bool   // chats are in PostgreSQL
	Dev       bool   // it is a development server
	Fresh     bool   // the data folder is new
	NewCA     bool   // whether the certificate authority was made at this start, so that no client trusts it yet

	Connections int // greatest number of connections of clients at a time, which follows from the limit of open files

	StoreMemory pebble.MemoryBounds // memory limits of the embedded store; zero with PostgreSQL

	Record string // the folder to which requests and responses are recorded, or empty

	AccessKey string // the primary access key in base64
	// CAFile, BundleFile and TrustStoreFile are files, in different formats, that a client can
	// load to trust the server. They are empty if the server uses the user's own certificate.
	CAFile, BundleFile, TrustStoreFile string
	CertFile                           string // the user's own certificate, or empty
	// CA is the certificate of the local authority in PEM. It is nil unless Options.NoFiles is set.
	CA []byte
}

// Server is a running server. Start makes one.
type Server struct {
	info      Info
	log       *slog.Logger
	requests  slog.Handler // of the access log
	store     core.Store
	bus       core.Bus
	core      *core.Service
	hub       *gateway.Hub
	events    *sse.Handler
	trouter   *trouter.Handler
	keys      *keyring
	metrics   *metrics.Metrics
	figures   *figures.Figures
	limiter   *limits.Limiter
	written   *limits.Written // or nil
	devRoutes http.Handler    // of a development server, or nil
	traffic   *traffic.Log    // the newest requests of clients
	id        string          // random, of this process
	started   time.Time
	ready     atomic.Bool
	db        *watched       // the results of the checks of the database; nil with the embedded store
	servers   []*http.Server // the HTTP servers of all listeners but ops
	ops       *http.Server   // or nil
	clients   *gate          // of the ports for clients
	bodies    *bodies
	broken    *failures         // counts the connections to all ports that ended before their first request
	running   handlers          // of all ports
	access    func(rest.Record) // counts and logs a request, unless a live protocol has answered it
	refused   refusals          // limits the log lines about requests that the listeners for clients refuse
	// strangers counts the requests that the operator's API has refused. Log lines about them have a
	// limit of their own, so that a flood of refused clients on the other ports does not prevent
	// these lines.
	strangers refusals
	// writeTimeout is the longest time from the arrival of a request's header to the end of its
	// response.
	writeTimeout time.Duration
	serving      sync.WaitGroup
	temp         string // path of a temporary folder that release removes, or empty
	certificates func() []certificate
	reloadFiles  func()       // loads the files of tls-cert and tls-key again; nil with a local certificate
	logged       atomic.Value // contains a config.AccessLog, which selects the requests to log
	socketFolder string       // temporary folder of the operator's socket, which release removes, or empty

	stopSweep context.CancelFunc
	sweepNow  chan chan struct{} // asks the sweeper for a sweep; the sweeper closes the sent channel after the sweep
	now       func() time.Time   // clock.Now with --dev, else Options.Now
	clock     *dev.Clock         // with --dev, or nil
	faults    *dev.Faults        // with --dev, or nil
	recorder  *record.Recorder   // with --record, or nil
	lookups   lookups

	failed chan error    // receives the error after which the server cannot continue; holds one error at most
	closed chan struct{} // closed by Close
	once   sync.Once
	err    error // result of Close
}

// Start opens the store, listens on all ports and serves requests. It returns when all listeners
// accept connections. If it fails, it closes everything it opened. The error may be a
// *PortInUseError, a *DataInUseError, an *UnfinishedError, an *IsBackupError, a *NotOursError, a
// *NoParentError, a *CertificateError, or an error of the store with a method Remedy.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	o.Logger = slog.New(logs.NewClip(cmp.Or(o.Logger, slog.New(slog.DiscardHandler)).Handler()))
	o.Audit = slog.New(logs.NewClip(cmp.Or(o.Audit, o.Logger).Handler()))
	o.Requests = slog.New(logs.NewClip(cmp.Or(o.Requests, o.Logger).Handler()))
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{log: o.Logger, requests: o.Requests.Handler(), now: o.Now, id: strings.ToLower(rand.Text()[:12]), started: time.Now(), traffic: traffic.New(traffic.Options{Bodies: o.Config.Dev}), failed: make(chan error, 1), closed: make(chan struct{}), sweepNow: make(chan chan struct{})}
	if o.Config.Dev {
		s.clock, s.faults = dev.NewClock(o.Now), dev.NewFaults(faultOperations())
		s.now = s.clock.Now
	}
	// Open the ports before the store, because opening the store may take long. If a port is in use,
	// Start then fails at once.
	ports, err := listen(o.Config)
	if err != nil {
		return nil, err
	}
	broken := false // whether the store has failed; if so, it must not be closed
	defer func() {
		if err != nil {
			ports.close()
			if !broken {
				err = errors.Join(err, s.release())
			}
		}
	}()
	opened := make(chan error, 1)
	go func() { opened <- s.open(ctx, o) }()
	select {
	case err = <-opened:
	case err = <-s.failed: // stop waiting: the store has failed, so s.open never returns
		broken = true
	}
	if err != nil {
		return nil, err
	}
	tlsConfig, err := s.certificate(o)
	if err != nil {
		return nil, err
	}
	s.metrics.Certificates(s.certificateMetrics(o.Now))
	s.info.LocalEndpoint = ports.https.url("https")
	s.info.Endpoint = cmp.Or(o.Config.PublicEndpoint, s.info.LocalEndpoint)
	s.info.HTTP, s.info.Ops = ports.http.url("http"), ports.ops.url("http")
	s.info.Chat = chatURL(o.Config, s.info)
	handler, err := s.handler(o)
	if err != nil {
		return nil, err
	}
	if handler, err = s.recordTo(o, handler); err != nil {
		return nil, err
	}
	handler = s.metrics.InFlight(handler)
	if !s.info.Memory || !o.NoFiles {
		if ports.socket, err = s.listenSocket(); err != nil {
			return nil, err
		}
		s.info.AdminSocket = ports.socket.Addr().String()
	}
	s.info.PID, s.info.Dev = os.Getpid(), o.Config.Dev
	s.writeTimeout = max(writeTimeout, o.Config.BodyTimeout+answerTimeout)
	s.clients, s.bodies = clientGate(o.Config), newBodies(max(heldBodies, 4*o.Config.MaxBodySize))
	s.info.Connections = s.clients.most
	s.metrics.Connections(s.connectionStats)
	s.broken = s.failuresOf(o)
	for _, kind := range failureKinds {
		s.metrics.Failed(string(kind), func() uint64 { return s.broken.count(kind) })
	}
	s.warnOpen(o.Config)
	if _, shared := s.store.(core.Shared); shared {
		s.db = newWatched(time.Now())
	}
	s.serve(ports.https.listeners, s.clients, limitBody(handler, o.Config.BodyTimeout), tlsConfig)
	s.serve(ports.http.listeners, s.clients, limitBody(handler, o.Config.BodyTimeout), nil)
	if err := s.serveOperator(ports, o, tlsConfig); err != nil {
		return nil, err
	}
	sweeping, stop := context.WithCancel(context.Background())
	s.stopSweep = stop
	s.serving.Go(func() { s.sweep(sweeping) })
	s.serving.Go(func() { s.serveLive(sweeping) })
	s.serving.Go(func() { s.watchCertificates(sweeping, o.Now) })
	if s.clock != nil {
		s.clock.Wake(func() { s.sweepAndWait(sweeping) })
	}
	s.serving.Go(func() { s.figures.Run(sweeping) })
	if s.db != nil {
		s.serving.Go(func() { s.watchDatabase(sweeping) })
	}
	if db, ok := s.store.(*postgres.Store); ok {
		s.serving.Go(func() { s.beat(sweeping, db, o.Version) })
	}
	s.ready.Store(true)
	return s, nil
}

// open opens the store, applies the access keys of the settings, and creates the metrics and the
// core service.
func (s *Server) open(ctx context.Context, o Options) error {
	if err := CheckData(o.Config); err != nil {
		return err
	}
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
	if s.store, err = openStore(ctx, o.Config, storeOptions{logger: s.log, fatal: s.storeFailed, now: s.now, fs: o.FS}); err != nil {
		return err
	}
	if embedded, ok := s.store.(*pebble.Store); ok {
		s.info.StoreMemory = embedded.MemoryBounds()
	}
	if err := reconcileKeys(ctx, s.store, o.Config); err != nil {
		return err
	}
	s.metrics = metrics.New(o.Version, storageOf(s.store))
	if o.Dropped != nil {
		s.metrics.LogDropped(o.Dropped)
	}
	if db, ok := s.store.(*postgres.Store); ok {
		s.metrics.Database(func() metrics.Database { return s.databaseMetrics(db) })
	}
	s.bus = new(local.Bus)
	s.figures = figures.New(s.gauges)
	s.core, err = core.New(ctx, s.store, s.bus, core.Options{
		Now: s.now, Batch: s.committed, Limits: o.Config.Sizes(),
		Adopt: o.Config.ResourceID != "", Grace: &o.Config.DeletionGrace,
		Patience: o.Config.RequestTimeout, ThreadCache: int(o.Config.ThreadCache),
		EventsKept: o.Config.EventsKept, AuditKept: o.Config.AuditKept, HTMLImagesOff: !o.Config.HTMLImages,
		RepeatsByToken: o.Config.RepeatSends == config.RepeatsByToken,
	})
	if err == nil {
		s.metrics.Sweeps(s.sweepCounts)
		s.metrics.Queue(func() metrics.Queue { return metrics.Queue(s.core.Queue()) })
	}
	if !s.info.Memory {
		s.metrics.DataDisk(func() float64 { return freeBytes(o.Config.Data) })
	}
	return err
}

// sweep deletes expired threads and erases deleted users when they are due, until ctx is done.
// It calls core.Service.Sweep when the next work is due, and at least every sweepInterval,
// because other servers that share the store may add work.
func (s *Server) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		next, _ := s.sweepOnce(ctx)
		wait := sweepInterval
		if !next.IsZero() {
			wait = min(max(next.Sub(s.now()), sweepInterval/100), wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case done := <-s.sweepNow:
			s.sweepDue(ctx)
			close(done)
		}
	}
}

// sweepDue calls core.Service.Sweep until no more work is due or a sweep fails. After a failure it
// leaves the rest to later sweeps, so that the caller does not wait for a store that does not
// work.
func (s *Server) sweepDue(ctx context.Context) {
	for ctx.Err() == nil {
		next, err := s.sweepOnce(ctx)
		if err != nil || next.IsZero() || next.After(s.now()) {
			return
		}
	}
}

// sweepOnce calls core.Service.Sweep once. It returns the time at which the next sweep is due, or
// the zero time if no work is known. It logs the error that it returns. Work that failed is tried
// again after a delay, and does not delay other work.
func (s *Server) sweepOnce(ctx context.Context) (next time.Time, err error) {
	next, err = s.core.Sweep(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.Error("sweep what is due", "error", err)
	}
	return next, err
}

// sweepCounts returns, for the metrics, how much work of each kind the sweeps have done.
func (s *Server) sweepCounts() []metrics.Sweep {
	var all []metrics.Sweep
	for k, c := range s.core.SweepCounts() {
		all = append(all, metrics.Sweep{Kind: core.SweepKind(k).String(), Turns: c.Turns, Done: c.Done, Failed: c.Failed, Waiting: c.Waiting})
	}
	return all
}

// sweepAndWait makes the sweeper delete expired threads and erase deleted users now. It returns
// when no more work is due, when a sweep has failed, or when the context is done.
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

// certificate returns the TLS configuration of the https port. If the settings name a certificate,
// it uses that certificate. Otherwise it uses a certificate of a local authority, and sets the
// fields of Info that name the files by which clients can trust the authority.
func (s *Server) certificate(o Options) (*tls.Config, error) {
	if o.Config.TLSCert != "" {
		files, err := openCertFiles(o.Config.TLSCert, o.Config.TLSKey, o.Now, s.log)
		if err != nil {
			return nil, err
		}
		s.info.CertFile, s.certificates, s.reloadFiles = o.Config.TLSCert, files.certificates, files.reload
		return files.tlsConfig(), nil
	}
	if s.info.Memory && o.NoFiles {
		pair, ca, err := localca.Temporary(localca.Options{Names: o.Config.TLSNames, Now: o.Now})
		if err != nil {
			return nil, err
		}
		s.info.NewCA, s.info.CA = true, ca
		s.certificates = func() []certificate { return nil } // return no certificates to check for expiry, because temporary ones are not used after the process ends
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
	}
	dir := cmp.Or(s.temp, TLSFolder(s.info.Data))
	ca, err := localca.Open(dir, localca.Options{Names: o.Config.TLSNames, Now: o.Now, Temporary: s.temp != "", Logger: s.log})
	if err != nil {
		return nil, err
	}
	s.certificates = func() []certificate { return localCertificates(ca) }
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

// TLSFolder returns the folder of the local certificate authority in a data folder.
func TLSFolder(data string) string { return filepath.Join(data, tlsName) }

// handler returns the handler of the API ports. It serves the chat and identity routes, the live
// protocols and, with --dev, the development routes.
func (s *Server) handler(o Options) (http.Handler, error) {
	resource := s.core.Resource()
	tokens, err := token.New(resource, s.core, s.now)
	if err != nil {
		return nil, err
	}
	s.info.AccessKey = tokens.Keys()[0].Text()
	s.openLive(o.Config, tokens)
	s.keys = &keyring{Authority: tokens, store: s.store, config: o.Config, changed: s.keysChanged(o.PrimaryKey), rows: resource.Keys}
	if _, shared := s.store.(core.Shared); shared {
		tokens.Reloads(s.keys.reload)
	}
	s.LogRequests(o.Config.AccessLog)
	access := s.accessOf(o.Access)
	limiter := limits.New(o.Config.Limits, s.now)
	ro := rest.Options{
		Core: s.core, Tokens: tokens, PublicEndpoint: o.Config.PublicEndpoint, Hosts: s.knownHosts(o.Config), Signs: signsTold(o.Config), NamesOrigin: namesOrigin(o.Config),
		Limiter: limiter, AnswerMemory: o.Config.AnswerMemory, MaxBody: o.Config.MaxBodySize, BodyTimeout: o.Config.BodyTimeout, Now: o.Now, Logger: s.log,
		NewerVersions: o.Config.NewerVersions,
		Access: func(r rest.Record) {
			r.Path = withoutSecrets(r.Path)
			if r.Why.Fact("path") != "" {
				r.Why = r.Why.With("path", r.Path)
			}
			s.answered(r.Operation, r.Status, r.Duration)
			access(r)
		},
	}
	s.access, s.limiter = ro.Access, limiter
	if o.Config.Limits == limits.Fair && o.Config.WrittenPerHour > 0 {
		s.written = limits.NewWritten(o.Config.WrittenPerHour, s.now)
		ro.Written = s.written
	}
	if s.faults != nil { // leave the interface nil if s.faults is nil, because a nil *dev.Faults in it would make it non-nil
		ro.Faults = s.faults
	}
	api, err := rest.New(ro)
	if err != nil {
		return nil, err
	}
	public := s.liveHandler(o, tokens, limiter, access, api)
	var visitors *people
	if o.Config.Dev {
		visitors = &people{s: s}
	}
	devHandler := s.devHandler(o.Config, visitors)
	s.devRoutes = devHandler
	if devHandler != nil {
		devHandler = s.recordedDev(o.Now, access, devHandler)
	}
	page := s.recorded("chat page", o.Now, access, s.newChatPage(o, visitors))
	return s.forwarded(o.Config, s.copyBodies(s.guardPages(o.Config, o.Now, withChatPage(o.Config, page, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if devHandler != nil && strings.HasPrefix(r.URL.Path, dev.Prefix) {
			devHandler.ServeHTTP(w, r)
			return
		}
		public.ServeHTTP(w, r)
	}))))), nil
}

// Limits of an HTTP/2 connection. A stream that the client has reset still counts as open until
// its handler returns, so a client cannot start more handlers by resetting streams. The type
// bodies closes a connection with too many abandoned requests, and limits the request bodies of
// all connections together.
const (
	maxStreams    = 128      // greatest number of open streams
	streamWindow  = 64 << 10 // greatest number of bytes of one stream that no handler has read yet
	receiveWindow = 1 << 20  // greatest number of unread bytes of all streams
)

// serve starts an HTTP server on the listeners, with TLS if config is not nil. The gate counts the
// connections of the listeners. serve does nothing if listeners is empty.
func (s *Server) serve(listeners []net.Listener, gate *gate, handler http.Handler, config *tls.Config) {
	if len(listeners) > 0 {
		srv := s.newServer(gate, handler, config)
		s.servers = append(s.servers, srv)
		s.serveOn(srv, gate, listeners)
	}
}

// newServer returns an HTTP server with limits for its connections. The server uses TLS if config
// is not nil. The gate counts the server's connections.
func (s *Server) newServer(gate *gate, handler http.Handler, config *tls.Config) *http.Server {
	if config != nil {
		// Small TLS records would reach the client sooner, but would cost more CPU on a busy stream.
		config.DynamicRecordSizingDisabled = true
	}
	return &http.Server{
		Handler: s.running.track(s.bodies.limit(handler)), TLSConfig: config, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: s.writeTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: receiveWindow,
			WriteByteTimeout: answerTimeout, SendPingTimeout: idleTimeout, PingTimeout: answerTimeout,
		},
		ConnState: func(conn net.Conn, now http.ConnState) {
			gate.state(conn, now)
			s.broken.state(conn, now)
		},
		ConnContext: withCarrier,
		// Log the messages of net/http about failed handshakes only at debug level: s.broken
		// logs failed handshakes more clearly.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serveOn serves requests on the listeners with srv. The gate counts the connections.
func (s *Server) serveOn(srv *http.Server, gate *gate, listeners []net.Listener) {
	secure := srv.TLSConfig != nil // read TLSConfig before Serve is called, because Serve sets it even for a server without TLS
	for _, l := range listeners {
		l = gate.listener(l)
		s.serving.Go(func() {
			run := srv.Serve
			if secure {
				run = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
			}
			if err := run(l); !errors.Is(err, http.ErrServerClosed) {
				s.stop(fmt.Errorf("serve on %s: %w", l.Addr(), err))
			}
		})
	}
}

// Info returns the addresses, the access key and the trust files of the server.
func (s *Server) Info() Info { return s.info }

// Wait blocks until the server is closed and returns nil, or until it fails and returns
// the error. After an error the process should exit without calling Close.
func (s *Server) Wait() error {
	select {
	case err := <-s.failed:
		return err
	case <-s.closed:
		return nil
	}
}

// stop makes Wait return err. Calls after the first have no effect.
func (s *Server) stop(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// storeFailed makes Wait return err. The store calls storeFailed when writes can no longer be made
// durable. storeFailed never returns, so requests that wait for the store get no response.
func (s *Server) storeFailed(err error) {
	s.log.Error("the store failed", "error", err)
	s.stop(fmt.Errorf("the store failed: %w", err))
	select {}
}

// StoreFails reports whether the embedded store cannot write its tables. If so, new writes are
// refused, and writes in progress may wait for ever.
func (s *Server) StoreFails() bool {
	embedded, ok := s.store.(*pebble.Store)
	return ok && embedded.Failing()
}

// ReloadCertificate loads the files of tls-cert and tls-key again, even if they seem unchanged. If
// the new files cannot be used, the server keeps the old certificate and logs the reason.
// ReloadCertificate does nothing if the settings do not name the files, because a local
// certificate needs no reload.
func (s *Server) ReloadCertificate() {
	if s.reloadFiles != nil {
		s.reloadFiles()
	}
}

// LogRequests sets which requests are logged from now on, instead of Config.AccessLog.
func (s *Server) LogRequests(which config.AccessLog) { s.logged.Store(which) }

// Drain makes the readiness check (/readyz) fail from now on, and returns at once. Load balancers
// then send new clients to other servers. This server continues to serve all requests until Close.
func (s *Server) Drain() { s.ready.Store(false) }

// cutTimeout is the time that handlers have to return after Close has closed their connections. It
// is less than the time that cmd/confab waits for the store after its --shutdown-timeout.
const cutTimeout = 1500 * time.Millisecond

// Close stops accepting connections, waits for running requests until ctx is done, and closes the
// store when the last handler has returned. It fails if it closed connections with running
// requests, or if the store could not be closed. If a handler has not returned cutTimeout after
// ctx was done, Close fails and leaves the store open until the handler returns; the process
// should then exit. Further calls return the same error.
func (s *Server) Close(ctx context.Context) error {
	s.once.Do(func() {
		s.Drain()
		if s.faults != nil {
			s.faults.Close()
		}
		s.drainLive(ctx)
		errs := s.shutDown(ctx)
		goodbye := make(chan error, 1)
		go func() { goodbye <- s.shutDownOps() }() // run concurrently with the following steps, which take up to cutTimeout
		if err := s.closeLive(ctx); err != nil {
			errs = append(errs, fmt.Errorf("store the endpoints of live clients: %w", err))
		}
		s.stopSweep()
		s.serving.Wait()
		if n := s.running.end(cutTimeout); n > 0 {
			err := fmt.Errorf("%d requests do not end, so the store is not closed", n)
			s.log.Error("stop", "error", err)
			errs = append(errs, err, <-goodbye)
			go func() {
				<-s.running.none
				s.release()
			}()
		} else {
			errs = append(errs, <-goodbye, s.release())
		}
		s.err = errors.Join(errs...)
		close(s.closed)
	})
	return s.err
}

// opsGoodbye is the longest time that Close waits for requests to the ops port after all other
// requests have ended. It is less than cutTimeout.
const opsGoodbye = time.Second

// shutDown closes all listeners except those of the ops port, and waits for running requests until
// ctx is done. It closes the listeners concurrently, so that a slow request at one listener does
// not keep another one open. The ops port stays open to report that the server is alive and not
// ready.
func (s *Server) shutDown(ctx context.Context) []error {
	errs := make([]error, len(s.servers))
	var closing sync.WaitGroup
	for i, srv := range s.servers {
		closing.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				errs[i] = errors.Join(fmt.Errorf("requests were cut off: %w", err), srv.Close())
			}
		})
	}
	closing.Wait()
	return errs
}

// shutDownOps closes the ops port, and waits for its requests for at most opsGoodbye.
func (s *Server) shutDownOps() error {
	ctx, cancel := context.WithTimeout(context.Background(), opsGoodbye)
	defer cancel()
	if s.ops.Shutdown(ctx) != nil {
		return s.ops.Close()
	}
	return nil
}

// release closes the core service and the store and removes the server's temporary
// folders.
func (s *Server) release() error {
	var errs []error
	if s.recorder != nil {
		errs = append(errs, s.recorder.Close())
	}
	if s.core != nil {
		s.core.Close()
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	for _, dir := range []string{s.temp, s.socketFolder} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// newGUID returns a random UUID of version 4.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
