package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairOf creates a key and a self-signed certificate with the given serial number, and returns
// both in PEM.
func pairOf(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(path string, text []byte) {
		t.Helper()
		// Replace the files by renaming, as tools that renew certificates do.
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	var logged bytes.Buffer
	cert1, key1 := pairOf(t, 1)
	put(certFile, cert1)
	if _, err := openCertFiles(certFile, keyFile, time.Now, nil); err == nil || !strings.Contains(err.Error(), "key.pem") {
		t.Errorf("without a key: %v, want an error that names the file", err)
	}
	put(keyFile, key1)
	c, err := openCertFiles(certFile, keyFile, func() time.Time { return now }, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, serial int64, lines int) {
		t.Helper()
		got, err := c.certificate(nil)
		if err != nil || got.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("%s: got certificate %v, %v, want %d", when, got.Leaf.SerialNumber, err, serial)
		}
		if n := strings.Count(logged.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines in the log, want %d:\n%s", when, n, lines, logged.String())
		}
	}
	check("at first", 1, 0)

	cert2, key2 := pairOf(t, 2)
	put(certFile, cert2)
	check("within the second", 1, 0)
	now = now.Add(checkInterval)
	check("the certificate is new and its key is not there yet", 1, 1)
	now = now.Add(checkInterval)
	check("nothing has changed", 1, 1)
	put(keyFile, key2)
	now = now.Add(checkInterval)
	check("both are new", 2, 2)

	put(certFile, []byte("no certificate"))
	now = now.Add(checkInterval)
	check("damaged", 2, 3)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkInterval)
	check("gone", 2, 4)
	now = now.Add(checkInterval)
	check("still gone", 2, 4)
	put(certFile, cert1)
	put(keyFile, key1)
	now = now.Add(-time.Hour) // the clock may be set back
	check("back again", 1, 5)
	if strings.Contains(logged.String(), "PRIVATE") {
		t.Errorf("the log shows a key:\n%s", logged.String())
	}
}
