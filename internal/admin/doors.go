package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/confab-chat/confab/internal/hosts"
)

// The reasons for which the handlers of the socket and the TCP listener refuse a request.
var (
	errPeer = &refusal{http.StatusForbidden, "only the user of the server and root may use this socket"}
	// errUnknown refuses a connection if Linux does not report the user at its other end, which
	// it does for every Unix socket.
	errUnknown = &refusal{http.StatusForbidden, "the system does not say who uses this socket: connect again"}
	errHost    = &refusal{http.StatusForbidden, "the Host header does not name this machine: use localhost or a loopback address"}
	errOrigin  = &refusal{http.StatusForbidden, "a web page of another origin may not use the operator's API"}
	errSecret  = &refusal{http.StatusUnauthorized, "the request has no Authorization header with the operator's secret, which stands in the server.json of the data folder; access keys and user tokens are not accepted"}
	errTwice   = &refusal{http.StatusBadRequest, "the request has more than one Authorization header"}
)

// Socket returns the handler for requests over the Unix socket. The http.Server must use
// ConnContext. The handler refuses requests of users other than the server's user and root, even
// if the permissions of the socket let them connect. On systems that report the user of a
// socket, it also refuses requests whose user is unknown.
func (h *Handler) Socket() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w, from: "socket", who: "an unknown user"}
		p, _ := r.Context().Value(peerKey{}).(peer)
		var refused error
		if !p.known && tellsPeers {
			refused = errUnknown
		}
		if p.known {
			c.who = fmt.Sprintf("uid %d, process %d", p.uid, p.pid)
			if p.uid != 0 && int64(p.uid) != int64(os.Geteuid()) {
				refused = errPeer
			}
		}
		h.serve(c, refused)
	})
}

// TCP returns the handler for requests over TCP. It refuses requests without the header
// Authorization with "Bearer " and the secret. It refuses requests whose Host is not localhost
// or a loopback address, because a web page can make a name of its own resolve to this machine.
// It also refuses requests of web pages of other origins.
func (h *Handler) TCP(secret string) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + secret))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w, from: r.RemoteAddr, who: "nobody"}
		var refused error
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		switch {
		case !loopback(r.Host):
			refused = errHost
		case foreign(r):
			refused = errOrigin
		case len(r.Header.Values("Authorization")) > 1:
			refused = errTwice
		case subtle.ConstantTimeCompare(got[:], want[:]) == 0:
			w.Header().Set("WWW-Authenticate", "Bearer")
			refused = errSecret
		default:
			c.who = "secret"
		}
		h.serve(c, refused)
	})
}

// loopback reports whether a Host header is localhost or a loopback address, with or
// without a port.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// foreign reports whether the headers that a browser sets say that a page of another origin
// caused the request. It is stricter than http.CrossOriginProtection, which accepts every GET.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // no browser; a page of this origin; an address that the user has typed
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	own, ok := hosts.Origin("http://" + r.Host)
	return origin != "" && (!ok || origin != own)
}

// peer identifies the process at the other end of a Unix socket.
type peer struct {
	known bool // the other fields are set
	uid   uint32
	pid   int32
}

type peerKey struct{}

// ConnContext returns a context with the user and the process at the other end of a Unix socket,
// if the operating system reports them. It is a function for http.Server.ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(c))
}
