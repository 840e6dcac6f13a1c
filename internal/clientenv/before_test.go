package clientenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shellEnv is the environment of a shell: the values of variables by name.
type shellEnv map[string]string

func (e shellEnv) get(name string) string { return e[name] }

// eval sets variables in the environment, as `eval "$(confab env)"` does in a shell.
func (e shellEnv) eval(vars []Var) {
	for _, v := range vars {
		e[v.Name] = v.Value
	}
}

// unset calls Unset and makes the changes that it returns.
func (e shellEnv) unset() {
	restore, remove := Unset(e.get)
	e.eval(restore)
	for _, name := range remove {
		delete(e, name)
	}
}

// ownFiles creates the certificate files of a server and returns the server. corp is the name of
// a certificate file of the user. The server's bundle begins with the line by which Confab
// recognizes its own bundles.
func ownFiles(t *testing.T) (s Server, corp string) {
	t.Helper()
	dir := t.TempDir()
	s = local
	s.CAFile, s.BundleFile, s.TrustStoreFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "truststore.p12")
	corp = filepath.Join(dir, "corp.pem")
	for file, text := range map[string]string{
		s.CAFile: "x", corp: "x", s.BundleFile: "# Made by Confab: the system's roots and a local authority.\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s, corp
}

func TestNoProxy(t *testing.T) {
	const added = "localhost,127.0.0.1,::1"
	tests := []struct {
		name               string
		upper, lower       string // values before Vars
		endpoint           string
		wantUpper, wantLow string
	}{
		{"none", "", "", "https://localhost:8443", added, added},
		{"kept", "corp.lan,10.0.0.0/8", "corp.lan,10.0.0.0/8", "https://localhost:8443", "corp.lan,10.0.0.0/8," + added, "corp.lan,10.0.0.0/8," + added},
		// Most programs ignore one spelling of the variable if the other one is set, so the
		// spelling that Vars adds must contain the value of the other one.
		{"upper alone", "corp.lan", "", "https://localhost:8443", "corp.lan," + added, "corp.lan," + added},
		{"lower alone", "", "corp.lan", "https://localhost:8443", "corp.lan," + added, "corp.lan," + added},
		{"two values", "a.lan", "b.lan", "https://localhost:8443", "a.lan," + added, "b.lan," + added},
		{"no doubles", "LOCALHOST, 127.0.0.1", "::1 localhost 127.0.0.1", "https://localhost:8443", "LOCALHOST, 127.0.0.1,::1", "::1 localhost 127.0.0.1"},
		{"all hosts", "*", "", "https://localhost:8443", "*", "*"},
		{"another name", "", "", "https://Chat.Example.com", "chat.example.com", "chat.example.com"},
		{"an address of this machine", "", "", "https://127.0.0.2:8443", added + ",127.0.0.2", added + ",127.0.0.2"},
		{"an address of another machine", "x", "x", "https://[2001:db8::1]:8443/", "x,2001:db8::1", "x,2001:db8::1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := shellEnv{noProxy: tt.upper, noProxyLower: tt.lower}
			s := Server{Endpoint: tt.endpoint, AccessKey: "a2V5"}
			for range 2 { // setting the variables a second time must not make their values longer
				e.eval(s.Vars(e.get))
				if e[noProxy] != tt.wantUpper || e[noProxyLower] != tt.wantLow {
					t.Errorf("got %q and %q, want %q and %q", e[noProxy], e[noProxyLower], tt.wantUpper, tt.wantLow)
				}
			}
		})
	}
}

