package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/truststore"
	"github.com/spf13/cobra"
)

func TestChangeTrust(t *testing.T) {
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Confab local CA box 1a2b3c"}}
	var did []string
	store := func(name, said string, err error) trustStore {
		note := func(verb string) func(*x509.Certificate) (string, error) {
			return func(c *x509.Certificate) (string, error) {
				if c != ca {
					t.Error("another certificate")
				}
				did = append(did, verb+" "+name)
				return said, err
			}
		}
		return trustStore{name, func(*x509.Certificate) bool { return true }, note("add"), note("remove")}
	}
	var out bytes.Buffer
	if err := changeTrust(&out, []trustStore{store("system", "added", nil), store("browsers", "not changed: none", nil)}, ca, false); err != nil {
		t.Error(err)
	}
	if got, want := out.String(), "system     added\nbrowsers   not changed: none\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	// If one certificate store fails, changeTrust still changes the other stores.
	out.Reset()
	failed := truststore.NewCmdError(errors.New("exit status 1"), exec.Command("/bin/tee", "x"), []byte("tee: x: Permission denied\n"))
	err := changeTrust(&out, []trustStore{store("system", "removed", failed), store("browsers", "removed", nil)}, ca, true)
	if err == nil || !strings.Contains(err.Error(), "not every store could be changed (system)") {
		t.Errorf("got %v", err)
	}
	if got, want := out.String(), "system     failed: tee: exit status 1: tee: x: Permission denied\nbrowsers   removed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := strings.Join(did, ", "), "add system, add browsers, remove system, remove browsers"; got != want {
		t.Errorf("did %s, want %s", got, want)
	}
}

// TestRemoveWhatIsNotThere checks that changeTrust does not change a store that lacks the
// authority to remove, and prints that there is nothing to remove.
func TestRemoveWhatIsNotThere(t *testing.T) {
	store := func(name string, has bool) trustStore {
		return trustStore{
			name: name,
			has:  func(*x509.Certificate) bool { return has },
			remove: func(*x509.Certificate) (string, error) {
				if !has {
					t.Errorf("%s was changed", name)
				}
				return "removed", nil
			},
		}
	}
	ca := &x509.Certificate{}
	var out bytes.Buffer
	stores := []trustStore{store("system", false), store("browsers", true)}
	if err := changeTrust(&out, stores, ca, true); err != nil {
		t.Error(err)
	}
	if got, want := out.String(), "system     nothing to remove\nbrowsers   removed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !anyHas(stores, ca) || anyHas(stores[:1], ca) {
		t.Error("anyHas does not tell whether a store has the authority")
	}
}

// TestBrowsersHave adds an authority to the store of a browser's profile with certutil, the
// browsers' own tool. It checks that browsersHave reports the authority afterwards, and not before.
func TestBrowsersHave(t *testing.T) {
	certutil, err := exec.LookPath("certutil")
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("certutil of NSS is not on PATH (package libnss3-tools)")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "Confab local CA box 1a2b3c"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file, profile := filepath.Join(home, "ca.pem"), filepath.Join(home, ".pki", "nssdb")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(certutil, args...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %v: %v: %s", args, err, out)
		}
	}
	if browsersHave(ca) {
		t.Error("found without a profile")
	}
	if err := os.MkdirAll(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	run("-N", "-d", "sql:"+profile, "--empty-password")
	if browsersHave(ca) {
		t.Error("found in an empty store")
	}
	run("-A", "-d", "sql:"+profile, "-t", "C,,", "-n", storedName(ca), "-i", file)
	if !browsersHave(ca) {
		t.Error("not found in the store")
	}
}

func TestTrustQuestion(t *testing.T) {
	t.Setenv("HOME", "/home/a")
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Confab local CA box 1a2b3c"}}
	got := trustQuestion(ca, "/home/a/d/tls/ca.pem", false, true)
	want := `"Confab local CA box 1a2b3c" will be added to the certificate stores of this system and of this user's browsers. ` +
		`Anybody who has the key beside ~/d/tls/ca.pem can then impersonate any site to them. sudo may ask for your password.`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = trustQuestion(ca, "/x", true, false)
	if want := `"Confab local CA box 1a2b3c" will be removed from the certificate stores of this system and of this user's browsers.`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAsk(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, " y \n": true, "n\n": false, "\n": false, "": false, "y": true, "yellow\n": false} {
		var out bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetErr(&out)
		if err := ask(cmd, "It ends."); (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
		if !strings.HasPrefix(out.String(), "It ends.\nContinue? [y/N] ") {
			t.Errorf("asked %q", out.String())
		}
	}
}
