package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
)

// patience is the longest time that a test waits before it fails.
const patience = time.Minute

// failing is a development server that reports its failed connections to a test.
type failing struct {
	*running
	failed chan server.FailedConnection
	ahead  atomic.Int64 // nanoseconds by which the server's clock is ahead of the real time
}

func startFailing(t *testing.T) *failing {
	t.Helper()
	f := &failing{failed: make(chan server.FailedConnection, 100)}
	f.running = start(t, server.Options{
		Config: settings(t, "dev", "true", "listen-http", "localhost:0"),
		Failed: func(c server.FailedConnection) { f.failed <- c },
		Now:    func() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) },
	})
	return f
}

// minute moves the server's clock a minute ahead, so that the next failure of the same kind and
// client is reported again.
func (f *failing) minute() { f.ahead.Add(int64(time.Minute)) }

// next waits for the next failure that the server reports, and returns it.
func (f *failing) next(t *testing.T) server.FailedConnection {
	t.Helper()
	select {
	case c := <-f.failed:
		return c
	case <-time.After(patience):
		t.Fatal("no failed connection was reported")
		return server.FailedConnection{}
	}
}

// count waits until the metric that counts failures of this kind has the value want.
func (f *failing) count(t *testing.T, kind server.FailureKind, want int) {
	t.Helper()
	line := fmt.Sprintf("confab_connections_failed_total{kind=%q} %d\n", kind, want)
	var text string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, text = f.get(t, f.Ops+"/metrics"); strings.Contains(text, line) {
			return
		}
	}
	t.Fatalf("the metrics do not have %q:\n%s", line, text)
}

// hostPort returns the host and the port of an address.
func hostPort(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// dial makes a TLS handshake with the server and returns its error.
func (f *failing) dial(t *testing.T, c *tls.Config) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", hostPort(t, f.Endpoint), c)
	if err == nil {
		conn.Close()
	}
	return err
}

// strangers lists clients that do not trust the server's authority. The function run gets the
// newest version of TLS that the client may use, 1.2 or 1.3, and returns the client's error.
var strangers = []struct {
	name   string
	run    func(t *testing.T, f *failing, version string) error
	kind   server.FailureKind
	detail string // an alert
}{
	{"Go", func(t *testing.T, f *failing, version string) error {
		most := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
		return f.dial(t, &tls.Config{RootCAs: x509.NewCertPool(), MaxVersion: most})
	}, server.Untrusted, "bad certificate"},
	{"curl", func(t *testing.T, f *failing, version string) error {
		return runClient(t, "curl", "--silent", "--show-error", "--tls-max", version, f.Endpoint)
	}, server.Untrusted, "unknown certificate authority"},
	{"Python urllib", func(t *testing.T, f *failing, version string) error {
		return runClient(t, "python3", "-c", `
import ssl, sys, urllib.request
context = ssl.create_default_context()
context.maximum_version = ssl.TLSVersion["TLSv" + sys.argv[2].replace(".", "_")]
urllib.request.urlopen(sys.argv[1], context=context)
`, f.Endpoint, version)
	}, server.Untrusted, "unknown certificate authority"},
	{"Python requests", func(t *testing.T, f *failing, version string) error {
		if version != "1.3" {
			t.Skip("requests has no setting for the version")
		}
		if out, err := exec.Command("python3", "-c", "import requests").CombinedOutput(); err != nil {
			t.Skipf("python3 with requests is needed: %v %s", err, out)
		}
		return runClient(t, "python3", "-c", "import requests, sys; requests.get(sys.argv[1])", f.Endpoint)
	}, server.Untrusted, "unknown certificate authority"},
	{"Node", func(t *testing.T, f *failing, version string) error {
		if version != "1.3" {
			t.Skip("Node leaves after the handshake of TLS 1.2, like a client that connects for later")
		}
		return runClient(t, "node", "-e", "require('https').get(process.argv[1]).on('error', e => { console.log(e.message); process.exit(1) })", f.Endpoint)
	}, server.HungUp, ""},
}

// runClient runs a program, without the environment variables that name trusted authorities, and
// returns the program's error. It skips the test if the program is not installed.
func runClient(t *testing.T, name string, args ...string) error {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is needed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}

// TestUntrustedServer connects with clients that do not trust the server, and checks that each
// failure is reported with the TLS alert that the client sent.
func TestUntrustedServer(t *testing.T) {
	f := startFailing(t)
	for _, client := range strangers {
		for _, version := range []string{"1.2", "1.3"} {
			t.Run(client.name+" TLS "+version, func(t *testing.T) {
				f.minute()
				if err := client.run(t, f, version); err == nil {
					t.Fatal("the client trusts the server")
				} else if !strings.Contains(strings.ToLower(err.Error()), "certificate") {
					t.Fatalf("the client failed for another reason: %v", err)
				}
				got := f.next(t)
				if got.Kind != client.kind || got.Detail != client.detail || !net.ParseIP(got.Client).IsLoopback() || got.Times != 1 {
					t.Errorf("got %+v, want %s of this machine with %q", got, client.kind, client.detail)
				}
				if want := "trust"; !strings.Contains(got.What(), want) || !strings.Contains(got.What(), got.Client) || !strings.Contains(got.What(), client.detail) {
					t.Errorf("got %q, want %q, the address and %q in it", got.What(), want, client.detail)
				}
			})
		}
	}
}

