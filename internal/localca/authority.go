package localca

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The names of the files in the folder of a certificate authority. All files but the two keys
// are public.
const (
	caCertFile     = "ca.pem"
	caKeyFile      = "ca.key"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
	bundleFile     = "bundle.pem"
	trustStoreFile = "truststore.p12"
)

// ownFiles lists the names of all files that an Authority writes to its folder.
var ownFiles = []string{caCertFile, caKeyFile, serverCertFile, serverKeyFile, bundleFile, trustStoreFile}

const (
	caLife = 2 * 365 * 24 * time.Hour
	// Validity of a server certificate: the maximum that browsers and Apple's libraries accept.
	serverLife  = 397 * 24 * time.Hour
	renewBefore = 30 * 24 * time.Hour
	// backdate is how long before its creation the validity of a new certificate begins, so
	// that clients with a slow clock accept it.
	backdate = time.Hour
	// retryRenewal is the pause after a failed renewal of the server certificate. Without it,
	// every TLS handshake would try to renew the certificate, for example while the disk is
	// full.
	retryRenewal = time.Minute
)

// Options are the settings of Open; all are optional.
type Options struct {
	// Names lists DNS names and IP addresses for the server certificate. The certificate
	// always contains localhost, the loopback addresses and the host's name too.
	Names []string
	// Now returns the time; nil means time.Now.
	Now func() time.Time
	// Temporary means that the folder is deleted when the process ends, so its files are
	// not flushed to the disk.
	Temporary bool
	// Logger logs renewals and their failures; nil discards them.
	Logger *slog.Logger
}

// Authority is a certificate authority with one server certificate. Open returns one. Its
// methods are safe for concurrent use.
type Authority struct {
	dir   string
	now   func() time.Time
	log   *slog.Logger
	names []string
	sync  bool
	fresh bool
	host  string // the machine's name, or empty

	caCert *x509.Certificate
	caKey  *ecdsa.PrivateKey

	mu        sync.Mutex // guards the fields below, and the files of the server certificate
	leaf      *tls.Certificate
	renewFrom time.Time // the time before which no renewal of the server certificate is tried
	said      time.Time // time of the last log line about an expired server certificate
}

// Open loads the authority in the folder dir, or creates an authority if the folder has none. An
// authority may sign only for the names that it was made for. If one of Options.Names is not among
// them, Open replaces the authority and its key by new ones, which clients then have to trust. Open
// also replaces an authority of an older version of Confab, which could sign for any name. If only
// the name of the machine has changed, Open keeps the authority, and the server certificate lacks
// the new name.
//
// Open makes a new server certificate if the folder has none, if the certificate lacks a name or if
// it expires within 30 days. Open fails, and names the file, if a file is damaged, if the files do
// not belong together or if the authority has expired. In these cases it does not replace the
// authority, because clients trust it.
func Open(dir string, o Options) (*Authority, error) {
	a := &Authority{dir: dir, now: o.Now, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), sync: !o.Temporary}
	if a.now == nil {
		a.now = time.Now
	}
	for _, name := range o.Names {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	a.host = hostName()

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the certificate folder: %w", err)
	}
	if err := a.tidy(); err != nil {
		return nil, err
	}
	if err := a.openCA(o.Names); err != nil {
		return nil, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	leaf, err := a.loadServer()
	if err != nil {
		return nil, err
	}
	if leaf == nil || !a.serves(leaf.Leaf) {
		if leaf, err = a.makeServer(); err != nil {
			return nil, err
		}
	}
	a.leaf, a.renewFrom = leaf, leaf.Leaf.NotAfter.Add(-renewBefore)
	return a, nil
}

// Ends returns the times at which the certificates of the authority and of the server
// expire.
func (a *Authority) Ends() (authority, server time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.caCert.NotAfter, a.leaf.Leaf.NotAfter
}

// ServerFile returns the path of the server's PEM certificate.
func (a *Authority) ServerFile() string { return a.path(serverCertFile) }

// Fresh reports whether Open created the authority, so that no client trusts it yet.
func (a *Authority) Fresh() bool { return a.fresh }

// CAFile returns the path of the authority's PEM certificate in the folder dir. The file need not
// exist.
func CAFile(dir string) string { return filepath.Join(dir, caCertFile) }

// CAKeyFile returns the path of the authority's key in the folder dir. The file need not exist.
func CAKeyFile(dir string) string { return filepath.Join(dir, caKeyFile) }

// CAFile returns the path of the authority's PEM certificate.
func (a *Authority) CAFile() string { return a.path(caCertFile) }

// TLSConfig returns the TLS configuration of a server that uses the certificate of a. It
// requires TLS 1.2 or later.
func (a *Authority) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: a.Certificate}
}

// Certificate returns the server certificate. It first renews the certificate if it expires within
// 30 days. If the renewal fails, it returns the old certificate as long as the old one is valid,
// and after that the error. It is a tls.Config.GetCertificate function and ignores its argument.
func (a *Authority) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if now.Before(a.renewFrom) {
		return a.leaf, nil
	}
	leaf, err := a.makeServer()
	switch {
	case err == nil:
		a.leaf = leaf
		a.renewFrom = leaf.Leaf.NotAfter.Add(-renewBefore)
		a.log.Info("server certificate renewed", "file", a.path(serverCertFile), "until", leaf.Leaf.NotAfter)
		// A new certificate expires no later than its authority, which may be soon. Wait
		// before the next renewal, so that not every handshake makes a certificate.
		if next := now.Add(retryRenewal); a.renewFrom.Before(next) {
			a.renewFrom = next
		}
	case now.After(a.leaf.Leaf.NotAfter):
		// Every handshake tries to renew the expired certificate, so log the failure at
		// most once a minute.
		if now.Sub(a.said) >= retryRenewal {
			a.said = now
			a.log.Error("the server certificate has ended and cannot be renewed", "file", a.path(serverCertFile), "error", err)
		}
		return nil, fmt.Errorf("renew the server certificate: %w", err)
	default:
		a.log.Warn("the server certificate cannot be renewed, the old one stays", "file", a.path(serverCertFile), "until", a.leaf.Leaf.NotAfter, "error", err)
		a.renewFrom = now.Add(retryRenewal)
	}
	return a.leaf, nil
}

