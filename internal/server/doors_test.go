package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/server"
)

// bodyPatience is the time that a test with a body timeout waits for the end of a connection
// before it fails. It is much longer than the body timeout, because the machine may be busy.
const bodyPatience = 30 * time.Second

// TestEachBodyHasADeadline sends requests that announce a body of ten bytes, and never sends the
// bytes. It checks for each listener and each handler that the server closes the connection.
func TestEachBodyHasADeadline(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0", "listen-admin", "localhost:0", "pprof", "true", "body-timeout", "200ms")})
	dial := map[string]func() (net.Conn, error){
		"https": func() (net.Conn, error) {
			return tls.Dial("tcp", hostOf(t, s.Endpoint), &tls.Config{RootCAs: s.roots, NextProtos: []string{"http/1.1"}})
		},
		"http":   func() (net.Conn, error) { return net.Dial("tcp", hostOf(t, s.HTTP)) },
		"ops":    func() (net.Conn, error) { return net.Dial("tcp", hostOf(t, s.Ops)) },
		"admin":  func() (net.Conn, error) { return net.Dial("tcp", hostOf(t, s.Admin)) },
		"socket": func() (net.Conn, error) { return net.Dial("unix", s.AdminSocket) },
	}
	operator := []string{"GET " + admin.Prefix + "keys", "POST " + admin.Prefix + "keys/primary/rotate", "POST " + admin.Prefix + "backup", "POST " + admin.Prefix + "nothing"}
	public := append([]string{"POST /confab/keys", "GET /", "POST /dev/clock", "GET /dev/faults", "POST /nothing", "POST /identities?api-version=2023-10-01", "POST /v4/a", "GET /chat/events"}, operator...)
	for listener, requests := range map[string][]string{
		"https": public, "http": public, "admin": operator, "socket": operator,
		"ops": {"GET /metrics", "GET /healthz", "GET /readyz", "POST /nothing", "GET /debug/pprof/cmdline"},
	} {
		for _, request := range requests {
			t.Run(listener+" "+strings.ReplaceAll(request, "/", "_"), func(t *testing.T) {
				t.Parallel()
				conn, err := dial[listener]()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n", request, s.AdminSecret)
				conn.SetReadDeadline(time.Now().Add(bodyPatience))
				if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
					t.Errorf("the connection is open after %v", bodyPatience)
				}
			})
		}
	}
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequest("POST", s.Endpoint+"/dev/clock", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		ctx, cancel := context.WithTimeout(t.Context(), bodyPatience)
		defer cancel()
		resp, err := s.client.Do(req.WithContext(ctx))
		if err != nil {
			t.Fatalf("a request without an end of its body: %v", err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode/100 != 4 {
			t.Errorf("HTTP/%d %s", resp.ProtoMajor, resp.Status)
		}
	})
}

// TestRefusedBodiesAreNotWaitedFor sends requests that are refused before their body has
// arrived, some of which wait for a 100 (Continue). The body timeout is a minute. It checks that
// each request is answered and its connection ends. If the body arrives with the request, or
// after a 100, the connection must stay open.
func TestRefusedBodiesAreNotWaitedFor(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0", "body-timeout", "1m")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	const expects = "Expect: 100-continue\r\n"
	for _, tt := range []struct {
		name, path, header string
		body               string // the part of the announced ten bytes that the client sends
		status             int
		closed             bool
	}{
		{"a send", "/chat/threads?api-version=2021-09-07", "", "", 401, true},
		{"half a body", "/chat/threads?api-version=2021-09-07", "", "{}   ", 401, true},
		{"expects", "/chat/threads?api-version=2021-09-07", expects, "", 401, true},
		{"an event stream", "/chat/events", "", "", 405, true},
		{"an identity", "/identities?api-version=2023-10-01", "", "", 401, true},
		{"nothing", "/nothing", "", "", 404, true},
		{"the official protocol", "/v4/a", "", "", 401, true},
		{"a whole body", "/chat/threads?api-version=2021-09-07", "", "{}        ", 401, false},
		{"a whole body of nothing", "/nothing", "", "{}        ", 404, false},
		{"asked for", "/chat/threads?api-version=2021-09-07", expects + "Authorization: Bearer " + bearer + "\r\n", "{}        ", 400, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", hostOf(t, s.HTTP))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(bodyPatience))
			in := bufio.NewReader(conn)
			for range 2 {
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n%s\r\n", tt.path, tt.header)
				if strings.Contains(tt.header, expects) && tt.body != "" {
					if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
						t.Fatalf("%q, %v, want a 100", line, err)
					}
					in.ReadString('\n')
				}
				io.WriteString(conn, tt.body)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != tt.status || resp.Close != tt.closed {
					t.Errorf("%s, closed %t; want %d, %t", resp.Status, resp.Close, tt.status, tt.closed)
				}
				if tt.closed {
					if _, err := in.ReadByte(); err == nil || os.IsTimeout(err) {
						t.Errorf("after the answer: %v, want the end of the connection", err)
					}
					return
				}
			}
		})
	}
}

