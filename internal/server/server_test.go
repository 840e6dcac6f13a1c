package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) {
	if what := os.Getenv("TEST_TRANSFER_CHILD"); what != "" {
		transferChild(what)
	}
	if what := os.Getenv("TEST_MOVE_CHILD"); what != "" {
		moveChild(what)
	}
	goleak.VerifyTestMain(m)
}

// settings returns the settings of a server for a test, with data in memory and free ports. The
// arguments pairs are names and values of further settings, which override these.
func settings(t testing.TB, pairs ...string) config.Config {
	t.Helper()
	in := config.Input{
		Defaults: map[string]string{"access-log": "all"},
		Environ:  []string{"CONFAB_DATA=memory:", "CONFAB_LISTEN=localhost:0", "CONFAB_LISTEN_HTTP=off", "CONFAB_LISTEN_OPS=localhost:0"},
	}
	for i := 0; i < len(pairs); i += 2 {
		in.Environ = append(in.Environ, config.EnvName(pairs[i])+"="+pairs[i+1])
	}
	c, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running is a running server, with an HTTP client that trusts the server.
type running struct {
	*server.Server
	server.Info
	client *http.Client
	roots  *x509.CertPool
}

func start(t testing.TB, o server.Options) *running {
	t.Helper()
	s, err := server.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	r := &running{Server: s, Info: s.Info(), roots: x509.NewCertPool()}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil || !r.roots.AppendCertsFromPEM(pem) {
			t.Fatalf("the CA file %s: %v", r.CAFile, err)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.client.CloseIdleConnections()
	if err := r.Close(context.Background()); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func (r *running) do(t testing.TB, req *http.Request) (status int, body string) {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *running) get(t testing.TB, address string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest("GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.do(t, req)
}

// newUser creates a user with a token. It signs the request with the access key key.
func (r *running) newUser(t testing.TB, key string) (status int, id, bearer string) {
	t.Helper()
	req, err := http.NewRequest("POST", r.Endpoint+"/identities?api-version=2023-10-01", strings.NewReader(`{"createTokenWithScopes":["chat"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	k, err := communication.NewAccessKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Sign(req, time.Now()); err != nil {
		t.Fatal(err)
	}
	status, body := r.do(t, req)
	var out struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return status, out.Identity.ID, out.AccessToken.Token
}

// chat sends a request with the token bearer to path, which is relative to /chat/threads.
func (r *running) chat(t testing.TB, method, path, bearer, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, r.Endpoint+"/chat/threads"+path+"?api-version=2021-09-07", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	return r.do(t, req)
}

// newThread creates a thread and returns its id.
func (r *running) newThread(t testing.TB, bearer string) string {
	t.Helper()
	status, body := r.chat(t, "POST", "", bearer, `{"topic":"lunch"}`)
	var out struct{ ChatThread struct{ ID string } }
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != 201 {
		t.Fatalf("create a thread: %d %s, %v", status, body, err)
	}
	return out.ChatThread.ID
}

// operate sends a request to the operator's API over the operator's socket. The argument path is
// relative to admin.Prefix.
func (r *running) operate(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.AdminSocket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://localhost"+admin.Prefix+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return (&running{client: &http.Client{Transport: transport}}).do(t, req)
}

func TestOpsPort(t *testing.T) {
	s := start(t, server.Options{Config: settings(t), Version: "v9.8.7"})
	profiled := start(t, server.Options{Config: settings(t, "pprof", "true")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	s.newThread(t, bearer)
	s.get(t, s.Endpoint+"/nothing")
	for _, c := range []struct {
		path   string
		status int
		has    []string
	}{
		{"/healthz", 200, []string{"ok\n"}},
		{"/readyz", 200, []string{"ready\n"}},
		{"/metrics", 200, []string{
			`confab_requests_total{operation="create thread",status="201"} 1`, `confab_requests_total{operation="create user",status="201"} 1`,
			`confab_requests_total{operation="none",status="404"} 1`, `confab_request_seconds_count{operation="create thread"} 1`,
			`confab_build_info{version="v9.8.7"} 1`, `confab_batch_changes_count 2`, "confab_storage_disk_bytes", "go_goroutines",
		}},
		{"/debug/pprof/", 404, nil},
		{"/debug/pprof/cmdline", 404, nil},
		{"/debug/pprof/goroutine?debug=1", 404, nil},
		{"/debug/pprof/symbol", 404, nil},
		{"with --pprof:/debug/pprof/", 200, []string{"goroutine"}},
		{"with --pprof:/debug/pprof/cmdline", 200, nil},
		{"with --pprof:/debug/pprof/goroutine?debug=1", 200, []string{"goroutine profile"}},
		{"with --pprof:/debug/pprof/symbol", 200, nil},
		{"/identities", 404, nil},
		{"/", 404, nil},
	} {
		address := s.Ops + c.path
		if path, ok := strings.CutPrefix(c.path, "with --pprof:"); ok {
			address = profiled.Ops + path
		}
		status, body := s.get(t, address)
		if status != c.status {
			t.Errorf("%s: status %d, want %d", c.path, status, c.status)
		}
		for _, want := range c.has {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is not in\n%s", c.path, want, body)
			}
		}
	}
	_, body := s.get(t, s.Ops+"/metrics")
	checkHelp(t, body)
	// The port for clients must not serve the paths that are for operators.
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/metrics", "/healthz", "/readyz"} {
		if status, body := s.get(t, s.Endpoint+path); status != 404 {
			t.Errorf("%s on the API port: %d %.80s, want 404", path, status, body)
		}
	}
}

// checkHelp checks that every metric in a response of /metrics has a help text.
func checkHelp(t *testing.T, scrape string) {
	t.Helper()
	helped, n := map[string]bool{}, 0
	for line := range strings.Lines(scrape) {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(line, "# "), " ")
		name, text, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch kind {
		case "HELP":
			helped[name] = text != ""
		case "TYPE":
			if n++; !helped[name] {
				t.Errorf("metric %s has no help", name)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d metrics in\n%s", n, scrape)
	}
}

func TestTLS(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() != "localhost" {
		t.Fatalf("endpoint %s, %v", s.Endpoint, err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, proto := range []string{"h2", "http/1.1"} {
			c, err := tls.Dial("tcp", net.JoinHostPort(host, u.Port()), &tls.Config{RootCAs: s.roots, ServerName: "localhost", NextProtos: []string{proto}})
			if err != nil {
				if host == "::1" && errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "cannot assign requested address") {
					t.Logf("this machine has no %s", host)
					continue
				}
				t.Errorf("%s by %s: %v", host, proto, err)
				continue
			}
			if state := c.ConnectionState(); state.NegotiatedProtocol != proto || state.Version < tls.VersionTLS12 {
				t.Errorf("%s: protocol %q, want %q; TLS %x", host, state.NegotiatedProtocol, proto, state.Version)
			}
			c.Close()
		}
	}
	if _, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a client without the CA trusts the server")
	}
	if _, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: s.roots, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	for name, file := range map[string]string{"CA": s.CAFile, "bundle": s.BundleFile, "trust store": s.TrustStoreFile} {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("the file of the %s: %v", name, err)
		}
	}
	resp, err := s.client.Get(s.Endpoint + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("a client that can gets HTTP/%d, want HTTP/2", resp.ProtoMajor)
	}
	folder := filepath.Dir(s.CAFile)
	s.stop(t)
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the certificates of a server in memory are still in %s: %v", folder, err)
	}
}

func TestPlainHTTP(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0", "listen-ops", "off")})
	if s.Ops != "" || !strings.HasPrefix(s.HTTP, "http://localhost:") {
		t.Errorf("http at %q, want it on localhost; ops at %q, want it off", s.HTTP, s.Ops)
	}
	if status, body := s.get(t, s.HTTP+"/nothing"); status != 404 || !strings.Contains(body, "NotFound") {
		t.Errorf("%d %s, want the API's 404", status, body)
	}
}

func TestCloseTwice(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	waited := make(chan error)
	go func() { waited <- s.Wait() }()
	s.stop(t)
	s.stop(t)
	if err := <-waited; err != nil {
		t.Errorf("Wait: %v", err)
	}
	if _, err := s.client.Get(s.Endpoint); err == nil {
		t.Error("a closed server answers")
	}
}

// upload is a request that sends a message, whose last byte the client has not sent yet.
type upload struct {
	conn net.Conn
	in   *bufio.Reader
	last []byte
}

// begin sends a request without its last byte. It returns when the server is waiting for the
// rest of the body.
func (r *running) begin(t *testing.T, thread, bearer, content string) *upload {
	t.Helper()
	u, err := url.Parse(r.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: r.roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	body := fmt.Sprintf(`{"content":%q}`, content)
	fmt.Fprintf(conn, "POST /chat/threads/%s/messages?api-version=2021-09-07 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", thread, u.Host, bearer, len(body))
	up := &upload{conn: conn, in: bufio.NewReader(conn), last: []byte(body[len(body)-1:])}
	line, err := up.in.ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the server sent %q, %v; want 100 Continue", line, err)
	}
	if _, err := up.in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	return up
}

// drains waits until the server, which is closing, reports that it is not ready and refuses new
// connections.
func (r *running) drains(t *testing.T) {
	t.Helper()
	for {
		resp, err := r.client.Get(r.Ops + "/readyz")
		if err != nil {
			t.Fatalf("readyz: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode == 503 {
			break
		}
		runtime.Gosched()
	}
	u, _ := url.Parse(r.Endpoint)
	for {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			return
		}
		conn.Close()
	}
}

func TestCloseFinishesWhatWasAccepted(t *testing.T) {
	dir := t.TempDir()
	s := start(t, server.Options{Config: settings(t, "data", dir)})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	s.client.CloseIdleConnections()
	up := s.begin(t, thread, bearer, "sent while the server stops")
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	s.drains(t)
	if status, body := s.get(t, s.Ops+"/healthz"); status != 200 {
		t.Errorf("healthz while it stops: %d %s, want 200", status, body)
	}
	s.client.CloseIdleConnections()
	if _, err := up.conn.Write(up.last); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(up.in, nil)
	if err != nil {
		t.Fatalf("the response to the accepted request: %v", err)
	}
	var sent struct{ ID string }
	if err := json.NewDecoder(resp.Body).Decode(&sent); err != nil || resp.StatusCode != 201 || sent.ID == "" {
		t.Errorf("the response to the accepted request: %d, id %q, %v; want 201", resp.StatusCode, sent.ID, err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}

	again := start(t, server.Options{Config: settings(t, "data", dir)})
	status, body := again.chat(t, "GET", "/"+thread+"/messages/"+sent.ID, bearer, "")
	if status != 200 || !strings.Contains(body, "sent while the server stops") {
		t.Errorf("after the restart the message is %d %s", status, body)
	}
}

func TestCloseCutsOffAtTheEndOfItsTime(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	up := s.begin(t, thread, bearer, "never")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.client.CloseIdleConnections()
	err := s.Close(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "requests were cut off") {
		t.Errorf("close: %v, want it to say that requests were cut off", err)
	}
	if _, err := http.ReadResponse(up.in, nil); err == nil {
		t.Error("a request that was cut off got an answer")
	}
}

// TestCloseLeavesTheStoreToHandlers closes a server while one handler does not return. It checks
// that Close leaves the store open for the handler, and that the error of Close says so.
func TestCloseLeavesTheStoreToHandlers(t *testing.T) {
	began, leave := make(chan bool, 1), make(chan bool)
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0"), Access: func(r rest.Record) {
		if r.Operation == "create thread" { // block the handler of this operation, because a handler calls Access before it returns
			began <- true
			<-leave
		}
	}})
	_, _, bearer := s.newUser(t, s.AccessKey)
	answered := make(chan bool)
	go func() {
		defer close(answered)
		req, err := http.NewRequest("POST", s.Endpoint+"/chat/threads?api-version=2021-09-07", strings.NewReader(`{"topic":"lunch"}`))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+bearer)
		if res, err := s.client.Do(req); err == nil { // ignore an error, because the server may have closed the connection
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 requests do not end, so the store is not closed") {
		t.Errorf("close: %v, want it to say that the store is not closed", err)
	}
	if _, err := s.CreateUser(t.Context()); err != nil {
		t.Errorf("the store, while a handler runs: %v", err)
	}
	<-answered
	s.client.CloseIdleConnections()
	close(leave) // let the handler return, so that the store closes; TestMain fails if a goroutine of the store remains
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, server.Options{Config: settings(t, "data", dir)})
	if !first.Fresh || !first.NewCA || first.Memory || first.Dev || first.Data != dir {
		t.Errorf("the first start says %+v", first.Info)
	}
	_, id, bearer := first.newUser(t, first.AccessKey)
	thread := first.newThread(t, bearer)
	if status, body := first.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"kept"}`); status != 201 {
		t.Fatalf("send: %d %s", status, body)
	}
	ca, err := os.ReadFile(first.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	first.stop(t)

	second := start(t, server.Options{Config: settings(t, "data", dir)})
	if second.Fresh || second.NewCA || second.AccessKey != first.AccessKey {
		t.Errorf("the second start says fresh %v, new CA %v, same key %v", second.Fresh, second.NewCA, second.AccessKey == first.AccessKey)
	}
	if again, err := os.ReadFile(second.CAFile); err != nil || !bytes.Equal(ca, again) {
		t.Errorf("the CA has changed, %v: no client trusts the server any more", err)
	}
	status, body := second.chat(t, "GET", "/"+thread+"/messages", bearer, "")
	if status != 200 || !strings.Contains(body, "kept") || !strings.Contains(body, id) {
		t.Errorf("the messages after the restart: %d %s", status, body)
	}
	if status, _, _ := second.newUser(t, first.AccessKey); status != 201 {
		t.Errorf("the key after the restart: %d, want 201", status)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "tls", "ca.key"): 0o600} {
		if i, err := os.Stat(name); err != nil || i.Mode().Perm() != mode {
			if errors.Is(err, os.ErrNotExist) && name != dir {
				continue // skip these files, because their names vary; package localca tests them
			}
			t.Errorf("%s: %v, %v; want mode %v", name, i, err, mode)
		}
	}
}
