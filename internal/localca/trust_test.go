package localca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"software.sslmate.com/src/go-pkcs12"
)

// rootsFile writes a file with the certificates of n new authorities, which tests use as
// the system's root certificates.
func rootsFile(t *testing.T, n int) string {
	t.Helper()
	var b bytes.Buffer
	for range n {
		a := open(t, t.TempDir(), nil)
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: a.caCert.Raw})
	}
	path := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeTrust(t *testing.T, a *Authority) Trust {
	t.Helper()
	trust, err := a.WriteTrust()
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func countCerts(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		n++
	}
	return n
}

func TestWriteTrust(t *testing.T) {
	system := rootsFile(t, 3)
	t.Setenv("SSL_CERT_FILE", system)
	dir := t.TempDir()
	a := open(t, dir, nil)
	trust := writeTrust(t, a)
	if trust.SystemRoots != system {
		t.Errorf("SystemRoots = %q, want %q", trust.SystemRoots, system)
	}
	if got := countCerts(t, trust.BundleFile); got != 4 {
		t.Errorf("the bundle holds %d certificates, want 4", got)
	}
	if !IsBundle(trust.BundleFile) || IsBundle(system) || IsBundle(filepath.Join(dir, "missing")) {
		t.Error("IsBundle does not tell our bundle from others")
	}
	store, err := os.ReadFile(trust.TrustStoreFile)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(store, TrustStorePassword)
	if err != nil {
		t.Fatal(err)
	}
	if len(certs) != 4 || !certs[0].Equal(a.caCert) {
		t.Errorf("the trust store holds %d certificates, want 4 with ours first", len(certs))
	}

	// SSL_CERT_FILE may name a bundle that Confab wrote. The roots must then still be read from the
	// system's file.
	t.Setenv("SSL_CERT_FILE", trust.BundleFile)
	if source, _ := systemRoots(trust.BundleFile, []string{"/nowhere", system}); source != system {
		t.Errorf("our own bundle was taken for the system's roots: %q", source)
	}
}

func TestWriteTrustOnce(t *testing.T) {
	system := rootsFile(t, 1)
	t.Setenv("SSL_CERT_FILE", system)
	dir := t.TempDir()
	trust := writeTrust(t, open(t, dir, nil))
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(trust.TrustStoreFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := read()
	writeTrust(t, open(t, dir, nil))
	if read() != first {
		// A trust store that was made again would differ, because its salt is random.
		t.Error("the trust store was made again for the same roots")
	}
	if err := os.Remove(trust.TrustStoreFile); err != nil {
		t.Fatal(err)
	}
	writeTrust(t, open(t, dir, nil))
	if second := read(); second == first {
		t.Error("a missing trust store was not made again")
	} else {
		first = second
	}
	t.Setenv("SSL_CERT_FILE", rootsFile(t, 2))
	writeTrust(t, open(t, dir, nil))
	if read() == first {
		t.Error("the trust store did not follow the system's roots")
	}
}

func TestSystemRoots(t *testing.T) {
	one, two := rootsFile(t, 1), rootsFile(t, 1)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, named string
		files       []string
		want        string
	}{
		{"what the user named", one, []string{two}, one},
		{"the first there is", "", []string{"/nowhere", one, two}, one},
		{"named but missing", "/nowhere", []string{two}, two},
		{"named but empty", empty, []string{two}, two},
		{"none", "", []string{"/nowhere", empty}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, text := systemRoots(tt.named, tt.files)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (text != nil) != (tt.want != "") {
				t.Errorf("got %d bytes from %q", len(text), got)
			}
		})
	}
}

// TestTrustWithoutSystemRoots checks that the bundle and the trust store contain only the authority
// if the system has no root certificates.
func TestTrustWithoutSystemRoots(t *testing.T) {
	a := open(t, t.TempDir(), nil)
	if got, want := bundleOf(nil, a.caCert), append([]byte(bundleMark), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.caCert.Raw})...); !bytes.Equal(got, want) {
		t.Error(cmp.Diff(string(want), string(got)))
	}
	store, err := trustStoreOf([]byte("-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"), a.caCert)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pkcs12.DecodeTrustStore(store, TrustStorePassword)
	if err != nil || len(certs) != 1 {
		t.Errorf("the trust store holds %d certificates (%v), want 1 without the damaged one", len(certs), err)
	}
}

func TestGoClient(t *testing.T) {
	a := open(t, t.TempDir(), nil)
	url := serve(t, a)
	text, err := os.ReadFile(writeTrust(t, a).BundleFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: a.TLSConfig()}, Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	if _, err := c.Get(url); err == nil {
		t.Error("a client without our root connected")
	}
	c.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

// TestJava checks that a real Java program can connect to a server with the trust store, in a
// folder whose name contains a space. It starts two Java programs, so it runs only if
// CONFAB_TEST_JAVA is set.
func TestJava(t *testing.T) {
	if os.Getenv("CONFAB_TEST_JAVA") == "" {
		t.Skip("starts real Java programs: set CONFAB_TEST_JAVA=1 to run it")
	}
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("there is no java on PATH")
	}
	dir := filepath.Join(t.TempDir(), "with space")
	a := open(t, dir, nil)
	url := serve(t, a)
	trust := writeTrust(t, a)
	run := func(options string) (string, error) {
		cmd := exec.Command(java, filepath.Join("testdata", "Get.java"), url)
		cmd.Env = append(os.Environ(), "JAVA_TOOL_OPTIONS="+options)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(""); err == nil || !strings.Contains(out, "SSLHandshakeException") {
		t.Errorf("java without our trust store: %v\n%s", err, out)
	}
	out, err := run(`-Djavax.net.ssl.trustStore="` + trust.TrustStoreFile + `" -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=` + TrustStorePassword)
	if err != nil || !strings.Contains(out, "200") {
		t.Errorf("java with our trust store: %v\n%s", err, out)
	}
}

// serve starts an HTTPS server that uses the authority's certificate and answers 200 to every
// request. It does not use httptest, whose servers present their own certificate to a client
// that sends no host name, as Java does for localhost.
func serve(t *testing.T, a *Authority) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return "https://localhost:" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}
