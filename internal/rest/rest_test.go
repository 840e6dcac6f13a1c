package rest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
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
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		f.ServeHTTP(httptest.NewRecorder(), req)
	}
	do("POST", "/chat/threads/"+thread+"/messages?api-version=2021-09-07", `{"content":"secret"}`)
	do("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"lunch"}`, "x-ms-useragent", "azsdk-js", "User-Agent", "a browser")
	do("GET", "/chat/threads/"+thread+"/messages/1?api-version=2021-09-07", "")
	do("GET", "/nothing?secret=1", "")
	now := f.clock.now()
	want := []Record{
		{Time: now, Method: "POST", Path: "/chat/threads/" + thread + "/messages", Status: 201, Operation: "send message", Thread: thread, User: alice, UserAgent: "test", Client: "192.0.2.1", ClientID: "mine"},
		{Time: now, Method: "POST", Path: "/chat/threads", Status: 201, Operation: "create thread", User: alice, UserAgent: "azsdk-js", Client: "192.0.2.1", ClientID: "mine"},
		{Time: now, Method: "GET", Path: "/chat/threads/" + thread + "/messages/1", Status: 404, Operation: "get message", Thread: thread, User: alice, Note: "The specified message id was not found.", UserAgent: "test", Client: "192.0.2.1", ClientID: "mine"},
		{Time: now, Method: "GET", Path: "/nothing", Status: 404, Note: "The requested path was not found.", UserAgent: "test", Client: "192.0.2.1", ClientID: "mine"},
	}
	if got[1].Thread == "" || got[1].Thread == thread {
		t.Errorf("a new thread is recorded as %q", got[1].Thread)
	}
	want[1].Thread = got[1].Thread
	for i := range got {
		if len(got[i].RequestID) != 22+len(".0") {
			t.Errorf("record %d has the request id %q, want one of this server", i, got[i].RequestID)
		}
		want[i].RequestID = got[i].RequestID
		if code := []why.Code{"", "", why.UnknownMessage, why.UnknownPath}[i]; got[i].Why.Code != code || got[i].Request == nil || got[i].Answer == nil {
			t.Errorf("record %d: %+v, want the code %q, the request and the answer", i, got[i], code)
		}
		got[i].Why, got[i].Request, got[i].Answer = why.Cause{}, nil, nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// broken implements Tokens. Its method Verify calls a function of the test, which fails or panics.
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

// TestRetryAfter checks that a 503, the response to a request that had no effect, has a
// Retry-After of at least a second. Other errors must have none, nor a 503 of a fault rule without
// one.
func TestRetryAfter(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		name   string
		err    error
		before time.Duration // req.retryAfter before the refusal
		fault  Fault
		status int
		want   string
	}{
		{"contention or a full queue", &core.Error{Code: core.Unavailable, Message: "busy"}, 0, Fault{}, 503, "1"},
		{"database away", fmt.Errorf("read: %w", core.ErrUnavailable), 0, Fault{}, 503, "1"},
		{"a longer wait", &core.Error{Code: core.Unavailable}, 5 * time.Second, Fault{}, 503, "5"},
		{"a shorter wait", &core.Error{Code: core.Unavailable}, 5 * time.Millisecond, Fault{}, 503, "1"},
		{"unknown outcome", errors.New("the connection was lost while committing"), 0, Fault{}, 500, ""},
		{"forbidden", &core.Error{Code: core.Forbidden}, 0, Fault{}, 403, ""},
		{"a fault that names no wait", &core.Error{Code: core.Unavailable}, 0, Fault{Status: 503}, 503, ""},
	} {
		w := httptest.NewRecorder()
		req := &request{ctx: new(deadline), Request: httptest.NewRequest("GET", "/", nil), w: w, api: chat, retryAfter: c.before, fault: c.fault}
		f.write(req, f.refuse(req, c.err))
		if got := w.Header().Get("Retry-After"); w.Code != c.status || got != c.want {
			t.Errorf("%s: %d with Retry-After %q, want %d with %q", c.name, w.Code, got, c.status, c.want)
		}
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

	// A signature for the public host name is valid even if a proxy has changed the header Host.
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

// TestScopes checks that a token may call only the operations of its scopes
// (docs/contract/identity.md §6.5).
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

// TestRevokedToken checks that a token is refused at once after it was revoked.
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

// FuzzSplitPath checks that splitPath returns the parts of the escaped path between slashes, each
// part decoded.
func FuzzSplitPath(f *testing.F) {
	for _, s := range []string{"", "/", "//a//b/", "/chat/threads/19%3Aa%40thread.v2", "/%2F%zz", "/a%2fb/%3A", "/a/../b", "/%00%ff", "/a b/%25", `/"|^%41`, "/%41/é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		plain, err := url.PathUnescape(escaped)
		if err != nil {
			return // net/http refuses it
		}
		u := &url.URL{Path: plain, RawPath: escaped}
		if got, want := escapedPath(u), u.EscapedPath(); got != want {
			t.Fatalf("%q is escaped as %q, want %q", escaped, got, want)
		}
		var want []string
		for s := range strings.SplitSeq(u.EscapedPath(), "/") {
			if part, err := url.PathUnescape(s); err != nil {
				t.Fatal(err)
			} else if part != "" {
				want = append(want, part)
			}
		}
		if got, err := splitPath(nil, u, u.EscapedPath()); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q gives %q, %v, want %q", escaped, got, err, want)
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

func FuzzThreadsCursor(f *testing.F) {
	const user = "8:acs:a_b"
	good := threadsCursor{before: core.ThreadsCursor{On: 7, Thread: "19:a@thread.v2"}, since: 1}
	f.Add("", int64(1), int64(0), "19:a@thread.v2")
	f.Add(good.format(user), int64(-1), int64(-1), "")
	f.Add(strings.Repeat("0", 48), int64(1<<62), time.Now().UnixMilli(), "\xff")
	f.Fuzz(func(t *testing.T, text string, on, since int64, thread string) {
		if c, ok := parseThreadsCursor(user, text); ok && !strings.EqualFold(c.format(user), text) {
			t.Errorf("%q is read as %+v", text, c)
		}
		c := threadsCursor{before: core.ThreadsCursor{On: on, Thread: thread}, since: since}
		if got, ok := parseThreadsCursor(user, c.format(user)); ok != (core.CheckThreadID(thread) == nil) || ok && got != c {
			t.Errorf("%+v comes back as %+v, %v", c, got, ok)
		}
		if _, ok := parseThreadsCursor("8:acs:a_c", c.format(user)); ok {
			t.Errorf("%+v is good for another user", c)
		}
		if _, ok := parseCursor(user, c.format(user)); ok {
			t.Errorf("%+v is good for messages", c)
		}
	})
}

// FuzzPages calls the lists with any query. It checks that the size and the position of the page
// are within bounds, or that the error names the bad parameter.
func FuzzPages(f *testing.F) {
	for _, s := range []string{"", "maxPageSize=2&skip=2", "maxPageSize=999999999999&skip=99999999999999", "skip=-1", "startTime=2021-09-07T21:44:01.5%2B01:00",
		"startTime=1%2F1%2F1970%2012%3A00%3A00%20AM%20%2B00%3A00", "startTime=0001-01-01T00:00:00Z", "syncState=00", "maxPageSize=%00&maxPageSize=1", "expand=lastMessage,unread", "expand=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q := &request{query: values, thread: "19:a@thread.v2", caller: "8:acs:a_b"}
		skip, limit, err1 := q.skipPage()
		messages, err2 := q.messagesPage()
		threads, err3 := q.threadsPage()
		for _, err := range []error{err1, err2, err3} {
			var refusal *core.Error
			if err != nil && (!errors.As(err, &refusal) || !values.Has(refusal.Target)) {
				t.Errorf("%q is refused with %v", query, err)
			}
		}
		if err1 == nil && (skip < 0 || limit < 1 || limit > maxPageSize) {
			t.Errorf("%q gives skip %d, limit %d", query, skip, limit)
		}
		if err2 == nil && (messages.Limit < 1 || messages.Limit > core.MaxMessagesPage || messages.Since < 0) {
			t.Errorf("%q gives %+v", query, messages)
		}
		if err3 == nil && (threads.Limit < 1 || threads.Limit > maxPageSize || threads.Since < 0) {
			t.Errorf("%q gives %+v", query, threads)
		}
	})
}

// TestIssueAdoptsOwnIDs requests tokens for user ids that this server does not have yet. It checks
// that such a request creates the user if the id belongs to this resource, because apps that move
// here from Azure keep the user ids that they have stored.
func TestIssueAdoptsOwnIDs(t *testing.T) {
	f := newFixture(t, nil)
	adopting, err := core.New(t.Context(), f.store, new(local.Bus), core.Options{Now: f.clock.now, Adopt: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(adopting.Close)
	moved, err := New(Options{Core: adopting, Tokens: f.tokens, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(h http.Handler, id string) (int, string) {
		req, _ := http.NewRequest("POST", "https://example.com/identities/"+url.PathEscape(id)+"/:issueAccessToken?api-version=2021-03-07", strings.NewReader(`{"scopes":["chat"]}`))
		f.sign(t, req, 0)
		server := httptest.NewRequest(req.Method, req.URL.RequestURI(), strings.NewReader(`{"scopes":["chat"]}`))
		server.Header = req.Header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, server)
		return w.Code, w.Header().Get("x-ms-error-code")
	}
	own := "8:acs:" + resourceID + "_0000000c-6219-6975-dc7b-2548220015a8"
	foreign := "8:acs:99999999-2222-3333-4444-555555555555_0000000c-6219-6975-dc7b-2548220015a8"
	for _, c := range []struct {
		name   string
		h      http.Handler
		id     string
		status int
		code   string
	}{
		{"not moving in", f.Handler, own, 401, "IdentityNotOwned"},
		{"a foreign id", moved, foreign, 401, "IdentityNotOwned"},
		{"an own id", moved, own, 200, ""},
		{"again", moved, own, 200, ""},
		{"afterwards", f.Handler, own, 200, ""},
	} {
		if status, code := issue(c.h, c.id); status != c.status || code != c.code {
			t.Errorf("%s: got %d %s, want %d %s", c.name, status, code, c.status, c.code)
		}
	}
}
