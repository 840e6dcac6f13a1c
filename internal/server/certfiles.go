package server

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkInterval is the shortest time between two checks of whether the certificate files have
// changed.
const checkInterval = time.Second

// certFiles is the TLS certificate in the files that the settings tls-cert and tls-key name. It
// loads the files again when they change, and when Server.ReloadCertificate is called.
type certFiles struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger
	pair              atomic.Pointer[tls.Certificate]

	mu        sync.Mutex // guards the fields below; a TLS handshake does not wait for the lock, but uses the current certificate
	checkedAt time.Time
	seen      [2]os.FileInfo // file information of the certificate and of the key, from the last time when they were read
}

// openCertFiles loads a certificate and its key from files. It fails with *CertificateError if
// they cannot be used.
func openCertFiles(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*certFiles, error) {
	c := &certFiles{certFile: certFile, keyFile: keyFile, now: now, log: log, checkedAt: now()}
	var err error
	if c.seen, err = c.stat(); err == nil {
		err = c.load()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// tlsConfig returns a TLS server configuration with the current certificate.
func (c *certFiles) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.certificate}
}

// certificate returns the current certificate. It reloads the files if they have changed. If they
// cannot be loaded, for instance because they are half written, it returns the previous
// certificate and tries again when the files change again.
func (c *certFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		c.reloadIfChanged()
	}
	return c.pair.Load(), nil
}

// reloadIfChanged loads the certificate files again if they have changed, and logs the result. It
// looks for changes at most once per checkInterval. The caller holds mu.
func (c *certFiles) reloadIfChanged() {
	now := c.now()
	if now.Sub(c.checkedAt) < checkInterval && !now.Before(c.checkedAt) {
		return
	}
	c.checkedAt = now
	seen, err := c.stat()
	switch {
	case err != nil && c.seen[0] == nil: // do nothing: the files were missing at the last check too, which has logged that
	case err == nil && sameFile(seen[0], c.seen[0]) && sameFile(seen[1], c.seen[1]):
	default:
		c.readAgain(seen, err)
	}
}

// reload loads the files, whether they have changed or not, and logs the result. If they cannot
// be loaded, the server keeps using the previous certificate.
func (c *certFiles) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checkedAt = c.now()
	c.readAgain(c.stat())
}

// readAgain loads the certificate files and logs the result. The arguments seen and err are the
// results of stat, which the caller has called before the files are read. So the next check
// detects a change that is made after stat. The caller holds mu.
func (c *certFiles) readAgain(seen [2]os.FileInfo, err error) {
	if c.seen = seen; err == nil {
		err = c.load()
	}
	if err != nil {
		c.log.Warn("the new certificate cannot be used, the old one stays", "cert", c.certFile, "key", c.keyFile, "error", err)
		return
	}
	c.log.Info("certificate loaded again", "cert", c.certFile, "until", c.pair.Load().Leaf.NotAfter)
}

func (c *certFiles) stat() (seen [2]os.FileInfo, err error) {
	for i, path := range []string{c.certFile, c.keyFile} {
		if seen[i], err = os.Stat(path); err != nil {
			return [2]os.FileInfo{}, unusable(c.certFile, c.keyFile, err)
		}
	}
	return seen, nil
}

func (c *certFiles) load() error {
	pair, err := LoadCertificate(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair.Store(pair)
	return nil
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
