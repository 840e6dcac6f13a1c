package server_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/web"
)

// webFacts is the JSON answer to GET /web/config.json.
type webFacts struct {
	Dev               bool
	Version, Endpoint string
	TokenURL, Lobby   *string
	MaxContent        int
	HTMLImages        bool
}

// facts requests /web/config.json from the listener listen-http, as the chat page does, and
// returns the answer.
func (r *running) facts(t *testing.T) (f webFacts) {
	t.Helper()
	status, answer := r.get(t, r.HTTP+"/web/config.json")
	if err := json.Unmarshal([]byte(answer), &f); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	return f
}

// chatAsset returns the path of a script of the chat page.
func chatAsset(t *testing.T) string {
	t.Helper()
	scripts, err := fs.Glob(web.Chat(), "assets/chat/*.js")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("the chat page has no scripts: %v", err)
	}
	return "/" + scripts[0]
}

// isPage reports whether a response is the chat page.
func isPage(resp *http.Response, body string) bool {
	return resp.StatusCode == 200 && resp.Header.Get("Content-Type") == "text/html; charset=utf-8" && strings.Contains(body, "/assets/chat/")
}

// TestChatPageListeners checks, for each value of the setting web, which listeners serve the chat
// page to a browser. On other listeners the paths of the page must be unknown. A program that
// requests / must always get the text by which the official client recognizes a server.
func TestChatPageListeners(t *testing.T) {
	script := chatAsset(t)
	for _, c := range []struct {
		name        string
		pairs       []string
		https, http bool
	}{
		{"development", []string{"dev", "true"}, false, true},
		{"development, on", []string{"dev", "true", "web", "on"}, true, true},
		{"development, off", []string{"dev", "true", "web", "off"}, false, false},
		{"production", nil, false, false},
		{"production, on", []string{"web", "on"}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, server.Options{Config: settings(t, append(c.pairs, "listen-http", "localhost:0")...)})
			for base, want := range map[string]bool{s.LocalEndpoint: c.https, s.HTTP: c.http} {
				if resp, body := s.visit(t, base, browser); isPage(resp, body) != want {
					t.Errorf("%s/: the chat page is %v, want %v: %s %.200s", base, !want, want, resp.Status, body)
				}
				if resp, body := s.visit(t, base, "*/*"); resp.StatusCode != 200 || body != "Trouter" {
					t.Errorf("%s/ for a program: %s %q", base, resp.Status, body)
				}
				for _, path := range []string{script, "/web/config.json", "/web/licenses.md"} {
					if status, body := s.get(t, base+path); (status == 200) != want || status != 200 && status != 404 {
						t.Errorf("%s%s: %d %s", base, path, status, body)
					}
				}
				if got := s.page(t, pageRequest{method: "GET", address: base + "/t/19:abc@thread.v2", headers: "Accept: " + browser}); (got.status == 200) != want || got.status != 200 && got.status != 404 {
					t.Errorf("%s/t/...: %d %s", base, got.status, got.body)
				}
				if status, body := s.get(t, base+"/t/19:abc@thread.v2"); status != 404 {
					t.Errorf("%s/t/... for a program: %d %s", base, status, body)
				}
			}
			want := ""
			switch {
			case c.http && s.Dev:
				want = s.HTTP
			case c.https:
				want = s.Endpoint
			}
			if s.Chat != want {
				t.Errorf("Info.Chat is %q, want %q", s.Chat, want)
			}
		})
	}
	t.Run("development without http", func(t *testing.T) {
		if s := start(t, server.Options{Config: settings(t, "dev", "true")}); s.Chat != "" {
			t.Errorf("Info.Chat is %q, want none", s.Chat)
		}
	})
}

// TestChatPageHeaders checks the headers of the chat page, above all its Content-Security-Policy.
func TestChatPageHeaders(t *testing.T) {
	s := start(t, devSettings(t))
	host := strings.TrimPrefix(s.HTTP, "http://")
	const head, tail = "default-src 'none'; script-src 'self'; style-src 'self'; ", "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	resp, _ := s.visit(t, s.HTTP, browser)
	want := head + "img-src 'self' data: https:; connect-src 'self' ws://" + host + " wss://" + host + tail
	if got := resp.Header.Get("Content-Security-Policy"); got != want {
		t.Errorf("the policy is\n%s, want\n%s", got, want)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "same-origin",
		"Access-Control-Allow-Origin": "", "Strict-Transport-Security": "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, part := range []string{"Accept", "Origin"} {
		if !regexp.MustCompile(`\b` + part + `\b`).MatchString(resp.Header.Get("Vary")) {
			t.Errorf("Vary is %q, without %s", resp.Header.Get("Vary"), part)
		}
	}
	asset := s.page(t, pageRequest{method: "GET", address: s.HTTP + chatAsset(t)})
	if asset.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || asset.header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("a script has the headers %v", asset.header)
	}
	if got := s.page(t, pageRequest{method: "POST", address: s.HTTP + chatAsset(t), body: "x"}); got.status != 405 {
		t.Errorf("POST to a script: %d", got.status)
	}
	if got := s.page(t, pageRequest{method: "PUT", address: s.HTTP + "/web/config.json", body: "x"}); got.status != 405 {
		t.Errorf("PUT to the configuration: %d", got.status)
	}

	// Start a production server with an application that gives out tokens, a public endpoint, and
	// images turned off.
	p := start(t, server.Options{Config: settings(t, "web", "on", "listen-http", "localhost:0", "web-token-url", "https://app.example.com:8000/token?x=1", "public-endpoint", "https://chat.example.com", "html-images", "off")})
	for given, sources := range map[string]string{
		"chat.example.com":         " ws://chat.example.com wss://chat.example.com",
		"Inner.example:8443":       " ws://inner.example:8443 wss://inner.example:8443",
		"a; script-src evil.test":  "",
		"a 'unsafe-inline'":        "",
		"[::1]:8443":               "",
		"evil.test;script-src *:1": "",
	} {
		got := p.page(t, pageRequest{method: "GET", address: p.HTTP + "/", host: given, headers: "Accept: text/html"})
		want := head + "img-src 'self' data:; connect-src 'self'" + sources + " https://chat.example.com wss://chat.example.com https://app.example.com:8000" + tail
		if policy := got.header.Get("Content-Security-Policy"); got.status == 200 && policy != want {
			t.Errorf("Host %q: the policy is\n%s, want\n%s", given, policy, want)
		} else if got.status != 200 && got.status != 400 { // net/http answers some of these hosts with a 400, and the server answers the others with a 200
			t.Errorf("Host %q: %d %s", given, got.status, got.body)
		}
	}
}

