package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/why"
)

// pageGuard is the first handler of each listener. It decides which web pages may use the server.
//
// A development server has a well-known access key, so every page in the developer's browser could
// sign requests. The guard of a development server therefore refuses requests from pages of other
// machines. It also refuses requests whose Host is not a name of the server, because of DNS
// rebinding: the owner of a page can make a name resolve to this machine, and the browser then
// takes the server for a part of the page. The guard of a production server refuses no requests,
// because a page has neither a token nor a key. It only leaves out the CORS headers for origins
// that the settings do not allow.
type pageGuard struct {
	next    http.Handler
	dev     bool
	names   []string // host names of the server, as ownNames returns them; hosts.Known also accepts loopback names and IP addresses
	allowed []string // as config.Config.CORSOrigins
	now     func() time.Time
	refused func(rest.Record) // called for each refused request
}

// maxEcho is the greatest number of bytes of a client's text that the message of a refusal
// repeats.
const maxEcho = 100

// guardPages returns a pageGuard that passes the requests that it does not refuse to next.
func (s *Server) guardPages(c config.Config, now func() time.Time, next http.Handler) http.Handler {
	return &pageGuard{next: next, dev: c.Dev, names: ownNames(c), allowed: c.CORSOrigins, now: now, refused: s.access}
}

// ServeHTTP refuses the request, or passes it to the next handler. It implements http.Handler.
func (g *pageGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.dev {
		// Check both the header Host and the host that a proxy has put into a header, because a proxy of
		// the developer may rewrite Host. In an attack by DNS rebinding, the proxy's header has the
		// attacker's host name.
		for _, host := range []string{r.Host, hosts.Of(r)} {
			if !hosts.Known(host, g.names) {
				g.refuse(w, r, why.Because(why.UnknownHost, "host", quoted(host)), fmt.Sprintf("the host %q is not a name of this development server: use localhost or an address, or give the name with --tls-names or --public-endpoint", clip.Text(host, maxEcho)))
				return
			}
		}
	}
	for _, origin := range r.Header["Origin"] {
		if g.allows(origin, r) {
			continue
		}
		if g.dev {
			g.refuse(w, r, why.Because(why.UnknownOrigin, "origin", quoted(origin)), fmt.Sprintf("a page of the origin %q may not use this development server: serve the page from localhost, or give its origin with --cors-origins", clip.Text(origin, maxEcho)))
			return
		}
		r.Header.Del("Origin")                             // remove the origin, so that no handler sends CORS headers
		r.Header[leftOutOrigin] = []string{quoted(origin)} // for the log
		break
	}
	g.next.ServeHTTP(w, r)
}

// allows reports whether a page of an origin may use the server. Pages of the server itself are
// always allowed.
func (g *pageGuard) allows(origin string, r *http.Request) bool {
	if slices.Contains(g.allowed, config.AnyOrigin) {
		return true
	}
	if (g.dev || slices.Contains(g.allowed, config.LoopbackOrigins)) && hosts.LoopbackOrigin(origin) {
		return true
	}
	if app, ok := hosts.AppOrigin(origin); ok {
		return slices.Contains(g.allowed, app)
	}
	normal, ok := hosts.Origin(origin)
	if !ok {
		return false
	}
	return slices.Contains(g.allowed, normal) || own(normal, r)
}

// own reports whether an origin, in the form of hosts.Origin, is the server's own. An origin is
// the server's own if its host equals the header Host or the host that a proxy has put into a
// header. The scheme may differ, because a proxy that ends TLS may not tell the scheme.
func own(origin string, r *http.Request) bool {
	scheme, _, _ := strings.Cut(origin, "://")
	for _, host := range []string{r.Host, hosts.Of(r)} {
		if o, ok := hosts.Origin(scheme + "://" + host); ok && o == origin {
			return true
		}
	}
	return false
}

// leftOutOrigin is the name of the header under which ServeHTTP keeps, for the log, an origin that
// it has removed from the header Origin. No header of a client can have this name, because it is
// not in net/http's canonical form.
const leftOutOrigin = "left out origin"

// quoted returns a host or an origin of a client in quotation marks, cut to
// maxEcho bytes.
func quoted(text string) string { return fmt.Sprintf("%q", clip.Text(text, maxEcho)) }

// refuse answers 403 with a message for the developer. The message appears in the log and, because
// it is the response, in the browser's console.
func (g *pageGuard) refuse(w http.ResponseWriter, r *http.Request, cause why.Cause, message string) {
	record := begin(w, r, g.now())
	body, err := json.Marshal(map[string]any{"error": map[string]string{"code": rest.StatusName(http.StatusForbidden), "message": message}})
	if err != nil { // cannot happen, because all texts can be encoded as JSON
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Origin")
	w.Header().Set("Connection", "close") // close the connection, because the request's body, if it has one, was not read
	w.WriteHeader(http.StatusForbidden)
	w.Write(body)
	record.Duration, record.Status, record.Note = g.now().Sub(record.Time), http.StatusForbidden, message
	record.Why = cause
	g.refused(record)
}

// namesOrigin reports whether the CORS headers of responses must repeat the request's origin.
// They need not if all origins are allowed.
func namesOrigin(c config.Config) bool { return !slices.Contains(c.CORSOrigins, config.AnyOrigin) }
