package localca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"software.sslmate.com/src/go-pkcs12"
)

// TrustStorePassword is the password of truststore.p12. It is not a secret: the file holds
// public certificates only, but Java requires a password.
const TrustStorePassword = pkcs12.DefaultPassword

// Trust holds the paths of the files from which clients read the certificates that they
// trust.
type Trust struct {
	CAFile         string // PEM file with only the authority, for variables that name additional roots
	BundleFile     string // PEM file with the system's roots and the authority, for variables that replace the roots
	TrustStoreFile string // PKCS #12 file with the same certificates as the bundle, for Java; TrustStorePassword opens it
	// SystemRoots is the file from which the system's root certificates were read. It is empty if
	// no file was found. The bundle and the trust store then contain only the local authority, and
	// a client that uses them trusts no other server.
	SystemRoots string
}

// bundleMark is the first line of every certificate bundle that Confab writes. If SSL_CERT_FILE
// names such a bundle, a server recognizes the bundle by this line and does not take it for the
// root certificates of the system.
const bundleMark = "# Made by Confab: the system's roots and a local authority.\n"

// systemBundles lists the usual files with the system's root certificates, in the order in
// which Go looks for them.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Gentoo, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS, RHEL 7
	"/etc/ssl/cert.pem",                                 // Alpine, macOS, FreeBSD
	"/usr/local/etc/ssl/cert.pem",                       // FreeBSD
	"/usr/local/share/certs/ca-root-nss.crt",            // DragonFly
	"/etc/openssl/certs/ca-certificates.crt",            // NetBSD
}

// WriteTrust writes two files with the authority and the system's root certificates into the
// authority's folder: a PEM bundle and a trust store for Java. It leaves the files unchanged if
// they are up to date. It returns their paths. The system's roots come from the file that
// SSL_CERT_FILE names, or otherwise from the system's usual file.
func (a *Authority) WriteTrust() (Trust, error) {
	source, roots := systemRoots(os.Getenv("SSL_CERT_FILE"), systemBundles)
	t := Trust{
		CAFile:         a.CAFile(),
		BundleFile:     a.path(bundleFile),
		TrustStoreFile: a.path(trustStoreFile),
		SystemRoots:    source,
	}
	bundle := bundleOf(roots, a.caCert)
	// The trust store is made from the bundle and written before the bundle. So if the bundle is up
	// to date, the trust store is too.
	if old, err := os.ReadFile(t.BundleFile); err == nil && bytes.Equal(old, bundle) {
		if _, err := os.Stat(t.TrustStoreFile); err == nil {
			return t, nil
		}
	}
	store, err := trustStoreOf(roots, a.caCert)
	if err != nil {
		return Trust{}, fmt.Errorf("make %s: %w", t.TrustStoreFile, err)
	}
	if err := a.writeFile(trustStoreFile, store, 0o644); err != nil {
		return Trust{}, err
	}
	if err := a.writeFile(bundleFile, bundle, 0o644); err != nil {
		return Trust{}, err
	}
	return t, nil
}

// IsBundle reports whether the file at path is a certificate bundle that Confab wrote. It
// returns false if the file cannot be read.
func IsBundle(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(bundleMark))
	_, err = f.Read(head)
	return err == nil && string(head) == bundleMark
}

// systemRoots looks for the system's root certificates, first in the file named and then in files.
// It returns the path and the content of the first file with certificates, or "" and nil if none
// has any. It skips bundles that Confab wrote.
func systemRoots(named string, files []string) (path string, roots []byte) {
	for _, path := range append([]string{named}, files...) {
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err == nil && !bytes.HasPrefix(text, []byte(bundleMark)) && bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return path, text
		}
	}
	return "", nil
}

// bundleOf returns a PEM bundle: the first line bundleMark, the system's root certificates
// and the authority's certificate.
func bundleOf(roots []byte, ca *x509.Certificate) []byte {
	var b bytes.Buffer
	b.Grow(len(bundleMark) + len(roots) + 2048)
	b.WriteString(bundleMark)
	b.Write(roots)
	if len(roots) > 0 && roots[len(roots)-1] != '\n' {
		b.WriteByte('\n')
	}
	// The error is ignored, because a write to a bytes.Buffer does not fail.
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return b.Bytes()
}

// trustStoreOf returns a PKCS #12 trust store with the authority and the system's root
// certificates. It uses an old cipher that Java 8 can read; the weak cipher is enough, because the
// certificates are public. Entries are numbered, because Java keeps one certificate per name and
// several roots have the same subject. The roots may include the authority.
func trustStoreOf(roots []byte, ca *x509.Certificate) ([]byte, error) {
	entries := []pkcs12.TrustStoreEntry{{Cert: ca, FriendlyName: "confab"}}
	for _, der := range certificatesOf(roots) {
		// Skip certificates that Go cannot parse.
		if cert, err := x509.ParseCertificate(der); err == nil && !cert.Equal(ca) {
			entries = append(entries, pkcs12.TrustStoreEntry{Cert: cert, FriendlyName: fmt.Sprintf("system-%03d", len(entries))})
		}
	}
	return pkcs12.LegacyDES.EncodeTrustStoreEntries(entries, TrustStorePassword)
}
