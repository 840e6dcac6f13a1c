package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/server"
)

// lockedLog is a log with a lock, so that a test can read it while a server writes to it.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestEndsOfCertificates starts servers at different times before their certificates expire. It
// checks that the log and the metrics warn from 30 days before the expiry on, both for the local
// authority's certificates and for a certificate of the user's own.
func TestEndsOfCertificates(t *testing.T) {
	const day = 24 * time.Hour
	data := t.TempDir()
	made := time.Now()
	start(t, server.Options{Config: settings(t, "data", data)}).stop(t)
	pair, _, err := localca.Temporary(localca.Options{Now: func() time.Time { return made }}) // the certificate expires after 397 days
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := writePair(t, pair)
	own := []string{"tls-cert", certFile, "tls-key", keyFile}
	authority := 2 * 365 * day
	for _, tc := range []struct {
		name  string
		after time.Duration
		pairs []string
		soon  map[string]bool // for each certificate, whether a warning is expected
		says  string
	}{
		{"new", 0, nil, map[string]bool{"authority": false, "server": false}, ""},
		{"31 days before the authority's end", authority - 31*day, nil, map[string]bool{"authority": false, "server": false}, ""},
		{"29 days before the authority's end", authority - 29*day, nil, map[string]bool{"authority": true, "server": true}, "tls/ca.pem"},
		{"the user's, 31 days before its end", 397*day - 31*day, own, map[string]bool{"server": false}, ""},
		{"the user's, 29 days before its end", 397*day - 29*day, own, map[string]bool{"server": true}, certFile},
		{"the user's, after its end", 398 * day, own, map[string]bool{"server": true}, "a certificate has ended"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log lockedLog
			s := start(t, server.Options{
				Config: settings(t, append(tc.pairs, "data", data)...), Now: func() time.Time { return made.Add(tc.after) },
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			status, metrics := s.get(t, s.Ops+"/metrics")
			if status != 200 {
				t.Fatalf("metrics: %d", status)
			}
			for name, soon := range tc.soon {
				if want := fmt.Sprintf("confab_certificate_ends_soon{certificate=%q} %d\n", name, map[bool]int{true: 1}[soon]); !strings.Contains(metrics, want) {
					t.Errorf("the metrics lack %q", want)
				}
				if !strings.Contains(metrics, fmt.Sprintf("confab_certificate_end_seconds{certificate=%q} 1.", name)) {
					t.Errorf("the metrics do not say when the certificate of the %s ends", name)
				}
			}
			if n := strings.Count(metrics, "confab_certificate_ends_soon{"); n != len(tc.soon) {
				t.Errorf("%d certificates in the metrics, want %d", n, len(tc.soon))
			}
			s.stop(t) // wait for the end of the server, because it has logged the warning by then
			if text := log.String(); (text != "") != (tc.says != "") || !strings.Contains(text, tc.says) {
				t.Errorf("the log says %q, want %q in it", text, tc.says)
			}
		})
	}
}

// writePair writes a certificate and its key to files, for the settings tls-cert and tls-key.
func writePair(t *testing.T, pair tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, text := range map[string][]byte{certFile: cert, keyFile: key} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
