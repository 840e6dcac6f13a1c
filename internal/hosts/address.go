package hosts

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Address is the address at which a client has reached a server, as far as a proxy in front of
// the server tells it. An empty field is not told.
type Address struct {
	Scheme string // "http" or "https"
	Host   string // host or host:port, in lower case
}

// maxHost is the greatest length of a host in bytes: that of a name in DNS, and of a port.
const maxHost = 253 + len(":65535")

// ParseScheme returns the scheme that a proxy tells, in lower case. Some tell "ws" or "wss" for
// a WebSocket. ok is false for any other text.
func ParseScheme(text string) (scheme string, ok bool) {
	switch scheme = strings.ToLower(text); scheme {
	case "http", "https":
		return scheme, true
	case "ws":
		return "http", true
	case "wss":
		return "https", true
	}
	return "", false
}

// ParseHost returns a host or host:port in lower case. A port may be there twice (Repair). ok
// is false if text is neither a name of letters, digits, "-", "_" and ".", nor an address, or if
// the port is not a number from 1 to 65535. So the result can be part of a URL as it is.
func ParseHost(text string) (host string, ok bool) {
	if len(text) > maxHost {
		return "", false
	}
	host = strings.ToLower(Repair(text))
	name, port, hasPort := cutPort(host)
	if hasPort {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return "", false
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", false
		}
		return host, true
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", false
	}
	return host, true
}

type addressKey struct{}

// WithAddress returns the request with the address that a trusted proxy tells. The Host of the
// request stays as it was received.
func WithAddress(r *http.Request, a Address) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), addressKey{}, a))
}

// Forwarded returns the address of WithAddress, or the zero Address.
func Forwarded(r *http.Request) Address {
	a, _ := r.Context().Value(addressKey{}).(Address)
	return a
}

// Secure reports whether the client of a request uses https, to the server or to a proxy.
func Secure(r *http.Request) bool {
	if a := Forwarded(r); a.Scheme != "" {
		return a.Scheme == "https"
	}
	return r.TLS != nil
}

// Of returns the host that the client of a request has asked for: that of a trusted proxy, or
// the Host header without a repeated port.
func Of(r *http.Request) string {
	if a := Forwarded(r); a.Host != "" {
		return a.Host
	}
	return Repair(r.Host)
}

// Base returns the beginning of URLs that lead the client of a request back to the server:
// scheme and host, without a slash at the end.
func Base(r *http.Request) string {
	if Secure(r) {
		return "https://" + Of(r)
	}
	return "http://" + Of(r)
}