// TestStreamsOutliveUnreadBodies opens an event stream by a request with a body, which the handler
// does not read. It checks that the stream lasts longer than unreadTime, the time for which a
// response waits for an unread body.
func TestStreamsOutliveUnreadBodies(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	conn, err := net.Dial("tcp", hostOf(t, s.HTTP))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(bodyPatience))
	fmt.Fprintf(conn, "GET /chat/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 2\r\n\r\n{}", bearer)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Errorf("the stream ended: %v", err)
	case <-time.After(1500 * time.Millisecond): // wait longer than unreadTime, the time for which a response waits for an unread body
	}
}

// hostOf returns the host and the port of a URL.
func hostOf(t testing.TB, address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Port() == "" {
		t.Fatalf("%q, %v", address, err)
	}
	return u.Host
}

// TestABodyThatArrivesEndsItsDeadline sends a request whose body arrives, keeps the connection
// open for much longer than the body timeout, and sends a second request on it. It checks that the
// second request is answered.
func TestABodyThatArrivesEndsItsDeadline(t *testing.T) {
	const timeout = 50 * time.Millisecond
	s := start(t, server.Options{Config: settings(t, "dev", "true", "body-timeout", timeout.String(), "data", t.TempDir())})
	conn, err := net.Dial("unix", s.AdminSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := range 2 {
		if i > 0 {
			<-time.After(5 * timeout) // wait longer than the deadline for the body of the first request
		}
		fmt.Fprintf(conn, "POST %sbackup HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", admin.Prefix)
		conn.SetReadDeadline(time.Now().Add(bodyPatience))
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != 409 {
			t.Errorf("request %d: %s, want 409", i, resp.Status)
		}
	}
}

// TestListenersCloseSideBySide closes a server while a request at one listener is not complete.
// It checks that all other listeners except the ops port refuse connections before the request
// is complete.
func TestListenersCloseSideBySide(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "listen-http", "localhost:0", "listen-admin", "localhost:0")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	s.client.CloseIdleConnections()
	up := s.begin(t, thread, bearer, "sent while the server stops")
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	s.drains(t)
	for name, address := range map[string][2]string{"http": {"tcp", hostOf(t, s.HTTP)}, "admin": {"tcp", hostOf(t, s.Admin)}, "socket": {"unix", s.AdminSocket}} {
		for deadline := time.Now().Add(bodyPatience); ; {
			conn, err := net.Dial(address[0], address[1])
			if err != nil {
				break
			}
			conn.Close()
			if time.Now().After(deadline) {
				t.Errorf("%s still accepts connections", name)
				break
			}
		}
	}
	if status, body := s.get(t, s.Ops+"/readyz"); status != 503 {
		t.Errorf("readyz while a request is in progress: %d %s, want 503", status, body)
	}
	s.client.CloseIdleConnections()
	if _, err := up.conn.Write(up.last); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(up.in, nil); err != nil || resp.StatusCode != 201 {
		t.Errorf("the request: %v, %v", resp, err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestCloseDoesNotWaitForBodies closes a server while requests at all its listeners without TLS
// wait for bodies that never come. It checks that Close returns without an error when the
// deadlines of the bodies have passed.
func TestCloseDoesNotWaitForBodies(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0", "listen-admin", "localhost:0", "body-timeout", "2s")})
	for _, r := range []struct{ network, address, request string }{
		{"tcp", hostOf(t, s.HTTP), "POST /dev/clock"},
		{"tcp", hostOf(t, s.Ops), "GET /metrics"},
		{"tcp", hostOf(t, s.Admin), "POST " + admin.Prefix + "keys/primary/rotate"},
		{"unix", s.AdminSocket, "POST " + admin.Prefix + "keys/primary/rotate"},
	} {
		conn, err := net.Dial(r.network, r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n", r.request, s.AdminSecret)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bodyPatience)
	defer cancel()
	began := time.Now()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v after %v", err, time.Since(began))
	}
	t.Logf("closed after %v", time.Since(began).Round(time.Millisecond))
}

// TestOpsHost sends requests with host names of other machines to the ops port, and checks that
// they are refused. A web page can send such requests if its host name was made to resolve to this
// machine.
func TestOpsHost(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "tls-names", "chat.lan", "pprof", "true")})
	for host, want := range map[string]int{
		"localhost": 200, "127.0.0.1:8081": 200, "[::1]": 200, "192.0.2.7:8081": 200, "chat.lan:8081": 200,
		"evil.example": 403, "evil.example:8081": 403, "chat.lan.evil.example": 403,
	} {
		for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/cmdline"} {
			req, err := http.NewRequest("GET", s.Ops+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			if status, body := s.do(t, req); status != want {
				t.Errorf("%s with the host %s: %d %.80s, want %d", path, host, status, body, want)
			}
		}
	}
}

// TestOpenListenersAreWarnedOf checks that a production server logs a warning for each listener
// without TLS that other machines can reach.
func TestOpenListenersAreWarnedOf(t *testing.T) {
	const http, ops = "listen-http can be reached from other machines", "listen-ops can be reached from other machines"
	for _, tt := range []struct {
		name       string
		pairs      []string
		warns      []string
		warnsNotOf []string
	}{
		{name: "loopback", pairs: []string{"listen-http", "localhost:0", "listen-ops", "127.0.0.1:0"}, warnsNotOf: []string{http, ops}},
		{name: "http", pairs: []string{"listen-http", "0.0.0.0:0"}, warns: []string{http}, warnsNotOf: []string{ops}},
		{name: "ops", pairs: []string{"listen-ops", "0.0.0.0:0"}, warns: []string{ops}, warnsNotOf: []string{http, "profiles"}},
		{name: "profiles", pairs: []string{"listen-ops", ":0", "pprof", "true"}, warns: []string{ops, "profiles"}},
		{name: "off", pairs: []string{"listen-ops", "off"}, warnsNotOf: []string{http, ops}},
	} {
		var out log
		start(t, server.Options{Config: settings(t, tt.pairs...), Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))}).stop(t)
		for _, want := range tt.warns {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no warning %q in\n%s", tt.name, want, &out)
			}
		}
		for _, never := range tt.warnsNotOf {
			if strings.Contains(out.String(), never) {
				t.Errorf("%s: a warning %q in\n%s", tt.name, never, &out)
			}
		}
	}
}

