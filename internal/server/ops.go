package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/why"
)

// opsHandler serves metrics, health checks and, if the settings enable them, profiles on the
// operators' port. It authenticates nobody, because by default the port is reachable only from
// this machine. It refuses a request unless the Host header is a name of this server or an IP
// address. Otherwise the owner of a web page could make a name resolve to this machine, and the
// page could read the response. Only refused requests appear in the access log.
func (s *Server) opsHandler(c config.Config, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET "+ReadyPath, s.answerReady)
	if c.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	names := ownNames(c)
	if host, _, err := net.SplitHostPort(c.ListenOps); err == nil && host != "" {
		names = append(names, host)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts.Known(r.Host, names) {
			record := begin(w, r, now())
			record.Status = http.StatusForbidden
			record.Note = fmt.Sprintf("the host %q is not a name of this server: use localhost, an address, or a name from tls-names", clip.Text(r.Host, maxEcho))
			record.Why = why.Because(why.UnknownHost, "host", quoted(r.Host))
			http.Error(w, record.Note, record.Status)
			record.Duration = now().Sub(record.Time)
			s.access(record)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ReadyPath is the path of the readiness check, on the ops port and on the operator's socket.
const ReadyPath = "/readyz"

// answerReady answers 200 if the server can process requests, and otherwise 503 with the reason.
func (s *Server) answerReady(w http.ResponseWriter, _ *http.Request) {
	if why := s.unready(); why != "" {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ready\n")
}

// besideReady returns a handler that answers ReadyPath and passes other requests to next.
func (s *Server) besideReady(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == ReadyPath && r.Method == http.MethodGet {
			s.answerReady(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// warnOpen logs a warning for each listener without TLS that other machines can reach.
func (s *Server) warnOpen(c config.Config) {
	if c.ListenHTTP != "" && !config.Loopback(c.ListenHTTP) {
		s.log.Warn("listen-http can be reached from other machines: tokens and messages cross the network in plain text; let only a proxy on this machine reach it", "address", c.ListenHTTP)
	}
	if c.ListenOps != "" && !config.Loopback(c.ListenOps) {
		what := "metrics and health checks"
		if c.Pprof {
			what += ", and profiles, which show memory and block the server"
		}
		s.log.Warn("listen-ops can be reached from other machines, and asks nobody who they are: it serves "+what, "address", c.ListenOps)
	}
}
