package postgres

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Unverified returns the hosts in a database's URL whose certificates are not checked against
// their names: all hosts on other machines, unless the URL has sslmode=verify-full. Another
// machine that answers instead of such a host is given the password. It returns nil for a URL
// that cannot be parsed, which Open refuses.
func Unverified(url string) []string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil
	}
	var hosts []string
	add := func(host string, c *tls.Config) {
		if (c == nil || c.InsecureSkipVerify) && !onThisMachine(host) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	add(config.Host, config.TLSConfig)
	for _, f := range config.Fallbacks {
		add(f.Host, f.TLSConfig)
	}
	return hosts
}

// onThisMachine reports whether a host of a database's URL is the folder of a Unix socket,
// localhost or a loopback address.
func onThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
