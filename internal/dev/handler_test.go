package dev_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/dev"
)

// TestHandler sends a sequence of requests to one server and checks the responses.
func TestHandler(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	faults := dev.NewFaults(operations)
	for range 3 {
		faults.Next("send message")
	}
	open := 5 // number of open live connections
	faults.Live(func() int {
		defer func() { open = 0 }()
		return open
	})
	h := dev.New(dev.Options{
		Clock: dev.NewClock(func() time.Time { return now }), Faults: faults,
		Names: []string{"chat.example.org", "*.lan"},
	})
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string // text that the response's body must contain
	}{
		{"GET", "/dev/clock", "", 200, `{"now":"2026-01-02T03:04:05.678Z","ahead":"0s"}`},
		{"POST", "/dev/clock", `{"advance":"25h"}`, 200, `{"now":"2026-01-03T04:04:05.678Z","ahead":"25h0m0s"}`},
		{"POST", "/dev/clock", `{"advance":"0s"}`, 200, `"ahead":"25h0m0s"`},
		{"POST", "/dev/clock", `{"advance":"-1s"}`, 400, `\"-1s\" is negative`},
		{"POST", "/dev/clock", `{"advance":25}`, 400, `25 is not a duration: write it as \"25h\"`},
		{"POST", "/dev/clock", `{"advance":"25"}`, 400, `\"25\" is not a duration`},
		{"POST", "/dev/clock", `{"advance":null}`, 400, "advance is required"},
		{"POST", "/dev/clock", `{}`, 400, "advance is required"},
		{"POST", "/dev/clock", `{"advance":"1h","by":"me"}`, 400, `there is no member \"by\": it has advance`},
		{"POST", "/dev/clock", `{"advance":"1h"}{}`, 400, "goes on after the JSON object"},
		{"POST", "/dev/clock", `{"advance":"1h"`, 400, "not JSON"},
		{"POST", "/dev/clock", `["1h"]`, 400, "not a JSON object"},
		{"POST", "/dev/clock", ``, 400, "not a JSON object"},
		{"POST", "/dev/clock", `{"advance":"` + strings.Repeat("1", 5000) + `h"}`, 413, "more than 4096 bytes"},
		{"POST", "/dev/clock", `{"advance":"876000h"}`, 400, "no further than"},
		{"GET", "/dev/clock", "", 200, `"ahead":"25h0m0s"`},

		{"GET", "/dev/faults", "", 200, `{"faults":[],"requests":{"send message":3}}`},
		{"POST", "/dev/faults", `{"operation":"send message","status":429,"retryAfter":1,"times":2}`, 201, `{"operation":"send message","status":429,"retryAfter":1,"times":2}`},
		{"POST", "/dev/faults", `{"delay":"200ms"}`, 201, `{"delay":"200ms","times":1}`},
		{"POST", "/dev/faults", `{"drop":"after","times":"always"}`, 201, `{"drop":"after","times":"always"}`},
		{"POST", "/dev/faults", `{"drop":"before","times":-1}`, 201, `{"drop":"before","times":"always"}`},
		{"POST", "/dev/faults", `{"operation":"send_message","status":500}`, 400, `did you mean \"send message\"?`},
		{"POST", "/dev/faults", `{"operation":7,"status":500}`, 400, "operation is not of the right type: a number"},
		{"POST", "/dev/faults", `{"status":"500"}`, 400, "status is not of the right type: a string"},
		{"POST", "/dev/faults", `{"status":503.5}`, 400, "status is not of the right type"},
		{"POST", "/dev/faults", `{"status":201}`, 400, "status is 400 to 599, and 201 is not"},
		{"POST", "/dev/faults", `{"status":429,"retryAfter":"1s"}`, 400, "retryAfter is a number of seconds"},
		{"POST", "/dev/faults", `{"status":429,"retryAfter":0}`, 400, "retryAfter is a number of seconds"},
		{"POST", "/dev/faults", `{"status":429,"retryAfter":-1}`, 400, "retryAfter is a number of seconds"},
		{"POST", "/dev/faults", `{"delay":"-200ms"}`, 400, "negative"},
		{"POST", "/dev/faults", `{"delay":"2h"}`, 400, "delay is at most 30s"},
		{"POST", "/dev/faults", `{"drop":"later"}`, 400, `drop is \"before\" or \"after\"`},
		{"POST", "/dev/faults", `{"status":500,"times":0}`, 400, `times is a number from 1, or \"always\", and 0 is neither`},
		{"POST", "/dev/faults", `{"status":500,"times":"twice"}`, 400, "times is a number"},
		{"POST", "/dev/faults", `{"status":500,"time":2}`, 400, "there is no member"},
		{"POST", "/dev/faults", `{}`, 400, "has a status, a delay or a drop"},
		{"POST", "/dev/faults", `{"operation":"live socket","drop":"after"}`, 201, `{"operation":"live socket","drop":"after","cut":5}`},
		{"POST", "/dev/faults", `{"operation":"live socket","drop":"after","times":1}`, 201, `{"operation":"live socket","drop":"after","cut":0}`},
		{"POST", "/dev/faults", `{"operation":"live socket","drop":"after","times":"always"}`, 400, "so times is 1"},
		{"POST", "/dev/faults", `{"operation":"live socket","drop":"before"}`, 400, `takes the drop \"after\" only`},
		{"POST", "/dev/faults", `{"operation":"liveSocket","drop":"after"}`, 400, `did you mean \"live socket\"?`},
		{"GET", "/dev/faults", "", 200, `{"faults":[{"operation":"send message","status":429,"retryAfter":1,"times":2},{"delay":"200ms","times":1},{"drop":"after","times":"always"},{"drop":"before","times":"always"}],"requests":{"send message":3}}`},
		{"DELETE", "/dev/faults", "", 204, ""},
		{"GET", "/dev/faults", "", 200, `{"faults":[],"requests":{"send message":3}}`},

		{"PUT", "/dev/faults", "", 405, "the path has GET, POST, DELETE"},
		{"DELETE", "/dev/clock", "", 405, `"code":"MethodNotAllowed"`},
		{"GET", "/dev/", "", 404, `{"error":{"code":"NotFound","message":"there is nothing at this path`},
		{"GET", "/dev/clocks", "", 404, "NotFound"},
		{"GET", "/dev/clock/", "", 404, "NotFound"},
	} {
		r := httptest.NewRequest(c.method, "https://localhost:8443"+c.path, strings.NewReader(c.body))
		if c.method == "POST" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %.80s: %d %s\nwant %d with %s", c.method, c.path, c.body, w.Code, w.Body, c.status, c.want)
		}
		if got, want := w.Header().Get("Content-Type"), "application/json; charset=utf-8"; c.status != 204 && got != want {
			t.Errorf("%s %s: Content-Type %q, want %q", c.method, c.path, got, want)
		}
	}
}

