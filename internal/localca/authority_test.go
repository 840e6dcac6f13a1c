package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 11, 21, 20, 31, 40, 0, time.UTC)

// clock is a fake clock. The method add moves it forward.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t *testing.T, dir string, now func() time.Time, names ...string) *Authority {
	t.Helper()
	a, err := Open(dir, Options{Names: names, Now: now, Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leaf(t *testing.T, a *Authority) *x509.Certificate {
	t.Helper()
	c, err := a.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "tls")
	c := &clock{t: epoch}
	a, err := Open(dir, Options{Names: []string{"Chat.LAN", "192.168.7.9", "*.chat.lan", "localhost"}, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if !a.Fresh() {
		t.Error("a new authority is not Fresh")
	}
	cert := leaf(t, a)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(a.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("ca.pem holds no certificate")
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "chat.lan", "192.168.7.9", "any.chat.lan"} {
		opts := x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if strings.Contains(name, ":") {
			opts.DNSName = "[" + name + "]"
		}
		if _, err := cert.Verify(opts); err != nil {
			t.Errorf("the certificate does not serve %s: %v", name, err)
		}
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life > 397*24*time.Hour {
		t.Errorf("the server certificate lasts %v, more than 397 days", life)
	}
	if got := a.caCert.NotAfter.Sub(epoch); got < caLife-2*backdate {
		t.Errorf("the authority lasts only %v", got)
	}
	if !strings.HasPrefix(a.caCert.Subject.CommonName, "Confab local CA ") {
		t.Errorf("the authority is called %q", a.caCert.Subject.CommonName)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{"": 0o700, caKeyFile: 0o600, serverKeyFile: 0o600} {
			st, err := os.Stat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != want {
				t.Errorf("mode of %q = %o, want %o", path, st.Mode().Perm(), want)
			}
		}
	}

	// Open the folder a second time: it loads the files that the first call wrote.
	b := open(t, dir, c.now, "chat.lan")
	if b.Fresh() || !leaf(t, b).Equal(cert) || !b.caCert.Equal(a.caCert) {
		t.Error("the second start did not take over the certificates of the first")
	}
}

// TestLeftovers opens a folder that contains temporary files of a killed process. It checks that
// Open removes these, because they may hold keys, and keeps all other files.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, time.Now)
	for _, name := range []string{".ca.key-1", ".server.pem-22", ".other", "ca.key-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, time.Now)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".other", "ca.key", "ca.key-1", "ca.pem", "server.key", "server.pem"}; !slices.Equal(names, want) {
		t.Errorf("the folder has %q, want %q", names, want)
	}
}

func TestRenewal(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		name  string
		after time.Duration
		names []string
		renew bool
		fresh bool // whether the authority is new too
	}{
		{"same day", 0, nil, false, false},
		{"31 days before the end", 397*day - 31*day, nil, false, false},
		{"29 days before the end", 397*day - 29*day, nil, true, false},
		{"after the end", 400 * day, nil, true, false},
		{"a new name", 0, []string{"new.lan"}, true, true},
		{"a new address", 0, []string{"10.1.2.3"}, true, true},
		{"a name below one of the authority", 0, []string{"app.localhost"}, true, false},
		{"another loopback address", 0, []string{"127.0.0.2"}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, c := t.TempDir(), &clock{t: epoch}
			a := open(t, dir, c.now)
			old := leaf(t, a)
			c.add(tt.after)
			b := open(t, dir, c.now, tt.names...)
			renewed := !leaf(t, b).Equal(old)
			if renewed != tt.renew {
				t.Fatalf("renewed = %v, want %v", renewed, tt.renew)
			}
			if !old.PublicKey.(*ecdsa.PublicKey).Equal(leaf(t, b).PublicKey) {
				t.Error("a renewal changed the key; it must not, so that it replaces one file only")
			}
			if b.Fresh() != tt.fresh || b.caCert.Equal(a.caCert) == tt.fresh || b.caKey.Equal(a.caKey) == tt.fresh {
				t.Errorf("a new authority: %v, want %v", b.Fresh(), tt.fresh)
			}
			if got := leaf(t, b).NotAfter; got.Sub(c.now()) < renewBefore {
				t.Errorf("the certificate ends on %v, too soon after %v", got, c.now())
			}
			if len(tt.names) == 0 && tt.after > 0 { // a running server must renew the certificate too
				got, err := a.Certificate(nil)
				if err != nil {
					t.Fatal(err)
				}
				if renewed := !got.Leaf.Equal(old); renewed != tt.renew {
					t.Errorf("renewed while running = %v, want %v", renewed, tt.renew)
				}
			}
		})
	}
}

// TestRenewalThatFails removes the folder of the authority, so that the certificate cannot
// be renewed. It checks that the old certificate is used until it expires, that the log
// reports the failure, and that the renewal succeeds once the folder exists again.
func TestRenewalThatFails(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: epoch}
	var logged bytes.Buffer
	a, err := Open(dir, Options{Now: c.now, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	said := func(want ...string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		logged.Reset()
		if len(lines) != len(want) {
			t.Fatalf("logged %q, want %q", lines, want)
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("logged %q, want %q", lines[i], want[i])
			}
		}
	}
	old := leaf(t, a)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.add(380 * 24 * time.Hour)
	if !leaf(t, a).Equal(old) {
		t.Error("a failed renewal changed the certificate")
	}
	said("cannot be renewed, the old one stays")
	c.add(20 * 24 * time.Hour)
	for range 3 {
		if _, err := a.Certificate(nil); err == nil {
			t.Error("an ended certificate was handed out")
		}
	}
	said("has ended and cannot be renewed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.add(retryRenewal)
	if leaf(t, a).Equal(old) {
		t.Error("no renewal after the folder came back")
	}
	said("server certificate renewed")
}

// TestAuthorityNearItsEnd opens an authority shortly before it expires. It checks that the
// certificate does not expire later than the authority, and that not every handshake makes
// a new certificate.
func TestAuthorityNearItsEnd(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: epoch}
	open(t, dir, c.now)
	c.add(caLife - 10*24*time.Hour)
	a := open(t, dir, c.now)
	if got := leaf(t, a).NotAfter; got.After(a.caCert.NotAfter) {
		t.Errorf("the certificate ends on %v, after its authority on %v", got, a.caCert.NotAfter)
	}
	first := leaf(t, a)
	if !leaf(t, a).Equal(first) {
		t.Error("two handshakes in a row renewed twice")
	}
	c.add(11 * 24 * time.Hour)
	if _, err := Open(dir, Options{Now: c.now}); err == nil || !strings.Contains(err.Error(), caCertFile) {
		t.Errorf("an ended authority: got %v, want an error naming %s", err, caCertFile)
	}
}

func TestDamage(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	swap := func(name string) func(*testing.T, string) { // swap replaces a file by the same file of another authority
		return func(t *testing.T, dir string) {
			t.Helper()
			other := t.TempDir()
			open(t, other, nil)
			text, err := os.ReadFile(filepath.Join(other, name))
			if err != nil {
				t.Fatal(err)
			}
			write(name, string(text))(t, dir)
		}
	}
	truncate := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			write(name, string(text[:len(text)/2]))(t, dir)
		}
	}
	const badDER = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"
	tests := []struct {
		name   string
		damage func(*testing.T, string)
		want   string // text that the error of Open must contain; empty if Open repairs the files
		fresh  bool
	}{
		{"authority empty", write(caCertFile, ""), caCertFile, false},
		{"authority cut off", truncate(caCertFile), caCertFile, false},
		{"authority garbage", write(caCertFile, badDER), caCertFile, false},
		{"authority key garbage", write(caKeyFile, "x"), caKeyFile, false},
		{"authority key cut off", truncate(caKeyFile), caKeyFile, false},
		{"authority key of another", swap(caKeyFile), caKeyFile, false},
		{"authority of another", swap(caCertFile), caKeyFile, false},
		{"authority key missing", remove(caKeyFile), caKeyFile, false},
		{"no authority", func(t *testing.T, dir string) {
			t.Helper()
			for from, to := range map[string]string{serverCertFile: caCertFile, serverKeyFile: caKeyFile} {
				text, err := os.ReadFile(filepath.Join(dir, from))
				if err != nil {
					t.Fatal(err)
				}
				write(to, string(text))(t, dir)
			}
		}, caCertFile, false},
		{"first start interrupted", remove(caCertFile, serverCertFile, serverKeyFile), "", true},
		{"authority removed", remove(caCertFile, caKeyFile), "", true},
		{"server cut off", truncate(serverCertFile), serverCertFile, false},
		{"server key cut off", truncate(serverKeyFile), serverKeyFile, false},
		{"server key of another", swap(serverKeyFile), serverKeyFile, false},
		{"server missing", remove(serverCertFile), "", false},
		{"server key missing", remove(serverKeyFile), "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, nil)
			tt.damage(t, dir)
			a, err := Open(dir, Options{Temporary: true})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if a.Fresh() != tt.fresh {
					t.Errorf("Fresh = %v, want %v", a.Fresh(), tt.fresh)
				}
				if err := leaf(t, a).CheckSignatureFrom(a.caCert); err != nil {
					t.Errorf("the certificate is not of this authority: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, tt.want)) {
				t.Fatalf("got %v, want an error that names %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has more than one line: %q", err)
			}
		})
	}
}

func TestFolderIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tls")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

func TestCheckName(t *testing.T) {
	good := []string{"localhost", "chat.example.com", "*.example.com", "10.0.0.1", "::1", "fe80::1", "a_b.lan", "xn--bcher-kva.example"}
	bad := []string{"", " ", "a b", "https://x", "x:8443", "[::1]", ".x", "x.", "-x", "x-", "*", "*.", "a.*.b", "bücher.example",
		strings.Repeat("a", 64), strings.Repeat("a.", 130) + "a", "x/y", "x\n"}
	for _, name := range good {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v, want nil", name, err)
		}
	}
	for _, name := range bad {
		if CheckName(name) == nil {
			t.Errorf("CheckName(%q) = nil, want an error", name)
		}
	}
	if _, err := Open(t.TempDir(), Options{Names: []string{"x:1"}}); err == nil {
		t.Error("Open took the name x:1")
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("localhost")
	f.Add("*.a-b.example")
	f.Add("::ffff:1.2.3.4")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		// If CheckName accepts a name, a certificate can be made for the name, and the certificate
		// contains the name.
		key, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		names := allNames(name)
		caDER, err := signCA(key, "", names, epoch)
		if err != nil {
			t.Fatalf("no authority for %q: %v", name, err)
		}
		ca, err := x509.ParseCertificate(caDER)
		if err != nil {
			t.Fatalf("the authority for %q cannot be read: %v", name, err)
		}
		if !constrained(ca) || !permits(ca, names[len(names)-1]) {
			t.Fatalf("the authority for %q is limited to %q %v", name, ca.PermittedDNSDomains, ca.PermittedIPRanges)
		}
		der, err := signServer(ca, key, key, names, epoch)
		if err != nil {
			t.Fatalf("no certificate for %q: %v", name, err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("the certificate for %q cannot be read: %v", name, err)
		}
		if !holds(cert, names[len(names)-1]) {
			t.Fatalf("the certificate for %q holds %q %q", name, cert.DNSNames, cert.IPAddresses)
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: epoch}); err != nil {
			t.Fatalf("the certificate for %q is refused: %v", name, err)
		}
	})
}

