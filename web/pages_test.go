package web_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/confab-chat/confab/web"
)

// ask sends a request to a handler and returns the response.
func ask(handler http.HandlerFunc, method, path, encodings string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	if encodings != "" {
		r.Header.Set("Accept-Encoding", encodings)
	}
	w := httptest.NewRecorder()
	handler(w, r)
	return w.Result()
}

// TestPagesAreComplete checks the built files of each page: every file that the page names
// exists, and the HTML has no inline script or style, because the Content-Security-Policy forbids
// both.
func TestPagesAreComplete(t *testing.T) {
	for name, files := range map[string]fs.FS{"chat": web.Chat(), "console": web.Console()} {
		p := web.NewPages(files)
		index, err := fs.ReadFile(files, "index.html")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		named := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(string(index), -1)
		if len(named) < 2 {
			t.Errorf("%s: the page names %d files, want a script and a style sheet at least", name, len(named))
		}
		for _, file := range named {
			resp := ask(p.Asset, "GET", file[1], "")
			if resp.StatusCode != 200 || !strings.HasPrefix(file[1], "/assets/"+name+"/") {
				t.Errorf("%s: %s is %s", name, file[1], resp.Status)
			}
		}
		for _, script := range regexp.MustCompile(`(?s)<script[^>]*>(.*?)</script>`).FindAllStringSubmatch(string(index), -1) {
			if strings.TrimSpace(script[1]) != "" {
				t.Errorf("%s: an inline script: %s", name, script[0])
			}
		}
		if bad := regexp.MustCompile(`<style|\sstyle=|\son\w+=`).FindString(string(index)); bad != "" {
			t.Errorf("%s: the page has %q", name, bad)
		}
		err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".map") {
				t.Errorf("%s: a source map: %s", name, path)
			}
			if strings.HasPrefix(path, "assets/") && !d.IsDir() && !regexp.MustCompile(`-[\w-]{8}\.\w+$`).MatchString(path) {
				t.Errorf("%s: %s has no hash in its name, and browsers keep it for ever", name, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestPagesAnswer checks the headers and the encodings of the responses of a Pages.
func TestPagesAnswer(t *testing.T) {
	files := web.Chat()
	p := web.NewPages(files)
	scripts, err := fs.Glob(files, "assets/chat/*.js")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	plain, err := fs.ReadFile(files, scripts[0])
	if err != nil {
		t.Fatal(err)
	}
	script := "/" + scripts[0]
	for encodings, want := range map[string]string{"": "", "gzip": "gzip", "deflate, GZIP;q=0.5, br": "gzip", "gzip;q=0": "", "gzip; q=0.0, br": "", "br": ""} {
		resp := ask(p.Asset, "GET", script, encodings)
		var body io.Reader = resp.Body
		if got := resp.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: Content-Encoding %q, want %q", encodings, got, want)
		} else if got == "gzip" {
			if body, err = gzip.NewReader(resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := io.ReadAll(body); err != nil || string(text) != string(plain) {
			t.Errorf("Accept-Encoding %q: %d bytes, want %d, %v", encodings, len(text), len(plain), err)
		}
		if !strings.Contains(resp.Header.Get("Vary"), "Accept-Encoding") || resp.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" ||
			resp.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("Accept-Encoding %q: the headers %v", encodings, resp.Header)
		}
	}
	for _, path := range []string{"/assets/chat/nothing.js", "/index.html", "/licenses.md", "/assets/chat/../../index.html", "/assets/chat/", "/"} {
		if resp := ask(p.Asset, "GET", path, ""); resp.StatusCode != 404 || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s %v", path, resp.Status, resp.Header)
		}
	}
	if resp := ask(p.Asset, "POST", script, ""); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s %v", resp.Status, resp.Header)
	}
	index := func(w http.ResponseWriter, r *http.Request) { p.Index(w, r, "default-src 'none'") }
	if resp := ask(index, "HEAD", "/", ""); resp.StatusCode != 200 || resp.Header.Get("Content-Security-Policy") != "default-src 'none'" || resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("the page: %s %v", resp.Status, resp.Header)
	}
	if resp := ask(p.Licenses, "GET", "/web/licenses.md", ""); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("the licenses: %s %v", resp.Status, resp.Header)
	}
}
