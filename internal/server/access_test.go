package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// lockedBuffer is a buffer with a lock, so that a test can read the log in it while the goroutines
// of a server write to it.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// logLine is a line of the access log.
type logLine struct {
	Msg, Operation, Method, Path, Note, Reason, Client, Agent, Request string

	Status        int
	ClientRequest string `json:"client_request"`
}

// logged starts a server that logs all levels to a buffer, and returns the server and the
// buffer.
func logged(t *testing.T, pairs ...string) (*running, *lockedBuffer) {
	t.Helper()
	out := &lockedBuffer{}
	return start(t, server.Options{
		Config: settings(t, pairs...),
		Logger: slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}), out
}

// accessByID returns the access lines in a log, by the id of the request. The lines are not in the
// order of the requests, because the server writes a line after it has sent the response.
func accessByID(t *testing.T, out *lockedBuffer) map[string]logLine {
	lines := map[string]logLine{}
	for _, line := range accessLines(t, out) {
		lines[line.Request] = line
	}
	return lines
}

// accessLines decodes the lines about requests in a log and returns them.
func accessLines(t *testing.T, out *lockedBuffer) (lines []logLine) {
	t.Helper()
	for text := range strings.Lines(out.String()) {
		var line logLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line.Msg == "request" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestLogKeepsSecrets calls every operation, with valid and with invalid requests. It checks that
// the log, including the debug lines, has no topic, name, content, metadata, token or key, and
// that no field is longer than 512 bytes.
func TestLogKeepsSecrets(t *testing.T) {
	s, out := logged(t, "dev", "true")
	_, ann, bearer := s.newUser(t, s.AccessKey)
	_, bob, other := s.newUser(t, s.AccessKey)
	const secret = "sesame" // a word that every text of a user in this test contains
	text := func(what string) string { return secret + "-" + what }
	body := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }

	status, answer := s.chat(t, "POST", "", bearer, body(`{"topic":%q,"participants":[{"communicationIdentifier":{"rawId":%q},"displayName":%q}],"metadata":{%q:%q}}`,
		text("topic"), bob, text("name"), text("key"), text("value")))
	var made struct{ ChatThread struct{ ID string } }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != 201 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	thread := "/" + made.ChatThread.ID
	message := func(content, kind string) string {
		status, answer := s.chat(t, "POST", thread+"/messages", bearer, body(`{"content":%q,"type":%q,"senderDisplayName":%q,"metadata":{"k":%q}}`, content, kind, text("sender"), text("meta")))
		var sent struct{ ID string }
		if err := json.Unmarshal([]byte(answer), &sent); err != nil || status != 201 {
			t.Fatalf("send: %d %s %v", status, answer, err)
		}
		return thread + "/messages/" + sent.ID
	}
	id := message(text("content"), "text")
	html := message("<b>"+text("html")+"</b>", "html")
	for _, c := range []struct{ method, path, bearer, body string }{
		{"GET", "", bearer, ""}, {"GET", thread, bearer, ""}, {"GET", id, bearer, ""}, {"GET", thread + "/messages", bearer, ""},
		{"PATCH", thread, bearer, body(`{"topic":%q}`, text("topic2"))}, {"PATCH", id, bearer, body(`{"content":%q}`, text("edit"))},
		{"GET", thread + "/participants", bearer, ""}, {"POST", thread + "/typing", bearer, body(`{"senderDisplayName":%q}`, text("typist"))},
		{"POST", thread + "/readReceipts", bearer, body(`{"chatMessageId":%q}`, id[strings.LastIndexByte(id, '/')+1:])}, {"GET", thread + "/readReceipts", bearer, ""},
		{"POST", thread + "/participants/:add", bearer, body(`{"participants":[{"communicationIdentifier":{"rawId":%q},"displayName":%q}]}`, bob, text("name2"))},
		// These requests are refused.
		{"GET", thread, text("token"), ""}, {"PATCH", id, other, body(`{"content":%q}`, text("foreign"))},
		{"POST", "", bearer, body(`{"topic":[%q]}`, text("list"))}, {"POST", "", bearer, body(`{"topic":%q`, text("cut"))},
		{"POST", "", bearer, body(`{"topic":%q}`, text(strings.Repeat("long", 1000)))},
		{"POST", thread + "/messages", bearer, body(`{"content":{%q:1}}`, text("object"))}, {"POST", thread + "/messages", bearer, body(`{"content":"","senderDisplayName":%q}`, text("nobody"))},
		{"PATCH", html, bearer, body(`{"content":%q}`, "<script>"+text("script")+"</script>")},
		{"PATCH", id, bearer, body(`{"metadata":{"k":{%q:1}}}`, text("deep"))}, {"PATCH", id, bearer, body(`{"metadata":{"k":%q}}`, text(strings.Repeat("meta", 10000)))},
		{"DELETE", html, bearer, ""}, {"POST", thread + "/participants/:remove", bearer, body(`{"rawId":%q}`, bob)}, {"DELETE", thread, bearer, ""},
	} {
		s.chat(t, c.method, c.path, c.bearer, c.body)
	}
	// Send requests to the live protocols, to the paths for operators and developers, and to
	// paths that do not exist.
	get := func(method, path, name, value string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.Endpoint+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(name, value)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", strings.Repeat("agent", 1000))
		req.Header.Set("X-Ms-Client-Request-Id", strings.Repeat("mine", 1000))
		s.do(t, req)
	}
	get("GET", "/chat/events?cursor="+text("cursor"), "Authorization", "Bearer "+bearer)
	get("GET", "/chat/events?threads="+text("threads"), "Authorization", "Bearer "+text("token"))
	get("GET", "/chat/config/realTimeNotifications", "Authorization", "Bearer "+bearer)
	get("POST", "/v4/a?x="+text("query"), "X-Skypetoken", bearer)
	get("POST", "/v4/a", "X-Skypetoken", text("token"))
	get("GET", "/socket.io/1/websocket/"+text("sid"), "Authorization", "Bearer "+bearer)
	get("GET", "/confab/keys", "Authorization", "HMAC-SHA256 "+text("signature"))
	get("GET", "/dev/clock?"+text("query"), "Authorization", text("dev"))
	get("POST", "/identities?api-version=2023-10-01", "Authorization", "HMAC-SHA256 SignedHeaders=a&Signature="+text("signature"))
	get("POST", "/teamsUser/:exchangeAccessToken?api-version=2023-10-01", "Authorization", "Bearer "+text("token"))
	get("GET", "/"+strings.Repeat("path", 1000), "Authorization", "Basic "+text("password"))
	for _, path := range []string{"users/" + ann + "/threads", "threads" + thread, "threads" + thread + "/messages"} {
		s.operate(t, "GET", path, "")
	}
	operators := s.AdminSecret
	s.stop(t)

	log := out.String()
	if n := len(accessLines(t, out)); n < 40 {
		t.Fatalf("the log has %d requests: %s", n, log)
	}
	for what, forbidden := range map[string]string{"a text of a user": secret, "a token": bearer, "another token": other, "the access key": s.AccessKey, "the operator's secret": operators} {
		if i := strings.Index(log, forbidden); i >= 0 {
			line := log[strings.LastIndexByte(log[:i], '\n')+1:]
			t.Errorf("the log has %s: %s", what, line[:min(len(line), strings.IndexByte(line, '\n'))])
		}
	}
	for text := range strings.Lines(log) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatal(err)
		}
		for name, v := range fields {
			if v, ok := v.(string); ok && len(v) > 512+len("…") && name != "stack" {
				t.Errorf("the field %s has %d bytes: %.60s", name, len(v), v)
			}
		}
	}
	if !slices.ContainsFunc(accessLines(t, out), func(l logLine) bool { return l.Operation == "clock" }) {
		t.Error("no line of a request to /dev/")
	}
	if n := strings.Count(log, `"msg":"operator"`); n != 3 {
		t.Errorf("%d lines of the operator's requests, want 3", n)
	}
}

