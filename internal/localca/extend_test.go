package localca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// TestExtend adds a company's certificates to the trust files of an authority, and checks that
// the new files contain the added and the old certificates, each once.
func TestExtend(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", rootsFile(t, 3))
	trust := writeTrust(t, open(t, t.TempDir(), nil))
	dir, corp := t.TempDir(), rootsFile(t, 2)
	folder := t.TempDir()
	// The file b.pem has the same certificates as the file corp.
	for name, from := range map[string]string{"a.0": rootsFile(t, 1), "b.pem": corp} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []string{corp, folder, empty, empty + "-missing"}
	got, unread, err := trust.Extend(dir, files)
	if err != nil {
		t.Fatal(err)
	}
	if n := countCerts(t, got.BundleFile); n != 3+1+2+1 {
		t.Errorf("the bundle has %d certificates, want those of the system, the authority, the file and the folder: 7", n)
	}
	bundle, err := os.ReadFile(got.BundleFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{trust.BundleFile, corp} {
		for _, der := range certificatesOf(read(t, file)) {
			if bytes.Count(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) != 1 {
				t.Errorf("the bundle does not have a certificate of %s once", file)
			}
		}
	}
	if !IsBundle(got.BundleFile) {
		t.Error("the bundle is not recognized as one of Confab's")
	}
	var certs []*x509.Certificate
	if certs, err = pkcs12.DecodeTrustStore(read(t, got.TrustStoreFile), TrustStorePassword); err != nil || len(certs) != 7 {
		t.Errorf("the trust store has %d certificates, %v; want 7", len(certs), err)
	}
	if len(unread) != 2 || !strings.HasPrefix(unread[0].Error(), empty+": it holds no certificate") || !strings.Contains(unread[1].Error(), "no such file") {
		t.Errorf("unread is %v, want the file without a certificate and the missing one", unread)
	}

	// A second call with the same certificates must not write the files again.
	before, err := os.Stat(got.BundleFile)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := trust.Extend(dir, files)
	if err != nil || again != got {
		t.Errorf("the second time: %+v, %v, want %+v", again, err, got)
	}
	if after, err := os.Stat(got.BundleFile); err != nil || !os.SameFile(before, after) {
		t.Errorf("the bundle was written again: %v", err)
	}

	// If all certificates are in the authority's own files, Extend must write no files.
	same, _, err := trust.Extend(filepath.Join(dir, "none"), []string{trust.BundleFile, trust.CAFile})
	if err != nil || same != trust {
		t.Errorf("got %+v, %v, want %+v", same, err, trust)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder was made for nothing")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
