package clientenv

import (
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/hosts"
)

// The two spellings of the variable that lists the hosts that are reached without a proxy.
// Programs read one or the other, or both, and differ on which comes first.
const (
	noProxy      = "NO_PROXY"
	noProxyLower = "no_proxy"
)

// hostsOf returns the hosts that a client of the endpoint must reach without a proxy. For an
// endpoint on this machine these are all names of the machine, since a client may use
// another one.
func hostsOf(endpoint string) []string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	name := strings.ToLower(u.Hostname())
	if !hosts.Loopback(u.Host) {
		return []string{name}
	}
	all := []string{"localhost", "127.0.0.1", "::1"}
	if !contains(all, name) {
		all = append(all, name)
	}
	return all
}

// noProxyValue returns the value of one spelling of NO_PROXY: the value that it has, with
// those of names that it lacks. An unset spelling takes the value of the other one: the
// program would not look at the other any more. A lone * already stands for every host.
func noProxyValue(own, other string, names []string) string {
	if strings.TrimSpace(own) == "" {
		own = other
	}
	own = strings.Trim(own, ", ")
	if own == "*" {
		return own
	}
	has := noProxyList(own)
	var all []string
	if own != "" {
		all = append(all, own)
	}
	for _, name := range names {
		if !contains(has, name) {
			all = append(all, name)
		}
	}
	return strings.Join(all, ",")
}

// withoutHosts returns the value of a spelling of NO_PROXY without the names, except those
// that the value before has too.
func withoutHosts(value, before string, names []string) string {
	had := noProxyList(before)
	var kept []string
	for _, entry := range noProxyList(value) {
		if !contains(names, entry) || contains(had, entry) {
			kept = append(kept, entry)
		}
	}
	return strings.Join(kept, ",")
}

// noProxyList returns the entries of a value of NO_PROXY, which commas or blanks separate.
func noProxyList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// contains reports whether a list has a host, without regard to case.
func contains(list []string, host string) bool {
	for _, entry := range list {
		if strings.EqualFold(entry, host) {
			return true
		}
	}
	return false
}