// TestFailedConnections makes connections that fail for other reasons than a certificate that
// the client does not trust. It also makes connections that do not fail, which must not be
// reported.
func TestFailedConnections(t *testing.T) {
	f := startFailing(t)
	address := hostPort(t, f.Endpoint)
	hangUp := errors.New("hang up")
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
		want server.FailureKind // "": no failure is reported
	}{
		{"a look whether the port is open", func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}, ""},
		{"a connection for later", func(t *testing.T) {
			if err := f.dial(t, &tls.Config{RootCAs: f.roots}); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a request", func(t *testing.T) { f.get(t, f.Endpoint) }, ""},
		{"the end of the connection after the certificate", func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error {
				conn.Close()
				return hangUp
			}}).HandshakeContext(t.Context())
			if err == nil {
				t.Fatal("the handshake succeeded")
			}
		}, server.HungUp},
		{"http to the https port", func(t *testing.T) {
			resp, err := http.Post("http://"+address+"/identities", "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 400 || !strings.Contains(string(b), "HTTPS") {
				t.Errorf("got %s %q, %v", resp.Status, b, err)
			}
		}, server.PlainHTTP},
		{"https to the http port", func(t *testing.T) {
			conn, err := tls.Dial("tcp", hostPort(t, f.HTTP), &tls.Config{InsecureSkipVerify: true})
			if err == nil {
				conn.Close()
				t.Fatal("the http port speaks TLS")
			}
		}, server.TLSToHTTP},
		{"an old version of TLS", func(t *testing.T) {
			if err := f.dial(t, &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
				t.Fatal("the server speaks TLS 1.1")
			}
		}, server.OtherTLS},
		{"a greeting that is no TLS", func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "SSH-2.0-OpenSSH\r\n")
			io.Copy(io.Discard, conn)
		}, server.OtherTLS},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.minute()
			c.do(t)
			if c.want == "" {
				return // do not wait here: if a failure is reported nevertheless, the next case receives it and fails
			}
			if got := f.next(t); got.Kind != c.want || got.Port == "" || !strings.Contains(got.What(), got.Client) {
				t.Errorf("got %+v %q, want kind %q", got, got.What(), c.want)
			}
		})
	}
	for kind, want := range map[server.FailureKind]int{server.Untrusted: 0, server.HungUp: 1, server.PlainHTTP: 1, server.TLSToHTTP: 1, server.OtherTLS: 2} {
		f.count(t, kind, want)
	}
}

// TestFailuresAreSaidOnce makes one client fail five times, and once more a minute later. It
// checks that only two failures are reported, and that the second report has the number of
// failures since the first.
func TestFailuresAreSaidOnce(t *testing.T) {
	f := startFailing(t)
	stranger := func() {
		t.Helper()
		conn, err := net.Dial("tcp4", "127.0.0.1:"+portOf(t, f.Endpoint))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if tls.Client(conn, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}).HandshakeContext(t.Context()) == nil {
			t.Fatal("the client trusts the server")
		}
	}
	for range 5 {
		stranger()
	}
	f.count(t, server.Untrusted, 5)
	f.minute()
	stranger()
	first, second := f.next(t), f.next(t)
	if first.Times != 1 || second.Times != 5 || !strings.HasSuffix(second.What(), "(5 times)") {
		t.Errorf("got %+v and %+v, want one and five times", first, second)
	}
	select {
	case c := <-f.failed:
		t.Errorf("a third is reported: %+v", c)
	default:
	}
}

// TestLogOfFailures connects with a client that does not trust the server. It checks that a
// production server logs one plain line instead of the message of net/http, and that a development
// server also logs what the developer can do.
func TestLogOfFailures(t *testing.T) {
	for name, pairs := range map[string][]string{"production": nil, "memory": {"dev", "true"}, "development": {"dev", "true", "data", t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			var out lockedBuffer
			s := start(t, server.Options{Config: settings(t, pairs...), Command: func(name string) string { return "go run . " + name + " --data d" }, Logger: slog.New(slog.NewTextHandler(&out, nil))})
			f := &failing{running: s}
			if f.dial(t, &tls.Config{RootCAs: x509.NewCertPool()}) == nil {
				t.Fatal("the client trusts the server")
			}
			f.count(t, server.Untrusted, 1)
			s.stop(t)
			text, hint := out.String(), `start the client with go run . run --data d -- COMMAND, or see go run . env --data d and go run . trust --data d`
			if strings.Count(text, "kind=untrusted") != 1 || !strings.Contains(text, "not trusted by") || strings.Contains(text, "TLS handshake error") ||
				strings.Contains(text, hint) != (name == "development") || strings.Contains(text, "let the client trust "+s.CAFile) != (name == "memory") {
				t.Errorf("the log says:\n%s", text)
			}
		})
	}
}

// TestNoFailuresAtTheEnd checks that connections which the server itself closes are not reported
// as failures.
func TestNoFailuresAtTheEnd(t *testing.T) {
	f := startFailing(t)
	conn, err := net.Dial("tcp", hostPort(t, f.Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{22, 3, 1}); err != nil { // send the beginning of a TLS handshake
		t.Fatal(err)
	}
	f.get(t, f.Endpoint)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Close(ctx) // ignore the error: Close fails, because the handshake does not end
	select {
	case c := <-f.failed:
		t.Errorf("got %+v %q", c, c.What())
	default:
	}
}