// TestConcurrentHandshakes makes TLS connections at the same time while the certificate has
// to be renewed. It checks that all succeed and that the folder then has no other files.
func TestConcurrentHandshakes(t *testing.T) {
	dir, c := t.TempDir(), &clock{t: time.Now()}
	a := open(t, dir, c.now)
	roots := x509.NewCertPool()
	roots.AddCert(a.caCert)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	c.add(370 * 24 * time.Hour)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", ln.Addr().String(),
				&tls.Config{RootCAs: roots, ServerName: "localhost", Time: c.now})
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	clients.Wait()
	ln.Close()
	<-served
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{caKeyFile, caCertFile, serverKeyFile, serverCertFile}, names); diff != "" {
		t.Errorf("files of the folder (-want +got):\n%s", diff)
	}
}

func BenchmarkOpen(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			openWithTrust(b, b.TempDir(), true)
		}
	})
	b.Run("first, flushed", func(b *testing.B) {
		for b.Loop() {
			openWithTrust(b, b.TempDir(), false)
		}
	})
	b.Run("again", func(b *testing.B) {
		dir := b.TempDir()
		openWithTrust(b, dir, true)
		for b.Loop() {
			openWithTrust(b, dir, true)
		}
	})
}

func openWithTrust(b *testing.B, dir string, temporary bool) {
	b.Helper()
	a, err := Open(dir, Options{Temporary: temporary})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := a.WriteTrust(); err != nil {
		b.Fatal(err)
	}
}
