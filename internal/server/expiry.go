package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/metrics"
)

// ExpiryWarning is the time before the expiry of a certificate at which the log, the metrics and
// confab doctor begin to warn of it.
const ExpiryWarning = 30 * 24 * time.Hour

// expiryInterval is the time between two checks of the certificates. A check also renews the local
// server certificate. This is needed for an idle server, which otherwise would not renew its
// certificate because it has no handshakes.
const expiryInterval = 24 * time.Hour

// certificate describes a certificate that clients of the server rely on.
type certificate struct {
	name string // "authority", "server"
	file string
	ends time.Time
	mend string // what the operator must do before the certificate expires
}

// localCertificates returns the certificates of the local authority and of the server. It first
// renews the server's certificate if the renewal is due.
func localCertificates(ca *localca.Authority) []certificate {
	ca.Certificate(nil) // renew the certificate if that is due; ca logs its own errors
	authority, server := ca.Ends()
	return []certificate{
		{"authority", ca.CAFile(), authority, "stop the server, remove the file and ca.key beside it, start again, and let clients trust the new authority"},
		{"server", ca.ServerFile(), server, "it is renewed by itself, unless its authority ends with it or the folder cannot be written"},
	}
}

// certificates returns the user's certificate, with the time at which the first certificate in
// its chain expires.
func (c *certFiles) certificates() []certificate {
	pair, err := c.certificate(nil)
	if err != nil { // cannot happen, because certFiles always has a certificate
		return nil
	}
	return []certificate{{"server", c.certFile, ChainEnds(pair), "replace the file; the server reads it again"}}
}

// ChainEnds returns the earliest time at which a certificate of the chain pair expires. It skips
// certificates that cannot be parsed.
func ChainEnds(pair *tls.Certificate) time.Time {
	var ends time.Time
	for _, der := range pair.Certificate {
		if cert, err := x509.ParseCertificate(der); err == nil && (ends.IsZero() || cert.NotAfter.Before(ends)) {
			ends = cert.NotAfter
		}
	}
	return ends
}

// watchCertificates logs the certificates that expire soon: once when it is called, and then every
// expiryInterval until ctx is done.
func (s *Server) watchCertificates(ctx context.Context, now func() time.Time) {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		s.warnOfCertificates(now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// warnOfCertificates logs each certificate that has expired or expires within ExpiryWarning.
func (s *Server) warnOfCertificates(now time.Time) {
	for _, c := range s.certificates() {
		left := c.ends.Sub(now)
		args := []any{"certificate", c.name, "file", c.file, "end", c.ends.UTC().Format(time.DateOnly), "next", c.mend}
		switch {
		case left <= 0:
			s.log.Error("a certificate has ended: clients refuse the server", args...)
		case left < ExpiryWarning:
			s.log.Warn("a certificate ends soon", append(args, "days", int(left.Hours()/24))...)
		}
	}
}

// certificateMetrics returns a function that returns, for the metrics, the time at which each
// certificate expires.
func (s *Server) certificateMetrics(now func() time.Time) func() []metrics.Certificate {
	return func() []metrics.Certificate {
		var all []metrics.Certificate
		for _, c := range s.certificates() {
			all = append(all, metrics.Certificate{Name: c.name, Ends: c.ends, Soon: c.ends.Sub(now()) < ExpiryWarning})
		}
		return all
	}
}
