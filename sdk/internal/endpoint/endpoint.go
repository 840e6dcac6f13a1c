// Package endpoint validates the addresses of servers, in connection strings and in the arguments
// of clients, and compares the origins of URLs.
package endpoint

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// Clean returns endpoint in the form scheme://host[:port], without a trailing slash. It fails if
// endpoint is not an http or https URL with only a host and an optional port. Errors quote no part
// of endpoint, because a user may have passed a secret by mistake.
func Clean(endpoint string) (string, error) {
	if endpoint == "" {
		return "", errors.New("endpoint is empty")
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", errors.New("endpoint is not a URL of the form https://host or http://host")
	}
	switch {
	case u.User != nil:
		return "", errors.New("endpoint has a user name or password")
	case u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("endpoint has a query")
	case u.Fragment != "" || strings.HasSuffix(endpoint, "#"):
		return "", errors.New("endpoint has a fragment")
	case u.Path != "" && u.Path != "/":
		return "", errors.New("endpoint has a path")
	case u.Hostname() == "" || strings.IndexFunc(u.Host, notInHost) >= 0:
		return "", errors.New("endpoint has no host, or one with characters that are not letters, digits or .-_")
	}
	if strings.HasSuffix(u.Host, ":") {
		return "", errors.New("endpoint has a colon without a port")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", errors.New("endpoint has a port that is not between 1 and 65535")
		}
	}
	return u.Scheme + "://" + u.Host, nil
}

// notInHost reports whether the character r cannot occur in a host name, an IP address or a port.
// International names must be given in their ASCII form, because signatures use that form too.
func notInHost(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune(".-_:[]", r)
}

// SameOrigin reports whether both URLs have the same scheme, host and port. Letter case does not
// matter, and a missing port is the default port of the scheme.
func SameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case strings.EqualFold(u.Scheme, "http"):
		return "80"
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return ""
}
