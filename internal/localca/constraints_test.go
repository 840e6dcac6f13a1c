package localca

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stolen returns a server certificate for a name, signed with the authority's key. A thief of the
// key could make such a certificate.
func stolen(t *testing.T, a *Authority, name string) *x509.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := signServer(a.caCert, a.caKey, key, []string{name}, a.now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestAStolenKeySignsForNobodyElse signs certificates with the key of an authority, for names that
// the authority was not made for. It checks that Go and OpenSSL (on which Python, Node and curl
// rely) reject these certificates, and accept certificates for the authority's own names.
func TestAStolenKeySignsForNobodyElse(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, nil, "chat.lan", "*.apps.lan", "192.168.7.9", "fd00::7")
	roots := x509.NewCertPool()
	roots.AddCert(a.caCert)
	openssl, noOpenSSL := exec.LookPath("openssl")
	for name, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "chat.lan": true, "192.168.7.9": true, "fd00::7": true, "x.apps.lan": true,
		"evil.example": false, "*.evil.example": false, "lan": false, "notchat.lan": false, "8.8.8.8": false, "192.168.7.8": false, "::2": false, "fd00::8": false, "128.0.0.1": false,
	} {
		cert := stolen(t, a, name)
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: strings.Replace(name, "*", "any", 1)})
		if (err == nil) != want {
			t.Errorf("Go, a certificate for %s: %v, want accepted: %v", name, err, want)
		}
		if noOpenSSL != nil {
			continue
		}
		if err := a.writeCert("stolen.pem", cert.Raw); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(openssl, "verify", "-purpose", "sslserver", "-x509_strict", "-CAfile", a.CAFile(), a.path("stolen.pem")).CombinedOutput()
		if (err == nil) != want || !want && !strings.Contains(string(out), "permitted subtree violation") {
			t.Errorf("OpenSSL, a certificate for %s: %v, want accepted: %v\n%s", name, err, want, out)
		}
	}
	if !a.caCert.PermittedDNSDomainsCritical {
		t.Error("the limit is not critical: clients that do not know it would ignore it")
	}
	if life := a.caCert.NotAfter.Sub(a.caCert.NotBefore); life > 2*366*24*time.Hour {
		t.Errorf("the authority lives for %v", life)
	}
	if !slices.Equal(a.caCert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("the authority may sign for %v", a.caCert.ExtKeyUsage)
	}
	if noOpenSSL != nil {
		t.Log("openssl is not installed: only Go's judgement was tested")
	}
}

// TestTheInMemoryAuthorityIsLimitedToo checks that an authority made by Temporary may sign only for
// its names.
func TestTheInMemoryAuthorityIsLimitedToo(t *testing.T) {
	_, text, err := Temporary(Options{Names: []string{"chat.lan"}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := readCert(path)
	if err != nil || !constrained(ca) || !permits(ca, "chat.lan") || permits(ca, "evil.example") {
		t.Errorf("%v, limited to %q %v", err, ca.PermittedDNSDomains, ca.PermittedIPRanges)
	}
}

// TestNewNamesNeedANewAuthority opens an authority with other names. It checks that the authority
// and its key are replaced if it may not sign for one of the names, and that the log says so. It
// also checks that the authority stays if names are missing or the name of the machine changes.
func TestNewNamesNeedANewAuthority(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, nil, "chat.lan")
	var logged bytes.Buffer
	reopen := func(names ...string) *Authority {
		t.Helper()
		logged.Reset()
		a, err := Open(dir, Options{Names: names, Temporary: true, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := leaf(t, a).CheckSignatureFrom(a.caCert); err != nil {
			t.Errorf("with %q: %v", names, err)
		}
		return a
	}
	if fewer := reopen(); fewer.Fresh() || !fewer.caCert.Equal(first.caCert) {
		t.Error("an authority with more names than needed was replaced")
	}
	second := reopen("chat.lan", "other.lan")
	if !second.Fresh() || second.caKey.Equal(first.caKey) {
		t.Error("the authority was not replaced for a name that it may not sign for")
	}
	if text := logged.String(); !strings.Contains(text, "the old one may not sign for other.lan") || !strings.Contains(text, first.caCert.Subject.CommonName) {
		t.Errorf("the log says %s", text)
	}
	if again := reopen("chat.lan", "other.lan"); again.Fresh() {
		t.Error("the new authority was replaced again")
	}
	roots := x509.NewCertPool()
	roots.AddCert(second.caCert)
	for _, name := range []string{"chat.lan", "other.lan", "localhost"} {
		if _, err := leaf(t, second).Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Error(err)
		}
	}

	// Change the name of the machine, as a container does at each start.
	host := "machine-with-another-name"
	second.host, second.names = host, allNames(host)
	if err := second.openCA([]string{"chat.lan"}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(second.names, host) || !slices.Contains(second.names, "chat.lan") {
		t.Errorf("the names for the certificate are %q", second.names)
	}
}

// TestAnUnlimitedAuthorityIsReplaced opens an authority of an older version, which may sign
// for any name and is valid for ten years, and checks that it is replaced.
func TestAnUnlimitedAuthorityIsReplaced(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, nil)
	template := *a.caCert
	template.PermittedDNSDomainsCritical, template.PermittedDNSDomains, template.PermittedIPRanges = false, nil, nil
	template.NotAfter = time.Now().Add(10 * 365 * 24 * time.Hour)
	template.ExtraExtensions, template.Extensions, template.ExtKeyUsage = nil, nil, nil
	der, err := x509.CreateCertificate(nil, &template, &template, a.caKey.Public(), a.caKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.writeCert(caCertFile, der); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, nil)
	if !b.Fresh() || !constrained(b.caCert) || b.caKey.Equal(a.caKey) {
		t.Error("the authority was not replaced")
	}
}
