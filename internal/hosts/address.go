package hosts

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Address is the address at which a client has reached the server, as a proxy in front of the
// server has reported it. A field is empty if the proxy has not reported it.
type Address struct {
	Scheme string // "http" or "https"
	Host   string // host or host:port, in lower case
}

// maxHost is the greatest length of a host in bytes: a DNS name of 253 bytes, a colon and a
// port of five digits.
const maxHost = 253 + len(":65535")

// ParseScheme returns the scheme that a proxy has reported, as "http" or "https". Some proxies
// report "ws" or "wss" for a WebSocket. ok is false for any other text.
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

// ParseHost returns a host or host:port in lower case. It removes a repeated port (see Repair).
// ok is false if the host is neither an address nor a name of letters, digits, "-", "_" and
// ".", or if the port is not a number from 1 to 65535. The result can therefore be used in a
// URL without escaping.
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

// WithAddress returns a copy of the request whose context contains the address that a trusted
// proxy has reported. It does not change the request's Host.
func WithAddress(r *http.Request, a Address) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), addressKey{}, a))
}

// Forwarded returns the address that WithAddress has stored in the request, or the zero
// Address.
func Forwarded(r *http.Request) Address {
	a, _ := r.Context().Value(addressKey{}).(Address)
	return a
}

// Secure reports whether the client has sent the request over https, either to the server or to a
// trusted proxy in front of the server.
func Secure(r *http.Request) bool {
	if a := Forwarded(r); a.Scheme != "" {
		return a.Scheme == "https"
	}
	return r.TLS != nil
}

// Of returns the host that the client has requested: the host that a trusted proxy has reported
// or, without one, the Host header without a repeated port.
func Of(r *http.Request) string {
	if a := Forwarded(r); a.Host != "" {
		return a.Host
	}
	return Repair(r.Host)
}

// WantsTransportSecurity reports whether the response to a request may have the header
// Strict-Transport-Security. The header must be missing if the client has requested a loopback
// name: a browser that gets the header from localhost refuses plain http from every other server on
// the developer's machine.
func WantsTransportSecurity(r *http.Request) bool { return !Loopback(Of(r)) }

// Base returns the base URL with which the client of a request reaches the server, such
// as "https://chat.example". It has no slash at the end.
func Base(r *http.Request) string { return string(AppendBase(nil, r)) }

// AppendBase appends the result of Base to b.
func AppendBase(b []byte, r *http.Request) []byte {
	scheme := "http://"
	if Secure(r) {
		scheme = "https://"
	}
	return append(append(b, scheme...), Of(r)...)
}
