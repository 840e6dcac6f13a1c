package hosts

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of the trusted proxies in front of the server. The server trusts
// the headers in which these proxies report the client.
type Proxies []netip.Prefix

// Told has the facts about a request that trusted proxies have reported.
type Told struct {
	Client  string // the address of the client, without a port; "" if it is the address of the connection
	Address Address
}

// The headers in which proxies report the client of a request. The names are in the form of
// keys of http.Header.
const (
	xFor     = "X-Forwarded-For"
	xProto   = "X-Forwarded-Proto"
	xHost    = "X-Forwarded-Host"
	standard = "Forwarded" // RFC 7239
)

// Tells reports whether a request has a header in which a proxy may report the request's
// client.
func Tells(h http.Header) bool {
	return len(h[xFor])+len(h[xProto])+len(h[xHost])+len(h[standard]) > 0
}

// Trusts reports whether an address, with or without a port, is in a network of the proxies.
func (p Proxies) Trusts(address string) bool {
	a, err := parseAddress(address)
	return err == nil && slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(a) })
}

// Read returns the facts about a request that trusted proxies report. If the request does not come
// from a trusted proxy, Read returns the zero Told, because the sender may have made the headers
// up.
//
// Each proxy appends an element to the headers. Read therefore reads the elements from the end, and
// stops at the first proxy that is not trusted, because the client may have made up the elements
// before it. In X-Forwarded-Proto and X-Forwarded-Host, Read takes the element that is as far from
// the end as the client's address is in X-Forwarded-For. If these headers have fewer elements,
// because a proxy replaced them, Read takes their first element. If a request has one of the
// X-Forwarded headers, Read ignores the header Forwarded, because a proxy that sets only one kind
// passes on the other kind as the client has sent it. Read leaves out values that are not a scheme,
// host or address.
func (p Proxies) Read(r *http.Request) Told {
	if !Tells(r.Header) || !p.Trusts(r.RemoteAddr) {
		return Told{}
	}
	if len(r.Header[xFor])+len(r.Header[xProto])+len(r.Header[xHost]) == 0 {
		return p.readStandard(strings.Join(r.Header[standard], ","))
	}
	var t Told
	hops := elements(r.Header[xFor])
	passed := 0
	for trusted := true; trusted && passed < len(hops); passed++ {
		client, err := parseAddress(hops[len(hops)-1-passed])
		if err != nil {
			break
		}
		t.Client = client.String()
		trusted = p.Trusts(t.Client)
	}
	told := func(name string) string {
		all := elements(r.Header[name])
		if len(all) == 0 {
			return ""
		}
		return all[max(len(all)-max(passed, 1), 0)]
	}
	t.Address.Scheme, _ = ParseScheme(told(xProto))
	t.Address.Host, _ = ParseHost(told(xHost))
	return t
}

// readStandard returns the facts that trusted proxies report in the header Forwarded (RFC
// 7239).
func (p Proxies) readStandard(header string) (t Told) {
	for trusted := true; trusted && header != ""; {
		var element string
		header, element = cutLast(header, ',')
		node, scheme, host := parameters(element)
		if s, ok := ParseScheme(scheme); ok {
			t.Address.Scheme = s
		}
		if h, ok := ParseHost(host); ok {
			t.Address.Host = h
		}
		client, err := parseAddress(node)
		if err != nil { // the element has no address: its value is "unknown" or a made-up name
			break
		}
		t.Client = client.String()
		trusted = p.Trusts(t.Client)
	}
	return t
}

// maxClaimed is the greatest number of hosts that Claimed returns.
const maxClaimed = 4

// Claimed returns the hosts in the headers that proxies set, even if no trusted proxy has
// set them. Use it only to explain a failure.
func Claimed(h http.Header) (claimed []string) {
	all := append(elements(h[xHost]), elements(h["X-Original-Host"])...)
	for rest := strings.Join(h[standard], ","); rest != "" && len(all) < 2*maxClaimed; {
		var element string
		rest, element = cutLast(rest, ',')
		_, _, host := parameters(element)
		all = append(all, host)
	}
	for _, text := range all {
		host, ok := ParseHost(text)
		if ok && !slices.Contains(claimed, host) && len(claimed) < maxClaimed {
			claimed = append(claimed, host)
		}
	}
	return claimed
}

// elements splits a header that is a comma-separated list into its elements, and removes the
// white space around them.
func elements(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	all := strings.Split(strings.Join(values, ","), ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// parameters returns the parameters for, proto and host of an element of the header Forwarded.
func parameters(element string) (node, scheme, host string) {
	for element != "" {
		var pair string
		element, pair = cutLast(element, ';')
		name, value, _ := strings.Cut(pair, "=")
		value = unquote(strings.TrimSpace(value))
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "for":
			node = value
		case "proto":
			scheme = value
		case "host":
			host = value
		}
	}
	return node, scheme, host
}

// cutLast splits text at the last separator that is not in a quoted string. If the text has no such
// separator, last is the whole text. cutLast reads from the end, so that a quotation mark from the
// client cannot hide the elements that a proxy has appended.
func cutLast(text string, separator byte) (before, last string) {
	quoted := false
	for i := len(text) - 1; i >= 0; i-- {
		switch c := text[i]; {
		case c == '"':
			rest := strings.TrimRight(text[:i], `\`)
			if (i-len(rest))%2 == 0 { // the quotation mark is not escaped
				quoted = !quoted
			}
		case c == separator && !quoted:
			return text[:i], text[i+1:]
		}
	}
	return "", text
}

// unquote returns the text within a quoted string, or text itself if it is not quoted.
func unquote(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	inner := text[1 : len(text)-1]
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

// parseAddress parses the address of a client or proxy, with or without a port, and with or
// without the brackets of IPv6. It removes the zone.
func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text) // try without a port first, because an IPv6 address also has colons
	if err != nil {
		if host, _, err := net.SplitHostPort(text); err == nil {
			text = host
		}
		a, err = netip.ParseAddr(strings.Trim(text, "[]"))
	}
	return a.Unmap().WithZone(""), err
}
