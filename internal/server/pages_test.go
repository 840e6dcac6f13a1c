package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// pageRequest is a request that a browser sends for a web page.
type pageRequest struct {
	method, address, host, origin string
	headers                       string // further headers, as lines
	key                           string // the access key that signs the request, or empty
	body                          string
}

// pageResponse is the response to a pageRequest.
type pageResponse struct {
	status int
	header http.Header
	body   string
}

func (r *running) page(t *testing.T, p pageRequest) pageResponse {
	t.Helper()
	req, err := http.NewRequest(p.method, p.address, strings.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	if p.host != "" {
		req.Host = p.host
	}
	if p.key != "" {
		key, err := communication.NewAccessKey(p.key)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if err := key.Sign(req, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if p.origin != "" {
		req.Header.Set("Origin", p.origin)
	}
	for line := range strings.Lines(p.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Add(name, value)
	}
	if p.method == http.MethodOptions {
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "authorization,x-ms-date,x-ms-content-sha256,content-type")
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return pageResponse{resp.StatusCode, resp.Header, string(body)}
}

// doors returns URLs of a development server. At least one URL leads to each handler of each
// listener.
func (r *running) doors() []string {
	return []string{
		r.Endpoint + "/identities?api-version=2023-10-01", r.HTTP + "/identities?api-version=2023-10-01",
		r.Endpoint + "/chat/threads?api-version=2024-03-07", r.Endpoint + "/chat/events", r.HTTP + "/chat/events", r.Endpoint + "/",
		r.Endpoint + "/v4/a", r.Endpoint + "/socket.io/1/", r.Endpoint + "/dev/clock", r.HTTP + "/dev/faults", r.Endpoint + "/nothing",
		r.Ops + "/metrics", r.Ops + "/readyz",
	}
}

const createUser = `{"createTokenWithScopes":["chat"]}`

// TestPagesOfOtherMachines sends requests as web pages of other machines do, signed with the
// well-known access key, to every handler of a development server. It checks that all requests are
// refused, and that no response has a header that allows the page to read it.
func TestPagesOfOtherMachines(t *testing.T) {
	var mu sync.Mutex
	var notes []string
	s := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0"), Access: func(r rest.Record) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, r.Note)
	}})
	for _, origin := range []string{"https://evil.example", "http://localhost.evil.example", "http://192.168.1.7:3000", "null", "http://localhost@evil.example"} {
		for _, address := range s.doors() {
			for _, method := range []string{http.MethodOptions, http.MethodGet, http.MethodPost} {
				got := s.page(t, pageRequest{method: method, address: address, origin: origin, key: s.AccessKey, body: createUser})
				if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s %s for a page of %s: %d %q %s, want 403 without CORS headers", method, address, origin, got.status, got.header.Get("Access-Control-Allow-Origin"), got.body)
				}
				if !strings.Contains(got.body, "--cors-origins") {
					t.Errorf("%s %s for a page of %s: %s, want what the developer can do", method, address, origin, got.body)
				}
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if all := strings.Join(notes, "\n"); !strings.Contains(all, `a page of the origin "https://evil.example" may not use this development server`) {
		t.Errorf("the access log does not have the refusals:\n%s", all)
	}
}

// TestPagesOfThisMachine checks that a development server accepts requests of web pages of this
// machine, on any port, and of web pages of the origins in its settings.
func TestPagesOfThisMachine(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "cors-origins", "https://app.example.com,http://192.168.1.7:3000")})
	for _, origin := range []string{
		"http://localhost:3000", "http://127.0.0.1:41237", "https://[::1]:5173", "http://app.localhost", "https://app.example.com", "http://192.168.1.7:3000", s.Endpoint, "",
	} {
		asked := s.page(t, pageRequest{method: http.MethodOptions, address: s.Endpoint + "/identities?api-version=2023-10-01", origin: origin})
		if asked.status != 204 || asked.header.Get("Access-Control-Allow-Origin") != origin || asked.header.Get("Vary") != "Origin" {
			t.Errorf("a preflight from %q: %d %v, want 204 with the origin", origin, asked.status, asked.header)
		}
		made := s.page(t, pageRequest{method: http.MethodPost, address: s.Endpoint + "/identities?api-version=2023-10-01", origin: origin, key: s.AccessKey, body: createUser})
		if made.status != 201 || made.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("a user for a page of %q: %d %v", origin, made.status, made.header)
		}
		live := s.page(t, pageRequest{method: http.MethodGet, address: s.Endpoint + "/chat/events", origin: origin})
		if live.status != 401 || live.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("an event stream for a page of %q: %d %v, want 401 with the origin", origin, live.status, live.header)
		}
	}
	if got := s.page(t, pageRequest{method: http.MethodGet, address: s.Endpoint + "/", origin: "https://app.example.com:8443"}); got.status != 403 {
		t.Errorf("another port of an allowed host: %d, want 403", got.status)
	}
}