// TestUnset sets the variables that Vars returns in several environments, up to three times. It
// checks that Unset then restores the environment.
func TestUnset(t *testing.T) {
	s, corp := ownFiles(t)
	other := s
	other.Endpoint, other.AccessKey = "https://localhost:9443", "b3RoZXI="
	for name, before := range map[string]shellEnv{
		"empty":        {},
		"proxies":      {noProxy: "corp.lan , localhost", "HTTPS_PROXY": "http://proxy.corp.lan:3128"},
		"lower case":   {noProxyLower: "*"},
		"certificates": {requestsBundle: corp, sslCertFile: corp, curlBundle: corp, nodeExtra: corp},
		"one of them":  {sslCertFile: corp},
		"java":         {javaOptions: `-Xmx1g  -Djavax.net.ssl.trustStore="/corp/a b.p12" -Djavax.net.ssl.trustStorePassword=s`},
		"another key":  {netConnection: "endpoint=https://corp.communication.azure.com/;accesskey=c2VjcmV0"},
	} {
		t.Run(name, func(t *testing.T) {
			e := shellEnv{}
			for k, v := range before {
				e[k] = v
			}
			e.eval(s.Vars(e.get))
			e.eval(s.Vars(e.get))
			e.eval(other.Vars(e.get)) // now set the variables for another server, on another port
			if noted := e[Before]; strings.Contains(noted, "c2VjcmV0") {
				t.Errorf("%s has a key: %q", Before, noted)
			}
			e.unset()
			want := before
			if name == "another key" {
				want = shellEnv{} // Unset cannot restore the replaced access key, because Before never contains keys
			}
			if diff := cmp.Diff(want, e); diff != "" {
				t.Errorf("the environment after Unset (-want +got):\n%s", diff)
			}
			if restore, remove := Unset(e.get); restore != nil || remove != nil {
				t.Errorf("a second Unset has something to do: %v, %v", restore, remove)
			}
		})
	}
}

// TestUnsetLeavesChanges checks that Unset does not touch variables that the user has changed
// after Vars set them.
func TestUnsetLeavesChanges(t *testing.T) {
	s, corp := ownFiles(t)
	e := shellEnv{noProxy: "corp.lan", javaOptions: "-Xss1m"}
	e.eval(s.Vars(e.get))
	e[noProxy] += ",more.lan"
	e[sslCertFile] = corp
	e[javaOptions] += " -Xmx1g"
	e[sampleEndpoint] = "https://corp.communication.azure.com"
	e.unset()
	want := shellEnv{noProxy: "corp.lan,more.lan", sslCertFile: corp, javaOptions: "-Xss1m -Xmx1g", sampleEndpoint: "https://corp.communication.azure.com"}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestUnsetOfLostFiles checks that Unset removes variables that name files of a server whose folder
// was deleted, even if the variable Before is missing.
func TestUnsetOfLostFiles(t *testing.T) {
	e := shellEnv{}
	e.eval(local.Vars(e.get)) // the server's folder, /d, does not exist, like a folder that was deleted
	delete(e, Before)
	delete(e, noProxy)
	delete(e, noProxyLower)
	e.unset()
	if diff := cmp.Diff(shellEnv{}, e); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUserRoots(t *testing.T) {
	s, corp := ownFiles(t)
	e := shellEnv{requestsBundle: corp, sslCertFile: corp, nodeExtra: "/corp/node.pem"}
	want := []string{corp, "/corp/node.pem"}
	for range 2 {
		if diff := cmp.Diff(want, UserRoots(e.get)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		e.eval(s.Vars(e.get))
	}
	if got := UserRoots(shellEnv{}.get); got != nil {
		t.Errorf("got %q of an empty environment", got)
	}
}

func TestFormatUnset(t *testing.T) {
	for shell, want := range map[Shell]string{
		Sh:         "unset A\nunset b\n",
		Fish:       "set -e A\nset -e b\n",
		PowerShell: "$Env:A = $null\n$Env:b = $null\n",
		Cmd:        "set \"A=\"\nset \"b=\"\n",
	} {
		if got, err := FormatUnset(shell, []string{"A", "b"}); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", shell, got, err, want)
		}
	}
	if got, err := FormatUnset(Dotenv, []string{"A"}); err == nil {
		t.Errorf("dotenv: got %q, want an error: a file cannot remove a variable", got)
	}
}
