package server

import (
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/hosts"
)

// forwarded returns a handler that reads the headers of trusted proxies, such as
// X-Forwarded-For, and passes requests to next. It sets RemoteAddr to the client's address, and
// stores the scheme and the host that the client used in the request (hosts.WithAddress).
func (s *Server) forwarded(c config.Config, next http.Handler) http.Handler {
	proxies := hosts.Proxies(c.TrustedProxies)
	warning := &plainWarning{config: c, log: s.log, proxies: proxies}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := proxies.Read(r)
		if told.Address == (hosts.Address{}) && told.Client == "" {
			warning.see(r)
			next.ServeHTTP(w, r)
			return
		}
		if told.Address.Scheme == "" {
			warning.see(r)
		}
		if told.Address != (hosts.Address{}) {
			r = hosts.WithAddress(r, told.Address)
		} else {
			other := *r
			r = &other
		}
		if told.Client != "" {
			r.RemoteAddr = net.JoinHostPort(told.Client, "0")
		}
		next.ServeHTTP(w, r)
	})
}

// plainWarning logs once that the links in responses begin with http. It does so for a request
// with a token or a signature over plain http, if neither the settings nor a trusted proxy say
// that the client used https. The SDKs send no token over plain http, so most likely there is a
// proxy that ends TLS. They also refuse to follow http links.
type plainWarning struct {
	config  config.Config
	log     *slog.Logger
	proxies hosts.Proxies
	said    atomic.Bool
}

// see logs the warning if the request r is a reason for it. No trusted proxy has told the scheme
// of r.
func (p *plainWarning) see(r *http.Request) {
	if r.TLS != nil || p.config.PublicEndpoint != "" || len(r.Header["Authorization"])+len(r.Header["X-Skypetoken"]) == 0 || p.said.Load() {
		return
	}
	tells := hosts.Tells(r.Header)
	if p.config.Dev && !tells && len(r.Header["Via"]) == 0 && hosts.Loopback(r.Host) {
		return // a developer's own program
	}
	if p.said.Swap(true) {
		return
	}
	mend := "if a proxy ends TLS, set --public-endpoint, or let the proxy send X-Forwarded-Proto and X-Forwarded-Host"
	if tells && !p.proxies.Trusts(r.RemoteAddr) {
		mend = "the proxy's X-Forwarded and Forwarded headers do not count, because its address is not in --trusted-proxies: add it there, or set --public-endpoint"
	}
	p.log.Warn("the links in answers (nextLink, Location) begin with http://, because a request came over plain http; SDKs do not follow them with a token: "+mend,
		"host", clip.Text(r.Host, maxEcho), "from", hostOf(r.RemoteAddr))
}