// TestRebinding sends requests with Host headers of names that the owner of a web page can
// make resolve to this machine. A development server must refuse them on all listeners, even if
// a proxy on this machine has replaced the Host by a name of the server. It must answer requests
// with its own names.
func TestRebinding(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0", "tls-names", "chat.lan", "public-endpoint", "https://chat.example.com")})
	s.Endpoint = s.LocalEndpoint
	for _, address := range s.doors() {
		for _, host := range []string{"evil.example", "evil.example:8443", "localhost.evil.example", "127.0.0.1.evil.example", "chat.lan.evil.example"} {
			// After the name of the page's host was made to resolve to this machine, the page has the same
			// origin as the server, or the browser sends no origin.
			for _, origin := range []string{"", "https://" + host} {
				got := s.page(t, pageRequest{method: http.MethodPost, address: address, host: host, origin: origin, key: s.AccessKey, body: createUser})
				if got.status != http.StatusForbidden || !strings.Contains(got.body, "is not a name of this development server") {
					t.Errorf("%s with the host %s: %d %s, want 403", address, host, got.status, got.body)
				}
			}
		}
		for _, host := range []string{"localhost:1", "127.0.0.1", "[::1]:8443", "chat.lan", "chat.example.com:443", "172.17.0.1:8443"} {
			if got := s.page(t, pageRequest{method: http.MethodGet, address: address, host: host}); got.status == http.StatusForbidden {
				t.Errorf("%s with the host %s: %d %s", address, host, got.status, got.body)
			}
		}
		if strings.HasPrefix(address, s.Ops) {
			continue // skip the ops port, because it ignores the headers of proxies
		}
		for _, headers := range []string{
			"X-Forwarded-Host: evil.example:5173\nX-Forwarded-Proto: http", "X-Forwarded-Host: localhost, evil.example:5173",
			"Forwarded: host=\"evil.example:5173\";proto=http", "Forwarded: host=localhost, host=\"evil.example:5173\"",
		} {
			for _, origin := range []string{"", "http://evil.example:5173"} {
				got := s.page(t, pageRequest{method: http.MethodPost, address: address, host: "localhost:8443", origin: origin, headers: headers, key: s.AccessKey, body: createUser})
				if got.status != http.StatusForbidden || !strings.Contains(got.body, `the host \"evil.example:5173\" is not a name of this development server`) {
					t.Errorf("%s with %q and the origin %q: %d %s, want 403", address, headers, origin, got.status, got.body)
				}
			}
		}
		for _, headers := range []string{"X-Forwarded-Host: localhost:5173", "X-Forwarded-Host: chat.lan", "Forwarded: host=\"127.0.0.1:5173\""} {
			if got := s.page(t, pageRequest{method: http.MethodGet, address: address, host: "localhost:8443", headers: headers}); got.status == http.StatusForbidden {
				t.Errorf("%s with %q: %d %s", address, headers, got.status, got.body)
			}
		}
	}
}

