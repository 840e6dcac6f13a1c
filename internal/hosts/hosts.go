// Package hosts reads host names from requests and from the origins of web pages, and tells
// whether they name this machine.
package hosts

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Repair returns a Host header without a repeated port: "localhost:8443" for
// "localhost:8443:8443". The JavaScript SDK 2.0 to 2.4.0 sends the port twice
// (docs/contract/identity.md §4.3).
func Repair(host string) string {
	rest, last, ok := cutPort(host)
	if !ok {
		return host
	}
	if _, before, ok := cutPort(rest); ok && before == last {
		return rest
	}
	return host
}

// cutPort splits host:port at its last colon. ok is false if host has no port. It does
// not split inside the brackets of an IPv6 address.
func cutPort(host string) (rest, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}

// Name returns the host of a Host header or another host:port, without the port and the
// brackets of an IPv6 address. It also removes a repeated port (see Repair). It does not change
// the case.
func Name(hostport string) string {
	hostport = Repair(hostport)
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		hostport = name
	}
	return strings.Trim(hostport, "[]")
}

// Loopback reports whether a host or a host:port is a name of this machine that no other
// machine can have: localhost, a name below .localhost, or a loopback address.
func Loopback(hostport string) bool {
	name := Name(hostport)
	if strings.EqualFold(name, "localhost") {
		return true
	}
	const below = ".localhost" // browsers resolve names below .localhost to loopback addresses without DNS
	if len(name) > len(below) && strings.EqualFold(name[len(name)-len(below):], below) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// Known reports whether a Host header names this machine: by a loopback name, any IP address, or
// one of names. An element of names may begin with "*.", which stands for one label. Other names
// are refused because the owner of a web page can make a name resolve to this machine (DNS
// rebinding). This is not possible with an address.
func Known(hostport string, names []string) bool {
	return Loopback(hostport) || net.ParseIP(Name(hostport)) != nil || Named(hostport, names)
}

// Named reports whether a host or a host:port is one of names. An element of names may begin with
// "*.", which stands for one label.
func Named(hostport string, names []string) bool {
	host := Name(hostport)
	return slices.ContainsFunc(names, func(name string) bool {
		if rest, wild := strings.CutPrefix(name, "*."); wild {
			_, domain, _ := strings.Cut(host, ".")
			return strings.EqualFold(domain, rest)
		}
		return strings.EqualFold(host, name)
	})
}

// Origin returns a web page's origin in the form that browsers send: in lower case and without
// the default port of its scheme. ok is false if text is not an http or https URL with only a
// scheme and a host.
func Origin(text string) (origin string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Path != "" || u.User != nil || strings.ContainsAny(text, "?#") {
		return "", false
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "http" {
		host = strings.TrimSuffix(host, ":80")
	} else {
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + strings.TrimSuffix(host, ":"), true
}

// AppOrigin returns, in lower case, the origin that an app with a web view or a browser extension
// sends, such as capacitor://localhost, ionic://localhost or chrome-extension://ID. ok is false if
// text is anything but a scheme and a name. It is also false for http and https (use Origin), for
// probable typing mistakes of http and https, and for schemes that any web page can use, such as
// data.
func AppOrigin(text string) (origin string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Host != u.Hostname() || u.Path != "" || u.User != nil || strings.ContainsAny(text, "?#") ||
		slices.Contains([]string{"http", "https", "file", "data", "blob", "javascript", "about", "ws", "wss"}, u.Scheme) ||
		mistyped(u.Scheme) {
		return "", false
	}
	return strings.ToLower(text), true
}

// mistyped reports whether a scheme is probably a typing mistake for http or https: it consists
// only of letters of these words, or differs from one of them by one letter.
func mistyped(scheme string) bool {
	return strings.Trim(scheme, "htps") == "" || oneEdit(scheme, "http") || oneEdit(scheme, "https")
}

// oneEdit reports whether a equals b after at most one byte is inserted, removed or replaced.
func oneEdit(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1
}

// LoopbackOrigin reports whether a web page's origin is on this machine, on any port.
func LoopbackOrigin(origin string) bool {
	o, ok := Origin(origin)
	if !ok {
		return false
	}
	_, host, _ := strings.Cut(o, "://")
	return Loopback(host)
}
