package admin

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/hosts"
)

// The errors with which a listener refuses a request.
var (
	errPeer = &refusal{http.StatusForbidden, "foreign-user", "only the user of the server and root may use this socket"}
	// errUnknown refuses a connection on Linux if the system does not report the user at the
	// other end. Linux reports it for every Unix socket.
	errUnknown = &refusal{http.StatusForbidden, "foreign-user", "the system does not say who uses this socket: connect again"}
	errHost    = &refusal{http.StatusForbidden, "foreign-host", "the Host header does not name this machine: use localhost or a loopback address"}
	errOrigin  = &refusal{http.StatusForbidden, "foreign-origin", "a web page of another origin may not use the operator's API"}
	errSecret  = &refusal{http.StatusUnauthorized, "no-credential", "the request has no Authorization header with the operator's secret, which stands in the server.json of the data folder, the viewer's secret or a session; access keys and user tokens are not accepted"}
	errSession = &refusal{http.StatusUnauthorized, "session-ended", "the session has ended: sign in again with a link of confab console"}
	errTwice   = &refusal{http.StatusBadRequest, "two-credentials", "the request has more than one Authorization header"}
)

// caller identifies the sender of a request.
type caller struct {
	kind    string // how the caller has signed in, such as core.AuditSocket
	name    string // name in the audit row, such as "uid 1000"
	detail  string // name in the log, with the process; "" if it is the same as name
	role    Role
	session *session // the caller's session; nil if the caller has no session
}

// Door has the secrets and names with which clients may use a TCP listener.
type Door struct {
	Secret string // the operator's secret
	Viewer string // the secret of the role viewer; empty: nobody can sign in as viewer with a secret
	TLS    bool   // the listener speaks TLS
	// Names are the host names by which clients may call the listener, in addition to the names of
	// this machine. They are ignored without TLS.
	Names []string
}

// Socket returns the handler for requests over the Unix socket. The http.Server must use
// ConnContext. The handler refuses requests of users other than the server's user and root, even
// if the permissions of the socket let them connect. On systems that report the user of a
// socket, it also refuses requests whose user is unknown.
func (h *Handler) Socket() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w, from: "socket", who: caller{kind: core.AuditSocket, name: "an unknown user"}}
		p, _ := r.Context().Value(peerKey{}).(peer)
		h.serve(c, func(Role) (caller, error) {
			who := c.who
			if !p.known && tellsPeers {
				return who, errUnknown
			}
			if p.known {
				who.name = fmt.Sprintf("uid %d", p.uid)
				who.detail = fmt.Sprintf("uid %d, process %d", p.uid, p.pid)
				if p.uid != 0 && int64(p.uid) != int64(os.Geteuid()) {
					return who, errPeer
				}
			}
			who.role = Operator
			return who, nil
		})
	})
}

// TCP returns the handler for requests over TCP. It refuses requests whose Host is not localhost, a
// loopback address or, with TLS, one of d.Names. Otherwise a web page could make a name of its own
// resolve to this machine and send requests. It also refuses requests of web pages of other
// origins, and requests without a secret or a session in the header Authorization.
//
// It passes requests for paths outside of Prefix to Options.Console.
func (h *Handler) TCP(d Door) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		below := strings.HasPrefix(r.URL.Path, strings.TrimSuffix(Prefix, "v1/"))
		if !below && h.Console != nil && d.knows(r.Host) {
			h.Console.ServeHTTP(w, r)
			return
		}
		c := &call{Request: r, w: w, from: r.RemoteAddr, who: caller{kind: core.AuditNobody, name: "nobody"}}
		h.serve(c, func(least Role) (caller, error) { return h.admit(c, d, least) })
	})
}

// admit returns the sender of a request over TCP. It fails if the Host, the origin or the
// credential of the request is not allowed.
func (h *Handler) admit(c *call, d Door, least Role) (caller, error) {
	if !d.knows(c.Host) {
		return c.who, errHost
	}
	if foreign(c.Request, d.TLS) {
		return c.who, errOrigin
	}
	credentials := c.Header.Values("Authorization")
	if len(credentials) > 1 {
		return c.who, errTwice
	}
	if least == nobody {
		return c.who, nil
	}
	bearer, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !ok || bearer == "" {
		c.w.Header().Set("WWW-Authenticate", "Bearer")
		return c.who, errSecret
	}
	got := hashOf(bearer)
	same := func(secret string) bool {
		want := hashOf(secret)
		return secret != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
	switch {
	case same(d.Secret):
		return caller{kind: core.AuditSecret, name: "secret", role: Operator}, nil
	case same(d.Viewer):
		return caller{kind: core.AuditViewerSecret, name: "viewer secret", role: Viewer}, nil
	}
	if one := h.sessions.find(bearer); one != nil {
		return caller{kind: core.AuditSession, name: "session " + one.id, role: one.role, session: one}, nil
	}
	c.w.Header().Set("WWW-Authenticate", "Bearer")
	if strings.HasPrefix(bearer, sessionPrefix) {
		return c.who, errSession
	}
	return c.who, errSecret
}

// knows reports whether a Host header is localhost, a loopback address or, with TLS, one of
// d.Names, with or without a port.
func (d Door) knows(host string) bool {
	name := hosts.Name(host)
	ip := net.ParseIP(name)
	if strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback() {
		return true
	}
	return d.TLS && (ip != nil || hosts.Named(host, d.Names))
}

// foreign reports whether the headers that a browser sets say that a page of another origin
// caused the request. It is stricter than http.CrossOriginProtection, which accepts every GET.
func foreign(r *http.Request, secure bool) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	// The request was sent by a program, by a page of this origin, or for a URL that the user has
	// typed.
	case "", "same-origin", "none":
	default:
		return true
	}
	scheme := "http://"
	if secure {
		scheme = "https://"
	}
	own, ok := hosts.Origin(scheme + r.Host)
	for _, origin := range r.Header.Values("Origin") {
		if !ok || origin != own {
			return true
		}
	}
	return false
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