// TestAllowedOrigins checks that a production server sends CORS headers only to the origins in its
// settings, which are all origins by default, and that it answers the requests of all origins.
func TestAllowedOrigins(t *testing.T) {
	for _, tc := range []struct {
		origins string // the setting
		origin  string // of the page
		want    string // expected header Access-Control-Allow-Origin of the identity routes
	}{
		{"", "https://any.example", "*"},
		{"all", "null", "*"},
		{"*", "https://any.example", "*"},
		{"https://app.example", "https://app.example", "https://app.example"},
		{"https://app.example", "https://other.example", ""},
		{"https://app.example", "http://app.example", ""},
		{"https://app.example", "http://localhost:3000", ""},
		{"https://app.example,loopback", "http://localhost:3000", "http://localhost:3000"},
		{"capacitor://localhost,chrome-extension://abcdefghijklmnop", "capacitor://localhost", "capacitor://localhost"},
		{"capacitor://localhost,chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"},
		{"capacitor://localhost,chrome-extension://abcdefghijklmnop", "chrome-extension://ponmlkjihgfedcba", ""},
		{"loopback", "ionic://localhost", ""},
	} {
		s := start(t, server.Options{Config: settings(t, "cors-origins", tc.origins)})
		got := s.page(t, pageRequest{method: http.MethodPost, address: s.Endpoint + "/identities?api-version=2023-10-01", host: "chat.example", origin: tc.origin, key: "", body: createUser})
		vary := ""
		if tc.want != "*" {
			vary = "Origin" // the header Vary is needed even if the origin is not allowed, because a cache may keep the answer for another origin
		}
		if got.status != 401 || got.header.Get("Access-Control-Allow-Origin") != tc.want || got.header.Get("Vary") != vary {
			t.Errorf("%+v: %d %v, want 401", tc, got.status, got.header)
		}
		live := s.page(t, pageRequest{method: http.MethodGet, address: s.Endpoint + "/chat/events", origin: tc.origin})
		if allowed := live.header.Get("Access-Control-Allow-Origin") != ""; live.status != 401 || allowed != (tc.want != "") {
			t.Errorf("%+v: the event stream: %d %v", tc, live.status, live.header)
		}
		s.stop(t)
	}
}

// TestTransportSecurity checks that no response to a loopback name has the header
// Strict-Transport-Security, because the browser would then use only https for every server on the
// developer's machine. Responses to other names must have the header.
func TestTransportSecurity(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "tls-names", "chat.lan", "listen-http", "localhost:0")})
	for _, address := range s.doors() {
		for host, want := range map[string]bool{"localhost": false, "127.0.0.1:8443": false, "[::1]": false, "app.localhost:8443": false, "chat.lan": true, "10.0.0.1:8443": true} {
			got := s.page(t, pageRequest{method: http.MethodGet, address: address, host: host})
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			api := u.Port() != portOf(t, s.Ops) && !slices.Contains([]string{"/", "/v4/a", "/socket.io/1/"}, u.Path) // whether responses have the header Strict-Transport-Security: only those of REST and of the event stream do
			if has := got.header.Get("Strict-Transport-Security") != ""; has != (want && api) {
				t.Errorf("%s with the host %s: Strict-Transport-Security %q", address, host, got.header.Get("Strict-Transport-Security"))
			}
		}
	}
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// TestRefusalsOfPagesAreJSON checks that the body of a refusal is valid JSON even if it repeats
// text of the client.
func TestRefusalsOfPagesAreJSON(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true")})
	got := s.page(t, pageRequest{method: http.MethodGet, address: s.Endpoint + "/", origin: `https://"<script>` + strings.Repeat("x", 5000)})
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Error.Code != "Forbidden" || len(got.body) > 600 || bytes.ContainsRune([]byte(got.body), '<') {
		t.Errorf("%s, %v", got.body, err)
	}
}
