package localca

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestTemporary(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pair, ca, err := Temporary(Options{Names: []string{"chat.lan"}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("the authority is no certificate: %s", ca)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "chat.lan"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, other, err := Temporary(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if string(other) == string(ca) {
		t.Error("two authorities are one")
	}
	if _, _, err := Temporary(Options{Names: []string{"not a name"}}); err == nil || !strings.Contains(err.Error(), "not a name") {
		t.Errorf("a name that is none: %v", err)
	}
}