// TestChatPageOfOthers checks that a development server refuses requests for the chat page
// and its files if their Host is not a name of the server, or if a web page of another
// machine sends them.
func TestChatPageOfOthers(t *testing.T) {
	s := start(t, devSettings(t))
	for _, path := range []string{"/", "/t/19:abc@thread.v2", "/web/config.json", chatAsset(t)} {
		if got := s.page(t, pageRequest{method: "GET", address: s.HTTP + path, host: "evil.example", headers: "Accept: text/html"}); got.status != 403 {
			t.Errorf("%s with a foreign host: %d", path, got.status)
		}
		if got := s.page(t, pageRequest{method: "GET", address: s.HTTP + path, origin: "https://evil.example", headers: "Accept: text/html"}); got.status != 403 || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s for a foreign page: %d %v", path, got.status, got.header)
		}
		if got := s.page(t, pageRequest{method: "GET", address: s.HTTP + path, origin: "http://localhost:3000", headers: "Accept: text/html"}); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s for a page of this machine: %d %v", path, got.status, got.header)
		}
	}
}

// TestChatPageFacts checks the facts about the server that the chat page gets, and that none of
// them is a secret.
func TestChatPageFacts(t *testing.T) {
	o := devSettings(t, "max-content", "100KiB")
	o.Version = "1.2.3"
	dev := start(t, o)
	ann := dev.join(t, `{"name":"Ann"}`)
	f := dev.facts(t)
	if !f.Dev || f.Version != "1.2.3" || f.Endpoint != dev.Endpoint || f.TokenURL != nil || f.MaxContent != 100<<10 || !f.HTMLImages || f.Lobby == nil || *f.Lobby != ann.Lobby {
		t.Errorf("development: %+v", f)
	}
	_, text := dev.get(t, dev.HTTP+"/web/config.json")
	for _, secret := range []string{dev.AccessKey, dev.AdminSecret, ann.Token, ann.User} {
		if strings.Contains(text, secret) {
			t.Errorf("the page's configuration has a secret, %q: %s", secret, text)
		}
	}

	production := start(t, server.Options{Config: settings(t, "web", "on", "listen-http", "127.0.0.1:0", "web-token-url", "https://app.example.com/token", "limits", "off", "html-images", "off")})
	f = production.facts(t)
	if f.Dev || f.Endpoint != production.HTTP || f.TokenURL == nil || *f.TokenURL != "https://app.example.com/token" || f.MaxContent != 1<<20 || f.HTMLImages || f.Lobby != nil {
		t.Errorf("production: %+v", f)
	}
	got := production.page(t, pageRequest{method: "GET", address: production.HTTP + "/web/config.json", headers: "X-Forwarded-Host: chat.example.com\nX-Forwarded-Proto: https"})
	if !strings.Contains(got.body, `"endpoint":"https://chat.example.com"`) || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("behind a proxy: %v %s", got.header, got.body)
	}
}

// TestBusyPortOfThePage starts a second development server while the default port of the chat page
// is in use, and checks that it gets a free port. If the user has chosen the port that is in use,
// the start must fail instead.
func TestBusyPortOfThePage(t *testing.T) {
	first := start(t, devSettings(t))
	address := strings.TrimPrefix(first.HTTP, "http://")
	c, err := config.Load(config.Input{Defaults: map[string]string{
		"dev": "true", "data": config.Memory, "listen": "localhost:0", "listen-http": address, "listen-ops": "off", "listen-admin": "off",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if second := start(t, server.Options{Config: c}); second.HTTP == "" || second.HTTP == first.HTTP || second.Chat != second.HTTP {
		t.Errorf("the second server is at %q, want a free port", second.HTTP)
	}
	c = settings(t, "dev", "true", "listen-http", address)
	var used *server.PortInUseError
	if _, err := server.Start(t.Context(), server.Options{Config: c}); !errors.As(err, &used) || used.Setting != "listen-http" {
		t.Errorf("a chosen port: %v, want an error that names listen-http", err)
	}
}
