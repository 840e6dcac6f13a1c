package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/figures"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/web"
)

// serveOperator serves the operator's API and the console on the operator's socket and port, and
// metrics and health checks on the ops port. The argument config is the TLS configuration of the
// https port; the operator's port uses it if other machines can reach that port.
func (s *Server) serveOperator(ports ports, o Options, config *tls.Config) error {
	timeout := min(operatorBodyTime, o.Config.BodyTimeout)
	gate := newGate(operatorConnections, 0, nil)
	secure := o.Config.ListenAdmin != "" && !loopbackOnly(o.Config.ListenAdmin)
	scheme := "http"
	if secure {
		scheme = "https"
	}
	s.info.Admin = ports.admin.url(scheme)
	door := admin.New(s.operatorOptions(o))
	if ports.socket != nil {
		srv := s.newServer(gate, limitBody(s.besideReady(door.Socket()), timeout), nil)
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return admin.ConnContext(withCarrier(ctx, c), c)
		}
		srv.RegisterOnShutdown(door.Stop)
		s.servers = append(s.servers, srv)
		s.serveOn(srv, gate, []net.Listener{ports.socket})
	}
	if s.info.Admin != "" {
		s.info.AdminSecret = rand.Text()
		d := admin.Door{Secret: s.info.AdminSecret, Viewer: o.Config.ViewerSecret, TLS: secure, Names: ownNames(o.Config)}
		s.info.Console = s.info.Admin + "/"
		if o.Config.Dev {
			code, err := door.NewCode()
			if err != nil {
				return err
			}
			s.info.Console = admin.ConsoleURL(s.info.Admin, code)
		}
		if !secure {
			config = nil
		}
		s.serve(ports.admin.listeners, gate, limitBody(door.TCP(d), timeout), config)
		s.servers[len(s.servers)-1].RegisterOnShutdown(door.Stop)
	}
	s.ops = s.newServer(gate, limitBody(s.guardPages(o.Config, o.Now, s.opsHandler(o.Config, o.Now)), timeout), nil)
	s.serveOn(s.ops, gate, ports.ops.listeners)
	return nil
}

// loopbackOnly reports whether an address can be reached only from this machine.
func loopbackOnly(address string) bool { return config.Loopback(address) }

// operatorOptions returns the options of the operator's API.
func (s *Server) operatorOptions(o Options) admin.Options {
	storage := "embedded"
	if s.info.Database {
		storage = "postgres"
	}
	return admin.Options{
		Core: s.core, Keys: s.keys, MakeBackup: s.backup(o.Version), IssueToken: s.IssueToken,
		Connections: s.userConnections, Requests: s.traffic, Figures: s.figures,
		State:  func(ctx context.Context) (admin.State, error) { return s.state(ctx, o, storage) },
		Limits: func() admin.Limits { return s.limits(o.Config) }, Settings: o.Config.Explain(),
		Server: admin.About{
			Version: o.Version, Dev: o.Config.Dev, Endpoint: s.info.Endpoint, HTTP: s.info.HTTP, Storage: storage, Data: s.info.Data,
			Started: admin.Stamp(s.started), Admin: func() string { return s.info.Admin },
		},
		Now: s.now, Dev: s.devRoutes, Send: s.sendAgain, Console: console(web.NewPages(web.Console())),
		ReadsMessages: o.Config.AdminReadsMessages, Logger: s.log, Audit: o.Audit,
		MayLog: func(status int) bool { return s.strangers.mayLog(o.Audit, status, time.Now()) },
	}
}

// consolePolicy is the Content-Security-Policy of the console. It forbids the console to load
// anything from other servers, and forbids other pages to show the console in a frame.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// console serves the console's page and its files. It does not require authentication, because the
// files are public and the same for everybody.
func console(pages *web.Pages) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		switch {
		case r.URL.Path == "/":
			pages.Index(w, r, consolePolicy)
		case strings.HasPrefix(r.URL.Path, "/assets/console/"):
			pages.Asset(w, r)
		default:
			http.Error(w, "there is nothing at this path: the console is at /", http.StatusNotFound)
		}
	})
}

// answered counts a request of a client in the metrics and figures.
func (s *Server) answered(operation string, status int, took time.Duration) {
	s.metrics.Request(operation, status, took)
	s.figures.Request(operation, status, took)
}

// committed counts a commit of the store in the metrics and figures.
func (s *Server) committed(changes int, took time.Duration) {
	s.metrics.Batch(changes, took)
	s.figures.Batch(took)
}

// gauges returns the numbers that the console shows and that are read once a second.
func (s *Server) gauges() (g figures.Gauges) {
	return figures.Gauges{Connections: s.connectionStats().Open, Live: s.hub.Stats().Sessions}
}

// userConnections returns the live connections of a user to this server.
func (s *Server) userConnections(user string) (all []admin.Connection) {
	for _, c := range s.hub.Connections(user) {
		all = append(all, admin.Connection{Protocol: c.Protocol.String(), From: c.From, Since: admin.Stamp(c.Since), Agent: c.Agent, Waiting: c.Waiting})
	}
	return all
}

