package admin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestConsole loads the console's page and its files from the operator's port. It checks that the
// page has a policy that forbids it to load anything from other servers, and that requests with a
// foreign Host are refused.
func TestConsole(t *testing.T) {
	p := start(t, "CONFAB_DEV=true")
	get := func(path, host string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, p.info.Admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		req.Header.Set("Accept", "text/html")
		res, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(text)
	}
	res, page := get("/", "")
	policy := res.Header.Get("Content-Security-Policy")
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.Contains(policy, "default-src 'none'") ||
		strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") || res.Header.Get("Set-Cookie") != "" {
		t.Fatalf("%s, %v\n%s", res.Status, res.Header, page)
	}
	assets := regexp.MustCompile(`/assets/console/[^"']+`).FindAllString(page, -1)
	if len(assets) == 0 {
		t.Fatalf("the page names no files:\n%s", page)
	}
	for _, path := range assets {
		if res, text := get(path, ""); res.StatusCode != 200 || text == "" || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, %v", path, res.Status, res.Header)
		}
	}
	for _, path := range []string{"/index.html", "/assets/console/none.js", "/assets/chat/none.js", "/chat/threads", "/identities"} {
		if res, _ := get(path, ""); res.StatusCode != 404 {
			t.Errorf("%s: %s, want 404", path, res.Status)
		}
	}
	if res, text := get("/", "evil.example"); res.StatusCode != 403 || strings.Contains(text, "<") {
		t.Errorf("by a foreign host: %s %s", res.Status, text)
	}
	if res, _ := get("/admin/nothing", ""); res.StatusCode != 401 {
		t.Errorf("a path of the API without a secret: %s", res.Status)
	}
}

// TestConsoleURL opens the URL with a code that a development server prints. It checks that the
// code signs in once, and only once.
func TestConsoleURL(t *testing.T) {
	p := start(t, "CONFAB_DEV=true")
	link, err := url.Parse(p.info.Console)
	if err != nil || !strings.HasPrefix(p.info.Console, p.info.Admin+"/?code=") {
		t.Fatalf("%q, %v", p.info.Console, err)
	}
	m := &matrix{place: p}
	body := `{"code":"` + link.Query().Get("code") + `"}`
	var session admin.NewSession
	if a := m.ask("POST", "/sessions", body, communication.AccessKey{}); a.status != 201 || json.Unmarshal(a.body, &session) != nil || session.Role != admin.Operator {
		t.Fatalf("the first time: %d %s", a.status, a.body)
	}
	if a := m.ask("POST", "/sessions", body, communication.AccessKey{}); a.status != 401 {
		t.Errorf("the second time: %d %s", a.status, a.body)
	}
	var who admin.Session
	if a := m.ask("GET", "/session", "", communication.AccessKey{}, bearer(session.Token)...); a.status != 200 || json.Unmarshal(a.body, &who) != nil ||
		who.Role != admin.Operator || !strings.HasPrefix(who.Who, "session ") || who.Expires == "" || !who.Messages || !who.Server.Dev {
		t.Errorf("who: %d %s", a.status, a.body)
	}
	for _, secret := range []string{link.Query().Get("code"), session.Token} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("a code or a token is in the log")
		}
	}
	if link := start(t).info.Console; strings.Contains(link, "code") {
		t.Errorf("a production server has the link %s", link)
	}
}