// TestPagesOfOtherOrigins checks that a web page of another origin in the developer's
// browser cannot move the clock of the server.
func TestPagesOfOtherOrigins(t *testing.T) {
	const order = `{"advance":"1h"}`
	for _, c := range []struct {
		name    string
		method  string
		host    string
		headers map[string]string
		status  int
	}{
		{"a program", "POST", "localhost:8443", map[string]string{"Content-Type": "application/json; charset=utf-8"}, 200},
		{"an address", "POST", "127.0.0.1:8443", map[string]string{"Content-Type": "application/json"}, 200},
		{"an IPv6 address", "POST", "[::1]:8443", map[string]string{"Content-Type": "application/json"}, 200},
		{"a name from the settings", "POST", "chat.example.org", map[string]string{"Content-Type": "application/json"}, 200},
		{"a name below one", "POST", "a.lan:8443", map[string]string{"Content-Type": "application/json"}, 200},
		{"our own page", "POST", "localhost:8080", map[string]string{"Content-Type": "application/json", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}, 200},

		{"a form", "POST", "localhost:8443", map[string]string{"Content-Type": "text/plain"}, 415},
		{"no type", "POST", "localhost:8443", nil, 415},
		{"a page of another origin", "POST", "localhost:8443", map[string]string{"Content-Type": "application/json", "Origin": "https://evil.example"}, 403},
		{"one whose browser says so", "POST", "localhost:8443", map[string]string{"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403},
		{"one that would clear", "DELETE", "localhost:8443", map[string]string{"Origin": "https://evil.example"}, 403},
		{"its preflight", "OPTIONS", "localhost:8443", map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, 405},
		{"a name pointed at us", "POST", "evil.example:8443", map[string]string{"Content-Type": "application/json", "Origin": "https://evil.example:8443"}, 403},
		{"one that only looks", "GET", "evil.example:8443", nil, 403},
		{"no host", "GET", "", nil, 403},
		{"the top of a wildcard", "POST", "lan", map[string]string{"Content-Type": "application/json"}, 403},
	} {
		clock := dev.NewClock(time.Now)
		h := dev.New(dev.Options{Clock: clock, Faults: dev.NewFaults(operations), Names: []string{"chat.example.org", "*.lan"}})
		path := "/dev/clock"
		if c.method == "DELETE" {
			path = "/dev/faults"
		}
		r := httptest.NewRequest(c.method, path, strings.NewReader(order))
		r.Host = c.host
		for name, value := range c.headers {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
		if moved := clock.Ahead() != 0; moved != (c.status == 200) {
			t.Errorf("%s: the clock is %v ahead", c.name, clock.Ahead())
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: is answered %s", c.name, name)
			}
		}
	}
}

// TestEncodingsOfBodies checks that a compressed body is refused with an error that names the
// encoding, and that a byte order mark is ignored.
func TestEncodingsOfBodies(t *testing.T) {
	h := dev.New(dev.Options{Clock: dev.NewClock(time.Now), Faults: dev.NewFaults(operations)})
	for _, c := range []struct {
		body, coding string
		status       int
		says         string
	}{
		{"\ufeff" + `{"advance":"1h"}`, "", 200, `"ahead"`},
		{`{"advance":"1h"}`, "identity", 200, `"ahead"`},
		{`{"advance":"1h"}`, "gzip", 415, "The Content-Encoding gzip is not supported."},
		{"\x1f\x8b", "br", 415, "The Content-Encoding br is not supported."},
		{"", "gzip", 400, "the body is not a JSON object"},
		{"\ufeff\ufeff{}", "", 400, "the body is not a JSON object"},
	} {
		r := httptest.NewRequest("POST", "http://localhost/dev/clock", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		if c.coding != "" {
			r.Header.Set("Content-Encoding", c.coding)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%q, coding %q: %d %s, want %d with %q", c.body, c.coding, w.Code, w.Body, c.status, c.says)
		}
		if got := w.Header().Get("Accept-Encoding"); (got == "identity") != (c.status == 415) {
			t.Errorf("%q, coding %q: Accept-Encoding %q", c.body, c.coding, got)
		}
	}
}

// FuzzHandler sends arbitrary request bodies. It checks that each is either accepted, or refused
// with a message.
func FuzzHandler(f *testing.F) {
	for _, order := range []string{
		`{"advance":"25h"}`, `{"operation":"send message","status":429,"retryAfter":1,"times":2}`, `{"delay":"1ms","drop":"after","times":"always"}`,
		`{"advance":null}`, `{"times":1e99}`, `{"status":-1}`, `[]`, `{"delay":"9223372036854775807ns"}`, "{\"operation\":\"\xff\"}",
	} {
		f.Add(order)
	}
	f.Fuzz(func(t *testing.T, order string) {
		h := dev.New(dev.Options{Clock: dev.NewClock(time.Now), Faults: dev.NewFaults(operations)})
		for _, path := range []string{"/dev/clock", "/dev/faults"} {
			r := httptest.NewRequest("POST", "http://localhost"+path, strings.NewReader(order))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if !json.Valid(w.Body.Bytes()) || w.Code/100 != 2 && !strings.Contains(w.Body.String(), `"message":"`) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			switch w.Code {
			case 200, 201, 400, 413:
			default:
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}