// openCA loads the authority, or makes a new authority if the folder has none or if its authority
// may not sign for one of names. It sets a.names, the names of the server certificate.
func (a *Authority) openCA(names []string) error {
	a.names = allNames(append([]string{a.host}, names...)...)
	err := a.loadCA()
	if errors.Is(err, fs.ErrNotExist) {
		return a.makeCA()
	}
	if err != nil {
		return err
	}
	why := ""
	if !constrained(a.caCert) {
		why = "the old one may sign for every site"
	}
	for _, name := range allNames(names...) {
		if why == "" && !permits(a.caCert, name) {
			why = "the old one may not sign for " + name
		}
	}
	if why != "" {
		old := a.caCert.Subject.CommonName
		if err := a.makeCA(); err != nil {
			return err
		}
		a.log.Warn("a new authority was made: clients have to trust it, and can forget the old one", "why", why, "new", a.caCert.Subject.CommonName, "old", old)
		return nil
	}
	if host := strings.ToLower(a.host); host != "" && !permits(a.caCert, host) {
		a.names = allNames(names...)
		a.log.Info("the certificate does not hold this machine's new name: give it with --tls-names to have a new authority made", "name", a.host)
	}
	return nil
}

// loadCA loads the authority's certificate and key. It returns fs.ErrNotExist if the certificate is
// missing, even if the key exists. makeCA writes the certificate last, so a missing certificate
// means that makeCA was interrupted and the folder has no authority.
func (a *Authority) loadCA() error {
	cert, err := readCert(a.path(caCertFile))
	if err != nil {
		return err
	}
	key, err := readKey(a.path(caKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing but %s exists: put the key back, or remove both to have a new authority made",
			a.path(caKeyFile), caCertFile)
	}
	if err != nil {
		return err
	}
	switch {
	case !cert.IsCA:
		return fmt.Errorf("%s is not the certificate of an authority", a.path(caCertFile))
	case !key.PublicKey.Equal(cert.PublicKey):
		return fmt.Errorf("%s does not belong to %s: put the right key back, or remove both to have a new authority made",
			a.path(caKeyFile), a.path(caCertFile))
	case !a.now().Before(cert.NotAfter):
		return fmt.Errorf("the authority in %s ended on %s: remove it and %s to have a new one made",
			a.path(caCertFile), cert.NotAfter.Format(time.DateOnly), caKeyFile)
	}
	a.caCert, a.caKey = cert, key
	return nil
}

// makeCA makes an authority for a.names. If it replaces an old authority, it removes the old
// certificate first, so that the folder never has a certificate that belongs to another key.
func (a *Authority) makeCA() error {
	key, err := newKey()
	if err != nil {
		return err
	}
	der, err := signCA(key, a.host, a.names, a.now())
	if err != nil {
		return err
	}
	if err := os.Remove(a.path(caCertFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.syncDir(); err != nil {
		return err
	}
	if err := a.writeKey(caKeyFile, key); err != nil {
		return err
	}
	if err := a.writeCert(caCertFile, der); err != nil {
		return err
	}
	a.caCert, err = x509.ParseCertificate(der)
	a.caKey, a.fresh = key, true
	return err
}

// loadServer loads the server's certificate and key. It returns nil without an error if
// either file is missing.
func (a *Authority) loadServer() (*tls.Certificate, error) {
	cert, err := readCert(a.path(serverCertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (remove it to have a new one made)", err)
	}
	key, err := readKey(a.path(serverKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (remove it to have a new one made)", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s does not belong to %s: remove both to have new ones made",
			a.path(serverKeyFile), a.path(serverCertFile))
	}
	return a.pair(cert, key), nil
}

// makeServer makes a server certificate and stores it. It uses the existing key again. A renewal
// therefore replaces only one file and cannot be interrupted between two files.
func (a *Authority) makeServer() (*tls.Certificate, error) {
	key, err := readKey(a.path(serverKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		// Remove an old certificate first, so that the folder never contains a certificate
		// with another key.
		if err := os.Remove(a.path(serverCertFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if key, err = newKey(); err == nil {
			err = a.writeKey(serverKeyFile, key)
		}
	}
	if err != nil {
		return nil, err
	}
	der, err := signServer(a.caCert, a.caKey, key, a.names, a.now())
	if err != nil {
		return nil, err
	}
	if err := a.writeCert(serverCertFile, der); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return a.pair(cert, key), nil
}

// serves reports whether the server can use cert: the authority signed it, it need not be
// renewed yet, and it contains every name in a.names.
func (a *Authority) serves(cert *x509.Certificate) bool {
	if cert.CheckSignatureFrom(a.caCert) != nil || a.now().After(cert.NotAfter.Add(-renewBefore)) {
		return false
	}
	for _, name := range a.names {
		if !holds(cert, name) {
			return false
		}
	}
	return true
}

func (a *Authority) pair(cert *x509.Certificate, key *ecdsa.PrivateKey) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }
