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

// signsTold returns a function that reports whether a client may have signed a given host, which
// is from the headers of a trusted proxy. If the settings name the proxies, every host is
// accepted. Otherwise only the server's own names and loopback names are. The reason is that by
// default every program on this machine is a trusted proxy, even one that forwards headers which
// its clients have made up. A client could then replay, at this server, a request that was signed
// for another server with the same access key.
func signsTold(c config.Config) func(told string) bool {
	explicit, names := c.Explicit("trusted-proxies"), ownNames(c)
	return func(told string) bool { return explicit || hosts.Loopback(told) || hosts.Named(told, names) }
}

// plainWarning logs, at most once, a warning that the server does not know its own address. It
// logs the warning when a request with a token or a signature arrives over plain http, and neither
// the settings nor a trusted proxy say that the client uses https. Because the SDKs send no token
// over plain http, a proxy most likely ends TLS. The links in responses then begin with http, and
// the SDKs refuse to follow them.
type plainWarning struct {
	config  config.Config
	log     *slog.Logger
	proxies hosts.Proxies
	said    atomic.Bool
}

// see logs the warning if the request r shows that the server's address is not known. The caller
// has checked that no trusted proxy has put the scheme into a header of r.
func (p *plainWarning) see(r *http.Request) {
	if r.TLS != nil || p.config.PublicEndpoint != "" || len(r.Header["Authorization"])+len(r.Header["X-Skypetoken"]) == 0 || p.said.Load() {
		return
	}
	tells := hosts.Tells(r.Header)
	if p.config.Dev && !tells && len(r.Header["Via"]) == 0 && hosts.Loopback(r.Host) {
		return // do not warn: the client is a program of the developer that calls the server directly
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