// state returns the present state of the server, which the overview page of the console shows.
func (s *Server) state(ctx context.Context, o Options, storage string) (st admin.State, err error) {
	tip, err := s.core.LogEnd(ctx)
	if err != nil {
		return st, err
	}
	st.Storage = admin.Storage{Kind: storage, Position: tip.Position}
	st.Problems = []string{}
	problem := func(format string, args ...any) { st.Problems = append(st.Problems, fmt.Sprintf(format, args...)) }
	if of := storageOf(s.store); of != nil {
		figures := of()
		st.Storage.Bytes, st.Storage.Free = int64(figures.DiskBytes), int64(figures.FreeBytes)
		if figures.BelowFloor > 0 {
			problem("writes are refused: the disk of the store has only %d bytes left, or the store cannot write", int64(figures.FreeBytes))
		}
	} else if !s.info.Memory {
		st.Storage.Free = int64(freeBytes(o.Config.Data))
	}
	if st.Servers, err = s.storeServers(ctx, o.Version); err != nil {
		return st, err
	}
	c := s.connectionStats()
	st.Connections = admin.Open{Open: c.Open, Most: c.Most, Live: s.hub.Stats().Sessions}
	if c.Most > 0 && c.Open >= c.Most*9/10 {
		problem("%d of %d connections are open: raise the limit of open files", c.Open, c.Most)
	}
	why := s.unready()
	if st.Ready = why == ""; !st.Ready {
		problem("not ready: %s", why)
	}
	for _, cert := range s.certificateMetrics(o.Now)() {
		if cert.Soon {
			problem("the certificate %s ends on %s", cert.Name, admin.Stamp(cert.Ends))
		}
	}
	for _, v := range s.sweepCounts() {
		if v.Waiting > 0 {
			problem("work in the background fails and is tried again: %s, %d waiting", v.Kind, v.Waiting)
		}
	}
	return st, nil
}

// storeServers returns the servers that use the store. Only this server uses an embedded store.
func (s *Server) storeServers(ctx context.Context, version string) ([]admin.ServerSeen, error) {
	db, ok := s.store.(*postgres.Store)
	if !ok {
		return []admin.ServerSeen{{ID: s.id, Version: version, Started: admin.Stamp(s.started), Seen: admin.Stamp(time.Now()), Self: true}}, nil
	}
	rows, err := db.Servers(ctx)
	all := []admin.ServerSeen{}
	for _, v := range rows {
		all = append(all, admin.ServerSeen{ID: v.ID, Version: v.Version, Started: admin.Stamp(v.Started), Seen: admin.Stamp(v.Seen), Self: v.ID == s.id})
	}
	return all, err
}

// beatTime is the time between two entries in the database by which this server shows that it is
// alive.
const beatTime = 5 * time.Second

// beat writes to the database, every beatTime until ctx is done, that this server is alive. Then
// it removes its entry.
func (s *Server) beat(ctx context.Context, db *postgres.Store, version string) {
	ticks := time.NewTicker(beatTime)
	defer ticks.Stop()
	for {
		err := db.Beat(ctx, postgres.Server{ID: s.id, Version: version, Started: s.started})
		if err != nil && ctx.Err() == nil {
			s.log.Debug("note that this server is alive", "error", err)
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := db.Leave(last, s.id); err != nil {
				s.log.Debug("note that this server has stopped", "error", err)
			}
			return
		case <-ticks.C:
		}
	}
}

// limits returns the limits that apply, and the users who have nearly reached one of them.
func (s *Server) limits(c config.Config) admin.Limits {
	sizes := c.Sizes()
	out := admin.Limits{Profile: c.Limits.String(), Limits: []admin.Limit{}, Users: []admin.LimitUse{}}
	for _, r := range c.Limits.Rules() {
		out.Limits = append(out.Limits, admin.Limit{Name: r.Name, Scope: r.Scope, Value: int64(r.Count), Unit: "requests", Window: int(r.Window / time.Second)})
	}
	for _, l := range []admin.Limit{
		{Name: "content", Scope: "of a message", Value: int64(sizes.Content), Unit: "bytes"},
		{Name: "participants", Scope: "in a thread", Value: int64(sizes.Participants), Unit: "participants"},
		{Name: "request body", Scope: "of a request", Value: c.MaxBodySize, Unit: "bytes"},
		{Name: "connections", Scope: "of an address", Value: int64(c.ConnectionsPerAddress), Unit: "connections"},
		{Name: "live connections", Scope: "of a user", Value: int64(s.hub.Bounds().PerUser), Unit: "connections"},
	} {
		if l.Value > 0 {
			out.Limits = append(out.Limits, l)
		}
	}
	uses := s.limiter.Near(admin.MaxLimitUses)
	if s.written != nil {
		out.Limits = append(out.Limits, admin.Limit{Name: "bytes written", Scope: "by a user", Value: s.written.Limit(), Unit: "bytes", Window: 3600})
		uses = append(uses, s.written.Near(admin.MaxLimitUses)...)
	}
	for _, u := range limits.Nearest(uses, admin.MaxLimitUses) {
		out.Users = append(out.Users, admin.LimitUse{
			User: u.User, Thread: u.Thread, Limit: u.Limit, Used: u.Used, Of: u.Of, Over: u.Over, Resets: admin.Stamp(s.now().Add(u.Resets)),
		})
	}
	return out
}

// unready returns the reason for which the server cannot process requests, or "" if it can.
func (s *Server) unready() string {
	if !s.ready.Load() {
		return "stopping"
	}
	if s.db != nil {
		if why := s.db.away(time.Now()); why != "" {
			return "the database is away: " + why
		}
	}
	return ""
}