// TestSocketPlaces checks the path of the operator's socket: it is in the data folder; in the
// runtime folder if that path would be too long; or in a private temporary folder. It checks that
// a closed server has removed the socket.
func TestSocketPlaces(t *testing.T) {
	runtime := t.TempDir()
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	short := t.TempDir()
	for _, tt := range []struct{ name, data, runtime, in string }{
		{"data folder", short, runtime, filepath.Join(short, "admin.sock")},
		{"runtime folder", long, runtime, filepath.Join(runtime, "confab", "admin-")},
		{"no runtime folder", long, "", os.TempDir()},
		{"in memory", "memory:", runtime, os.TempDir()},
	} {
		t.Setenv("XDG_RUNTIME_DIR", tt.runtime)
		s := start(t, server.Options{Config: settings(t, "data", tt.data)})
		if !strings.HasPrefix(s.AdminSocket, tt.in) || len(s.AdminSocket) > 100 {
			t.Errorf("%s: the socket is %s, want it at %s", tt.name, s.AdminSocket, tt.in)
		}
		if status, body := s.operate(t, "GET", "keys", ""); status != 200 {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
		if st, err := os.Stat(s.AdminSocket); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", tt.name, st, err)
		}
		folder := filepath.Dir(s.AdminSocket)
		if st, err := os.Stat(folder); err != nil || folder != short && st.Mode().Perm() != 0o700 {
			t.Errorf("%s: the folder %s: %v, %v, want mode 0700", tt.name, folder, st, err)
		}
		s.stop(t)
		if _, err := os.Lstat(s.AdminSocket); !os.IsNotExist(err) {
			t.Errorf("%s: after the end of the server: %v", tt.name, err)
		}
		if _, err := os.Stat(folder); tt.in == os.TempDir() && !os.IsNotExist(err) {
			t.Errorf("%s: the folder is still there: %v", tt.name, err)
		}
	}
}

// TestForeignFilesStay checks that a starting server does not replace a file at the path of its
// socket if that file is not a socket.
func TestForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	file := filepath.Join(dir, "admin.sock")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, server.Options{Config: settings(t, "data", dir)})
	if s.AdminSocket == file {
		t.Error("the socket has replaced a file")
	}
	s.stop(t)
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
