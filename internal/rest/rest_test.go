package rest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/token"
)

func TestAccessRecords(t *testing.T) {
	var got []Record
	f := newFixture(t, func(o *Options) { o.Access = func(r Record) { got = append(got, r) } })
	alice, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, alice)
	do := func(method, target, body string, headers ...string) {
		req := httptest.NewRequest(method, target, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("User-Agent", "test")
		req.Header.Set("x-ms-client-request-id", "mine")
		f.ServeHTTP(httptest.NewRecorder(), req)
	}
	do("POST", "/chat/threads/"+thread+"/messages?api-version=2021-09-07", `{"content":"secret"}`)
	do("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"lunch"}`)
	do("GET", "/chat/threads/"+thread+"/messages/1?api-version=2021-09-07", "")
	do("GET", "/nothing?secret=1", "")
	now := f.clock.now()
	want := []Record{
		{Time: now, Method: "POST", Path: "/chat/threads/" + thread + "/messages", Status: 201, Operation: "send message", Thread: thread, User: alice, UserAgent: "test", RequestID: "mine"},
		{Time: now, Method: "POST", Path: "/chat/threads", Status: 201, Operation: "create thread", User: alice, Note: "lunch", UserAgent: "test", RequestID: "mine"},
		{Time: now, Method: "GET", Path: "/chat/threads/" + thread + "/messages/1", Status: 404, Operation: "get message", Thread: thread, User: alice, Note: "The specified message id was not found.", UserAgent: "test", RequestID: "mine"},
		{Time: now, Method: "GET", Path: "/nothing", Status: 404, Note: "The requested path was not found.", UserAgent: "test", RequestID: "mine"},
	}
	if got[1].Thread == "" || got[1].Thread == thread {
		t.Errorf("a new thread is recorded as %q", got[1].Thread)
	}
	want[1].Thread = got[1].Thread
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// broken is an authority whose store fails, or that has a bug.
type broken struct {
	*token.Authority
	verify func() error
}

func (b broken) Verify(context.Context, string) (token.Claims, error) {
	return token.Claims{}, b.verify()
}

func TestInternalCausesStayInside(t *testing.T) {
	for _, c := range []struct {
		name   string
		verify func() error
		status int
		logged string
		body   string
	}{
		{"panic", func() error { panic("the secret cause") }, 500, "rest.broken.Verify",
			`{"error":{"code":"InternalServerError","message":"Internal server error."},"CommunicationError":{"Code":"InternalServerError","Message":"Internal server error.","Details":[]}}`},
		{"store", func() error { return errors.New("the secret cause") }, 503, "the secret cause",
			`{"error":{"code":"ServiceUnavailable","message":"The server is currently unable to handle the request."},"CommunicationError":{"Code":"ServiceUnavailable","Message":"The server is currently unable to handle the request.","Details":[]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			f := newFixture(t, nil)
			h, err := New(Options{Core: f.core, Tokens: broken{f.tokens, c.verify}, Now: f.clock.now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequest("GET", "/chat/threads/x?api-version=2021-09-07", nil)
			req.Header.Set("Authorization", "Bearer x")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("got %d %s\nwant %d %s", w.Code, w.Body, c.status, c.body)
			}
			if !strings.Contains(log.String(), c.logged) {
				t.Errorf("%q is not in the log: %s", c.logged, &log)
			}
		})
	}
}

func TestPublicEndpoint(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.PublicEndpoint = "https://chat.example.org/" })
	_, bearer := f.user(t, token.Chat)
	req := httptest.NewRequest("POST", "http://inside:8080/chat/threads?api-version=2021-09-07", strings.NewReader(`{"topic":"t"}`))
	req.Header.Set("Authorization", "Bearer "+bearer)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, req)
	if want := "https://chat.example.org/chat/threads/19%3A"; !strings.HasPrefix(w.Header().Get("Location"), want) {
		t.Errorf("Location is %s, want %s...", w.Header().Get("Location"), want)
	}

	// What a client signed for the public name holds behind a proxy too.
	signed, _ := http.NewRequest("POST", "https://chat.example.org/identities?api-version=2023-10-01", strings.NewReader("{}"))
	f.sign(t, signed, 1)
	req = httptest.NewRequest("POST", "http://inside:8080/identities?api-version=2023-10-01", strings.NewReader("{}"))
	req.RequestURI = "/identities?api-version=2023-10-01"
	req.Header = signed.Header
	w = httptest.NewRecorder()
	f.ServeHTTP(w, req)
	if w.Code != 201 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}

	for _, endpoint := range []string{"chat.example.org", "ftp://x", "https://x/path", "https://"} {
		if _, err := New(Options{Core: f.core, Tokens: f.tokens, PublicEndpoint: endpoint}); err == nil {
			t.Errorf("endpoint %q is accepted", endpoint)
		}
	}
}

func TestRepairHost(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "localhost:1": "localhost:1", "localhost:1:1": "localhost:1", "a:1:2": "a:1:2",
		"[::1]": "[::1]", "[::1]:8443": "[::1]:8443", "[::1]:8443:8443": "[::1]:8443", "": "",
	} {
		if got := repairHost(host); got != want {
			t.Errorf("repairHost(%q) = %q, want %q", host, got, want)
		}
	}
}

// Tokens of a scope end where identity.md §6.5 says.
func TestScopes(t *testing.T) {
	f := newFixture(t, nil)
	for scope, want := range map[token.Scopes][2]int{ // create, get
		token.Chat: {201, 404}, token.ChatJoin: {403, 404}, token.ChatJoinLimited: {403, 404}, token.VoIP: {403, 403}, token.VoIPJoin: {403, 403},
	} {
		_, bearer := f.user(t, scope)
		for i, req := range []*http.Request{
			httptest.NewRequest("POST", "/chat/threads?api-version=2021-09-07", strings.NewReader(`{"topic":"t"}`)),
			httptest.NewRequest("GET", "/chat/threads/19:none@thread.v2?api-version=2021-09-07", nil),
		} {
			req.Header.Set("Authorization", "bearer "+bearer)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, req)
			if w.Code != want[i] {
				t.Errorf("%v %s: got %d, want %d", scope, req.Method, w.Code, want[i])
			}
		}
	}
}

// A revoked token ends at once.
func TestRevokedToken(t *testing.T) {
	f := newFixture(t, nil)
	user, bearer := f.user(t, token.Chat)
	status := func() int {
		req := httptest.NewRequest("GET", "/chat/threads/19:none@thread.v2?api-version=2021-09-07", nil)
		req.Header.Set("Authorization", "Bearer "+bearer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, req)
		return w.Code
	}
	if got := status(); got != 404 {
		t.Errorf("before: %d", got)
	}
	req, _ := http.NewRequest("POST", "https://example.com/identities/"+url.PathEscape(user)+"/:revokeAccessTokens?api-version=2021-03-07", nil)
	f.sign(t, req, 0)
	server := httptest.NewRequest(req.Method, req.URL.RequestURI(), nil)
	server.Header = req.Header
	w := httptest.NewRecorder()
	f.ServeHTTP(w, server)
	if w.Code != 204 || status() != 401 {
		t.Errorf("revoke: %d, then %d", w.Code, status())
	}
}

func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"", "/", "//a//b/", "/chat/threads/19%3Aa%40thread.v2", "/%2F%zz", "/a/../b", "/%00%ff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		segments, err := splitPath(escaped)
		if err != nil {
			return
		}
		again := make([]string, len(segments))
		for i, s := range segments {
			if s == "" {
				t.Fatalf("%q has an empty part", escaped)
			}
			again[i] = url.PathEscape(s)
		}
		if got, err := splitPath("/" + strings.Join(again, "//")); err != nil || !slices.Equal(got, segments) {
			t.Fatalf("%q gives %q, which comes back as %q, %v", escaped, segments, got, err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	const thread = "19:a@thread.v2"
	f.Add("", uint64(1), int64(0))
	f.Add(cursor{before: 7, since: 1}.format(thread), uint64(1<<63), int64(-1))
	f.Add(hex.EncodeToString(make([]byte, 24)), uint64(0), time.Now().UnixMilli())
	f.Fuzz(func(t *testing.T, text string, before uint64, since int64) {
		if c, ok := parseCursor(thread, text); ok && !strings.EqualFold(c.format(thread), text) {
			t.Errorf("%q is read as %+v", text, c)
		}
		c := cursor{before: before, since: since}
		if got, ok := parseCursor(thread, c.format(thread)); ok != (before > 0) || ok && got != c {
			t.Errorf("%+v comes back as %+v, %v", c, got, ok)
		}
		if _, ok := parseCursor("19:b@thread.v2", c.format(thread)); ok {
			t.Errorf("%+v is good for another thread", c)
		}
	})
}
