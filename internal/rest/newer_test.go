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

// TestNewerVersions sends requests at api-versions of the future. It checks that they are answered
// if Options.NewerVersions is set and refused otherwise.
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
			for _, name := range []string{"2024-12-31", "2031-01-01-beta", "2031-02-30", "latest"} { // api-versions that do not count as newer than the newest known one
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
		if w.add(fmt.Sprint(i)) > 0 {
			first++
		}
		if w.add(fmt.Sprint(i)) > 0 {
			t.Fatalf("two warnings for name %d", i)
		}
	}
	if first != maxWarned || len(w.names) != maxWarned {
		t.Errorf("%d warnings and %d names, want %d", first, len(w.names), maxWarned)
	}
}

// TestWarningsOfNewerVersionsNeedAToken checks that no warning is logged for a request without a
// token, or for a path that the newest version does not have. It also checks that a log line after
// the last warning says that no more will follow.
func TestWarningsOfNewerVersionsNeedAToken(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *Options) {
		o.NewerVersions, o.Logger = true, slog.New(slog.NewTextHandler(&log, nil))
	})
	_, bearer := f.user(t, token.Chat)
	send := func(method, path, authorization string, number, want int) {
		t.Helper()
		req := httptest.NewRequest(method, fmt.Sprintf("%s?api-version=2031-01-01-preview%d", path, number), nil)
		req.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, req)
		if w.Code != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
		}
	}
	for i := range maxWarned {
		send(http.MethodGet, "/chat/threads", "", i, 401)
	}
	send(http.MethodPost, "/chat/threads/"+threadOfNobody+"/participants/:update", "Bearer "+bearer, 0, 400)
	if log.Len() > 0 {
		t.Errorf("a warning for a request that was refused:\n%s", log.String())
	}
	for i := range maxWarned + 3 {
		send(http.MethodGet, "/chat/threads", "Bearer "+bearer, 100+i, 200)
		warnings, last := strings.Count(log.String(), "answered_as="), strings.Count(log.String(), "no further warning")
		if want := min(i+1, maxWarned); warnings != want || (last == 1) != (want == maxWarned) {
			t.Fatalf("%d warnings and %d last lines after %d names:\n%s", warnings, last, i+1, log.String())
		}
	}
}

const threadOfNobody = "19:uni01_abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnop@thread.v2"

// TestSettingIsNamedWhereItHelps calls operations at an api-version of the future. It checks that
// the refusal names the setting for newer versions only if the newest known version has the
// operation.
func TestSettingIsNamedWhereItHelps(t *testing.T) {
	f := newFixture(t, nil)
	for path, want := range map[string]bool{"": true, "/messages": true, "/participants/:update": false, "/members": false} {
		method := map[bool]string{true: http.MethodGet, false: http.MethodPost}[want]
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(method, "/chat/threads/"+threadOfNobody+path+"?api-version=2031-01-01", nil))
		if named := strings.Contains(w.Body.String(), newerSetting); w.Code != 400 || named != want {
			t.Errorf("%s: %d %s; want the setting: %v", path, w.Code, w.Body, want)
		}
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
		"api-version=&api-version=2021-09-07":           "AmbiguousApiVersion",
		"api-version=2021-09-07&api-version=":           "AmbiguousApiVersion",
		"api-version=&api-version=":                     "ApiVersionUnspecified",
		"api-version=":                                  "ApiVersionUnspecified",
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
