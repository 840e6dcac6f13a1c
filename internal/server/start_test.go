package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

// occupy listens on a free port of the host.
func occupy(t *testing.T, host string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("this machine has no %s: %v", host, err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// free returns an address of this machine on which nothing listens.
func free(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func wantFree(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Errorf("a start that failed left %s open: %v", address, err)
		return
	}
	l.Close()
}

func TestBusyPort(t *testing.T) {
	for _, setting := range []string{"listen", "listen-http", "listen-ops", "listen-admin"} {
		for _, host := range []string{"127.0.0.1", "::1"} {
			t.Run(setting+" on "+host, func(t *testing.T) {
				_, port, _ := net.SplitHostPort(occupy(t, host))
				dir := filepath.Join(t.TempDir(), "data")
				others := map[string]string{"listen": free(t), "listen-http": free(t), "listen-ops": free(t), "listen-admin": free(t)}
				pairs := []string{"data", dir}
				for name, address := range others {
					if name == setting {
						address = "localhost:" + port
					}
					pairs = append(pairs, name, address)
				}
				_, err := server.Start(t.Context(), server.Options{Config: settings(t, pairs...)})
				var used *server.PortInUseError
				if !errors.As(err, &used) || used.Setting != setting || used.Address != "localhost:"+port || !errors.Is(err, syscall.EADDRINUSE) {
					t.Fatalf("got error %v, want a PortInUseError of %s and localhost:%s", err, setting, port)
				}
				if want := "localhost:" + port + " (" + setting + ") is in use"; err.Error() != want {
					t.Errorf("got %q, want %q", err, want)
				}
				for name, address := range others {
					if name != setting {
						wantFree(t, address)
					}
				}
				if host == "::1" { // the IPv6 address of localhost
					wantFree(t, "127.0.0.1:"+port)
				}
				if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a failed start created the data folder: %v", err)
				}
			})
		}
	}
}

// TestBusyPortsOfOperators checks that a development server uses other ports for operators if
// the default ports are in use.
func TestBusyPortsOfOperators(t *testing.T) {
	_, port, _ := net.SplitHostPort(occupy(t, "127.0.0.1"))
	c, err := config.Load(config.Input{
		Environ:  []string{"CONFAB_DEV=true", "CONFAB_DATA=memory:", "CONFAB_LISTEN=localhost:0", "CONFAB_LISTEN_HTTP=off"},
		Defaults: map[string]string{"listen-ops": "localhost:" + port, "listen-admin": "localhost:" + port},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, server.Options{Config: c})
	if status, body := s.get(t, s.Ops+"/readyz"); status != 200 || strings.HasSuffix(s.Ops, ":"+port) {
		t.Errorf("%s/readyz: %d %s", s.Ops, status, body)
	}
	if status, body := s.get(t, s.Admin+"/admin/v1/keys"); status != 401 || strings.HasSuffix(s.Admin, ":"+port) || s.Admin == s.Ops {
		t.Errorf("%s/admin/v1/keys without the secret: %d %s", s.Admin, status, body)
	}
}

func TestBusyDataFolder(t *testing.T) {
	dir := t.TempDir()
	first := start(t, server.Options{Config: settings(t, "data", dir)})
	address := free(t)
	_, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", dir, "listen", address)})
	var used *server.DataInUseError
	if !errors.As(err, &used) || used.Path != dir || err.Error() != "data folder "+dir+" is in use" {
		t.Fatalf("got error %v, want a DataInUseError of %s", err, dir)
	}
	wantFree(t, address)
	if status, _, _ := first.newUser(t, first.AccessKey); status != 201 {
		t.Errorf("the first server answers %d after a second was tried, want 201", status)
	}
}

func TestDamagedStore(t *testing.T) {
	dir := t.TempDir()
	start(t, server.Options{Config: settings(t, "data", dir)}).stop(t)
	markers, err := filepath.Glob(filepath.Join(dir, "store", "marker.manifest.*"))
	if err != nil || len(markers) == 0 {
		t.Fatalf("no marker of the manifest: %v", err)
	}
	for _, m := range markers {
		if err := os.Remove(m); err != nil {
			t.Fatal(err)
		}
	}
	address := free(t)
	_, err = server.Start(t.Context(), server.Options{Config: settings(t, "data", dir, "listen", address)})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "store")) || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "marker.manifest") {
		t.Errorf("got error %v, want it to name the store, that it is damaged and what is missing", err)
	}
	wantFree(t, address)
}

func TestUnusableDataFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	address := free(t)
	_, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", file, "listen", address)})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got error %v, want it to name %s", err, file)
	}
	wantFree(t, address)
}

// writeCertificate creates a self-signed certificate for localhost and writes it and its key to
// files.
func writeCertificate(t *testing.T) (cert *x509.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, certFile, keyFile
}

func TestOwnCertificate(t *testing.T) {
	cert, certFile, keyFile := writeCertificate(t)
	dir := t.TempDir()
	s := start(t, server.Options{Config: settings(t, "data", dir, "tls-cert", certFile, "tls-key", keyFile)})
	if s.CAFile != "" || s.BundleFile != "" || s.TrustStoreFile != "" || s.NewCA {
		t.Errorf("with a certificate in the settings, Info names trust files: %+v", s.Info)
	}
	if _, err := os.Stat(filepath.Join(dir, "tls")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a local CA was created although it is not needed: %v", err)
	}
	s.roots.AddCert(cert)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.Endpoint, "https://"), &tls.Config{RootCAs: s.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if !state.PeerCertificates[0].Equal(cert) || state.NegotiatedProtocol != "h2" {
		t.Errorf("the server shows another certificate, or speaks %q, want h2", state.NegotiatedProtocol)
	}

	_, _, otherKey := writeCertificate(t)
	for name, key := range map[string]string{"key of another": otherKey, "no file": filepath.Join(dir, "nothing")} {
		address := free(t)
		_, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", t.TempDir(), "listen", address, "tls-cert", certFile, "tls-key", key)})
		if err == nil || !strings.Contains(err.Error(), "tls-key") {
			t.Errorf("%s: %v, want an error that names tls-key", name, err)
		}
		wantFree(t, address)
	}
}
