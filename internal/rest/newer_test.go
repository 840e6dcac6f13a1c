package rest

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/token"
)

// TestNewerVersions sends requests at api-versions of the future, with and without the setting.
func TestNewerVersions(t *testing.T) {
	for _, newer := range []bool{false, true} {
		t.Run(fmt.Sprint(newer), func(t *testing.T) {
			var log bytes.Buffer
			f := newFixture(t, func(o *Options) {
				o.NewerVersions, o.Logger = newer, slog.New(slog.NewTextHandler(&log, nil))
			})
			alice, bearer := f.user(t, token.Chat)
			thread, _ := f.thread(t, alice)
			get := func(path, version string) *httptest.ResponseRecorder {
				req := httptest.NewRequest(http.MethodGet, path+"?maxPageSize=1&api-version="+version, nil)
				req.Header.Set("Authorization", "Bearer "+bearer)
				w := httptest.NewRecorder()
				f.ServeHTTP(w, req)
				return w
			}
			newest := string(chat.versions.Newest())
			for range 3 {
				w := get("/chat/threads/"+thread, "2031-01-01")
				header, body := w.Header().Get("confab-api-version"), w.Body.String()
				if newer && (w.Code != 200 || header != newest || !strings.Contains(body, `"retentionPolicy"`)) {
					t.Errorf("got %d %s, answered as %q", w.Code, body, header)
				}
				if !newer && (w.Code != 400 || header != "" || !strings.Contains(body, "UnsupportedApiVersion") ||
					!strings.Contains(body, newerSetting) || !strings.Contains(body, newest)) {
					t.Errorf("got %d %s, answered as %q", w.Code, body, header)
				}
			}
			if w := get("/chat/threads/"+thread+"/messages", "2031-01-01"); newer && !strings.Contains(w.Body.String(), "api-version=2031-01-01") {
				t.Errorf("the link to the next page has another version: %s", w.Body)
			}
			if w := get("/chat/threads/"+thread, newest); w.Code != 200 || w.Header().Get("confab-api-version") != "" {
				t.Errorf("the newest known version: %d, answered as %q", w.Code, w.Header().Get("confab-api-version"))
			}
			for _, name := range []string{"2024-12-31", "2031-01-01-beta", "2031-02-30", "latest"} { // none of these is newer
				if w := get("/chat/threads/"+thread, name); w.Code != 400 || strings.Contains(w.Body.String(), newerSetting) {
					t.Errorf("%s: %d %s", name, w.Code, w.Body)
				}
			}
			req := httptest.NewRequest(http.MethodPost, "/identities?api-version=2031-01-01-preview2", nil)
			f.sign(t, req, 0)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, req)
			if want := map[bool]int{false: 400, true: 201}[newer]; w.Code != want {
				t.Errorf("a new identity: %d %s, want %d", w.Code, w.Body, want)
			}
			warnings := strings.Count(log.String(), "level=WARN")
			if want := map[bool]int{false: 0, true: 2}[newer]; warnings != want {
				t.Errorf("%d warnings, want %d, one for each name:\n%s", warnings, want, log.String())
			}
		})
	}
}

// TestWarningsOfNewerVersionsAreBounded checks that a client that invents versions fills neither the
// log nor the memory.
func TestWarningsOfNewerVersionsAreBounded(t *testing.T) {
	var w warned
	first := 0
	for i := range 3 * maxWarned {
		if w.first(fmt.Sprint(i)) {
			first++
		}
		if w.first(fmt.Sprint(i)) {
			t.Fatalf("two warnings for name %d", i)
		}
	}
	if first != maxWarned || len(w.names) != maxWarned {
		t.Errorf("%d warnings and %d names, want %d", first, len(w.names), maxWarned)
	}
}

func TestTwoVersionsInOneQuery(t *testing.T) {
	f := newFixture(t, nil)
	_, bearer := f.user(t, token.Chat)
	for query, want := range map[string]string{
		"api-version=2021-09-07&api-version=2021-09-07": "",
		"api-version=2021-09-07&API-Version=2021-09-07": "",
		"api-version=2021-09-07&api-version=2021-03-07": "AmbiguousApiVersion",
		"api-version=2021-09-07&API-VERSION=x":          "AmbiguousApiVersion",
		"api-version=x&api-version=x":                   "UnsupportedApiVersion",
	} {
		req := httptest.NewRequest(http.MethodGet, "/chat/threads?"+query, nil)
		req.Header.Set("Authorization", "Bearer "+bearer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, req)
		if got := w.Header().Get("x-ms-error-code"); got != want || (w.Code == 200) != (want == "") {
			t.Errorf("%s: %d %q, want %q", query, w.Code, got, want)
		}
	}
}
