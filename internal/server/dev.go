package server

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/token"
)

// Clock returns the clock of a development server, which tests can move ahead. The clock
// determines when tokens expire, the dates of messages and the windows of rate limits. Clock
// returns nil without Config.Dev.
func (s *Server) Clock() *dev.Clock { return s.clock }

// Faults returns the fault rules of a development server. It returns nil without Config.Dev.
func (s *Server) Faults() *dev.Faults { return s.faults }

// CreateUser creates a user, as POST /identities does, and returns the user's id.
func (s *Server) CreateUser(ctx context.Context) (id string, err error) {
	u, err := s.core.CreateUser(ctx)
	return u.ID, err
}

// IssueToken returns a new token of a user and the time when it expires. The token is signed
// with the primary access key. Unlike the identity routes, IssueToken accepts any lifetime.
func (s *Server) IssueToken(ctx context.Context, user string, scopes token.Scopes, lifetime time.Duration) (text string, expires time.Time, err error) {
	if _, err := s.keys.Reload(ctx); err != nil {
		return "", time.Time{}, err
	}
	u, err := s.core.UserForToken(ctx, user)
	if err != nil {
		return "", time.Time{}, err
	}
	text, expires, err = s.keys.Issue(u, scopes, lifetime, s.keys.Held()[0])
	if err == nil {
		s.core.TokenIssued(ctx, u.ID)
	}
	return text, expires, err
}

// devHandler returns the handler of the paths below /dev/. It returns nil without --dev.
func (s *Server) devHandler(c config.Config, visitors *people) http.Handler {
	if s.clock == nil {
		return nil
	}
	return dev.New(dev.Options{Clock: s.clock, Faults: s.faults, Names: ownNames(c), People: visitors, Logger: s.log})
}

// ownNames returns the host names of the server: the names in its settings and the name of the
// machine.
func ownNames(c config.Config) []string {
	names := slices.Clone(c.TLSNames)
	for _, address := range []string{c.Listen, c.ListenHTTP, c.ListenOps} {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			names = append(names, host)
		}
	}
	if u, err := url.Parse(c.PublicEndpoint); err == nil && u.Host != "" {
		names = append(names, u.Hostname())
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return names
}

// knownHosts returns the hosts by which clients may call the server: each of its names without a
// port, and with the port of each listener.
func (s *Server) knownHosts(c config.Config) (known []string) {
	for _, name := range append(ownNames(c), "localhost", "127.0.0.1") {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		if strings.Contains(name, ":") { // put brackets around an IPv6 address
			name = "[" + name + "]"
		}
		all := []string{name}
		for _, address := range []string{s.info.LocalEndpoint, s.info.HTTP} {
			if u, err := url.Parse(address); err == nil && u.Port() != "" {
				all = append(all, name+":"+u.Port())
			}
		}
		for _, host := range all {
			if !slices.Contains(known, host) {
				known = append(known, host)
			}
		}
	}
	return known
}
