package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

// visit sends GET / with the given Accept header.
func (r *running) visit(t *testing.T, address, accept string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
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
	return resp, string(body)
}

// browser is the Accept header that Chromium sends when somebody opens an address.
const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

// TestWelcome requests the root of servers with the Accept header of a browser, and checks the
// page. With other Accept headers the response must be the text by which the official client
// recognizes a server.
func TestWelcome(t *testing.T) {
	operations := make(chan string, 100)
	command := func(name string) string { return "go run <x> & " + name + " --data y" }
	dev := start(t, server.Options{Config: settings(t, "dev", "true", "data", t.TempDir(), "listen-http", "localhost:0"), Command: command, Access: func(r rest.Record) { operations <- r.Operation }})
	memory := start(t, server.Options{Config: settings(t, "dev", "true")})
	plain := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0", "web", "off")})
	production := start(t, server.Options{Config: settings(t, "public-endpoint", "https://chat.example.org")})
	inner := start(t, server.Options{Config: settings(t, "listen-http", "127.0.0.1:0")}) // a server behind a proxy that does not send headers about itself, such as X-Forwarded-For
	for _, c := range []struct {
		name, address string
		s             *running
		want, never   []string
	}{
		{"development", dev.Endpoint, dev, []string{dev.Endpoint, dev.HTTP, "go run <x> & run --data y -- python start-chat.py", "go run <x> & trust --data y", "token --data y --new-user"}, []string{dev.AccessKey}},
		{"in memory", memory.Endpoint, memory, []string{memory.Endpoint, "confab token --new-user", memory.CAFile}, []string{memory.AccessKey, "run --", "confab trust", "second tab"}},
		{"development without the chat page", plain.HTTP, plain, []string{plain.Endpoint}, []string{plain.AccessKey, "second tab", plain.HTTP}},
		{"production", production.LocalEndpoint, production, []string{"https://chat.example.org"}, []string{production.AccessKey, "confab ", "run --", production.LocalEndpoint, production.CAFile}},
		{"production, no public endpoint", inner.HTTP, inner, []string{"SDKs of Azure Communication Services.", "Whoever runs it"}, []string{inner.AccessKey, inner.LocalEndpoint, "://", "localhost", "127.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, page := c.s.visit(t, c.address, browser)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(resp.Header.Get("Vary"), "Accept") || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s with the headers %v", resp.Status, resp.Header)
			}
			text := checkStatic(t, page, resp.Header.Get("Content-Security-Policy"))
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("the page does not say %q:\n%s", want, text)
				}
			}
			for _, never := range c.never {
				if strings.Contains(page, never) {
					t.Errorf("the page says %q:\n%s", never, page)
				}
			}
			for _, accept := range []string{"", "*/*", "application/json", "text/html;q=0", "text/plain, */*", "application/json, text/html; q=0.0"} {
				resp, body := c.s.visit(t, c.address, accept)
				if resp.StatusCode != 200 || body != "Trouter" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(resp.Header.Get("Vary"), "Accept") {
					t.Errorf("Accept %q: %s %q with the headers %v", accept, resp.Status, body, resp.Header)
				}
			}
			for _, accept := range []string{"text/html", "TEXT/HTML ; charset=utf-8", "application/xml, text/html;q=0.1"} {
				if resp, _ := c.s.visit(t, c.address, accept); resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
					t.Errorf("Accept %q: %s", accept, resp.Header.Get("Content-Type"))
				}
			}
		})
	}
	if first, second := <-operations, <-operations; first != "welcome page" || second != "probe" {
		t.Errorf("the operations are %q and %q", first, second)
	}
}

// checkStatic checks that a page is well formed, that it loads and runs nothing, and that its
// Content-Security-Policy allows only its style sheet. It returns the text of the page.
func checkStatic(t *testing.T, page, policy string) (text string) {
	t.Helper()
	const head = "default-src 'none'; img-src data:; style-src 'sha256-"
	hash, rest, _ := strings.Cut(strings.TrimPrefix(policy, head), "'")
	if !strings.HasPrefix(policy, head) || rest != "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" {
		t.Errorf("the policy is %q", policy)
	}
	var b strings.Builder
	styles := 0
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			if styles != 1 {
				t.Errorf("%d styles, want 1", styles)
			}
			return b.String()
		case html.TextToken:
			b.Write(z.Text())
		case html.StartTagToken:
			tag := z.Token()
			if tag.Data == "script" || tag.Data == "form" || tag.Data == "iframe" || tag.Data == "img" {
				t.Errorf("the page has %s", tag)
			}
			for _, a := range tag.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && a.Val != "data:," && (tag.Data != "a" || !strings.HasPrefix(a.Val, "http://localhost:")) {
					t.Errorf("the page has %s", tag)
				}
			}
			if tag.Data == "style" {
				styles++
				z.Next()
				sum := sha256.Sum256(z.Raw())
				if got := base64.StdEncoding.EncodeToString(sum[:]); got != hash {
					t.Errorf("the style has the hash %s, the policy allows %s", got, hash)
				}
			}
		}
	}
}

// TestWelcomeIsSmall checks that the welcome page has at most 4096 bytes, because everybody who
// opens the server's address gets it.
func TestWelcomeIsSmall(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, page := s.visit(t, s.Endpoint, browser)
	if len(page) > 4096 || !regexp.MustCompile(`(?s)^<!DOCTYPE html>\n<html lang="en">.*</html>\n$`).MatchString(page) {
		t.Errorf("the page has %d bytes:\n%s", len(page), page)
	}
}
