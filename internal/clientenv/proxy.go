package clientenv

import (
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/hosts"
)

// The two spellings of the variable that lists the hosts that programs reach without a proxy. Some
// programs read one spelling, some read both, and programs that read both differ in which one wins.
const (
	noProxy      = "NO_PROXY"
	noProxyLower = "no_proxy"
)

// hostsOf returns the hosts that a client of the endpoint must reach without a proxy. If the
// endpoint is on this machine, it returns all names of the machine, because a client may use any of
// them.
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

// noProxyValue returns a new value for one spelling of NO_PROXY. It adds the missing names to own,
// the present value of that spelling. If own is empty, it adds them to other, the value of the
// other spelling, because a program that finds this spelling may ignore the other. A value of only
// *, which stands for every host, is returned unchanged.
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

// withoutHosts removes names from a value of NO_PROXY. It keeps a name that is in before,
// the value before Vars changed it.
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

// noProxyList returns the entries in a value of NO_PROXY. Commas or blanks separate them.
func noProxyList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// contains reports whether a list contains a host, ignoring letter case.
func contains(list []string, host string) bool {
	for _, entry := range list {
		if strings.EqualFold(entry, host) {
			return true
		}
	}
	return false
}