// TestAccessLogFields checks that each line about a request has the client's address and two ids:
// the server's and the client's. A line about a refused signature must also say why the signature
// was refused.
func TestAccessLogFields(t *testing.T) {
	s, out := logged(t, "dev", "true")
	var cvs []string
	paths := []string{"/chat/threads?api-version=2021-09-07", "/chat/events", "/v4/a", "/identities?api-version=2023-10-01", "/confab/keys", "/dev/clock", "/nothing", "/"}
	for _, path := range paths {
		req, err := http.NewRequest("GET", s.Endpoint+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Ms-Client-Request-Id", "mine")
		req.Header.Set("X-Forwarded-For", "203.0.113.9, 198.51.100.7")
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		cvs = append(cvs, resp.Header.Get("X-Ms-Request-Id")) // SDKs print the id in this header
		if cv := resp.Header.Get("Ms-Cv"); cv != cvs[len(cvs)-1] {
			t.Errorf("MS-CV %q and x-ms-request-id %q, want the same", cv, cvs[len(cvs)-1])
		}
	}
	req, err := http.NewRequest("POST", s.Endpoint+"/identities?api-version=2023-10-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := communication.NewAccessKey(s.AccessKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Sign(req, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if status, answer := s.do(t, req); status != 401 || strings.Contains(answer, "clock") || strings.Contains(answer, "59m") || strings.Contains(answer, "1h") {
		t.Errorf("an old signature is answered %d %s", status, answer)
	}
	s.stop(t)
	lines := accessByID(t, out)
	if len(lines) != len(paths)+1 {
		t.Fatalf("%d lines, want %d: %s", len(lines), len(paths)+1, out)
	}
	for i, path := range paths {
		line := lines[cvs[i]]
		delete(lines, cvs[i])
		// By default a server trusts proxies on its own machine, so it accepts the forwarded
		// address that this test sends.
		if line.ClientRequest != "mine" || line.Request == "" || line.Client != "198.51.100.7" {
			t.Errorf("%s: %+v, want the ids mine and %s, and the client 198.51.100.7", path, line, cvs[i])
		}
	}
	for _, line := range lines {
		if line.Status != 401 || !strings.Contains(line.Reason, "1h0m") {
			t.Errorf("the line about an old signature is %+v, want a reason with the hour that the clock is off", line)
		}
	}
}

// TestRefusedPagesAreLogged sends requests that the protection against foreign web pages refuses,
// and requests for paths that look like paths of live connections. It checks that each log line
// has the client's address and both request ids, and no secret from the path.
func TestRefusedPagesAreLogged(t *testing.T) {
	s, out := logged(t, "dev", "true")
	var cvs []string
	requests := []struct{ address, host, path string }{
		{s.Endpoint + "/chat/threads", "evil.example", "/chat/threads"},
		{s.Endpoint + "/socket.io/1/websocket/sesame", "evil.example", "/socket.io/1/..."},
		{s.Endpoint + "//socket%2eio/1/xhr-polling/sesame", "evil.example", "/socket.io/1/..."},
		{s.Endpoint + "/v4/a/sesame", "evil.example", "/v4/a/..."},
		{s.Endpoint + "/v4/a", "evil.example", "/v4/a"},
		{s.Endpoint + "/socket.io/1/websocket/sesame/", "", "/socket.io/1/..."},
		{s.Ops + "/metrics", "evil.example", "/metrics"},
	}
	for _, r := range requests {
		req, err := http.NewRequest("GET", r.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = r.host
		req.Header.Set("X-Ms-Client-Request-Id", "mine")
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		cvs = append(cvs, resp.Header.Get("X-Ms-Request-Id")) // SDKs print the id in this header
		if cv := resp.Header.Get("Ms-Cv"); cv != cvs[len(cvs)-1] {
			t.Errorf("MS-CV %q and x-ms-request-id %q, want the same", cv, cvs[len(cvs)-1])
		}
	}
	s.stop(t)
	lines := accessByID(t, out)
	if len(lines) != len(requests) {
		t.Fatalf("%d lines, want %d: %s", len(lines), len(requests), out)
	}
	for i, r := range requests {
		if line := lines[cvs[i]]; line.Path != r.path || line.Client == "" || line.ClientRequest != "mine" || line.Request == "" {
			t.Errorf("%s: %+v, want the path %s, a client, and the ids %s and mine", r.address, line, r.path, cvs[i])
		}
	}
	if strings.Contains(out.String(), "sesame") {
		t.Errorf("the log has a secret: %s", out)
	}
}

// TestOpsRefusalsAreLogged sends a request with a foreign host name to the ops port of a
// production server, and checks the log line about it.
func TestOpsRefusalsAreLogged(t *testing.T) {
	s, out := logged(t)
	s.get(t, s.Ops+"/metrics")
	req, err := http.NewRequest("GET", s.Ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	s.do(t, req)
	s.stop(t)
	lines := accessLines(t, out)
	if len(lines) != 1 || lines[0].Status != 403 || lines[0].Path != "/metrics" || lines[0].Client == "" || lines[0].Request == "" || !strings.Contains(lines[0].Note, "evil.example") {
		t.Errorf("lines %+v, want one about the foreign host", lines)
	}
}

// TestForwardedAddress checks which address of the header X-Forwarded-For the server takes for
// the client's, depending on the proxies that it trusts.
func TestForwardedAddress(t *testing.T) {
	for _, c := range []struct{ proxies, header, want string }{
		{"off", "203.0.113.9", "127.0.0.1"},
		{"10.0.0.0/8", "203.0.113.9", "127.0.0.1"},
		{"127.0.0.1", "203.0.113.9", "203.0.113.9"},
		{"127.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"},
		{"127.0.0.1,10.0.0.0/8", "1.2.3.4, 203.0.113.9, 10.1.2.3", "203.0.113.9"},
		{"127.0.0.1,10.0.0.0/8", "10.1.2.4, 10.1.2.3", "10.1.2.4"},
		{"127.0.0.1", "made up\"", "127.0.0.1"},
		{"127.0.0.1", "2001:db8::7", "2001:db8::7"},
		{"127.0.0.1", "1.2.3.4, 203.0.113.9:5678", "203.0.113.9"},
		{"127.0.0.1", "[2001:db8::7]:5678", "2001:db8::7"},
		{"127.0.0.1", "[2001:db8::7]", "2001:db8::7"},
		{"127.0.0.1,10.0.0.0/8", "203.0.113.9:1, 10.1.2.3:5678", "203.0.113.9"},
		{"127.0.0.1", "", "127.0.0.1"},
	} {
		s, out := logged(t, "listen", "127.0.0.1:0", "trusted-proxies", c.proxies)
		req, err := http.NewRequest("GET", s.Endpoint+"/nothing", nil)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(s.LocalEndpoint); err == nil {
			req.URL.Host = "127.0.0.1:" + u.Port()
		}
		if c.header != "" {
			req.Header.Set("X-Forwarded-For", c.header)
		}
		s.do(t, req)
		s.stop(t)
		if lines := accessLines(t, out); len(lines) != 1 || lines[0].Client != c.want {
			t.Errorf("trusted %s, forwarded %q: %+v, want the client %s", c.proxies, c.header, lines, c.want)
		}
	}
}

// TestAccessLogSetting checks which requests are logged for each value of the setting
// access-log: "errors" logs refused requests, and all requests that an access key signs, so that
// their effects can be found after a key has leaked.
func TestAccessLogSetting(t *testing.T) {
	for which, want := range map[string][]string{
		"all":    {"201 create user", "200 list threads", "404 "},
		"errors": {"201 create user", "404 "},
		"off":    nil,
	} {
		s, out := logged(t, "access-log", which)
		_, _, bearer := s.newUser(t, s.AccessKey)
		req, err := http.NewRequest("GET", s.Endpoint+"/chat/threads?api-version=2021-09-07", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		if status, answer := s.do(t, req); status != 200 {
			t.Fatalf("list threads: %d %s", status, answer)
		}
		s.get(t, s.Endpoint+"/nothing")
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range accessLines(t, out) {
			got = append(got, fmt.Sprint(line.Status, " ", line.Operation))
		}
		if !slices.Equal(got, want) {
			t.Errorf("--access-log %s logs %v, want %v", which, got, want)
		}
	}
}
