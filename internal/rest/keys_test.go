package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// endless is a request body whose Read returns some bytes and then blocks until the body is
// closed.
type endless struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
}

func newEndless(size int) *endless {
	return &endless{Reader: bytes.NewReader(make([]byte, size)), closed: make(chan struct{})}
}

func (e *endless) Read(b []byte) (int, error) {
	if n, err := e.Reader.Read(b); err == nil {
		return n, nil
	}
	<-e.closed
	return 0, io.ErrUnexpectedEOF
}

func (e *endless) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// TestBodiesThatNeverEnd opens 100 HTTP/2 streams on each of 4 connections. Their requests have no
// valid signature or token, and a body of a megabyte whose last byte never arrives. It checks that
// the requests are answered with 401 while their bodies are still open, and logs how much the heap
// has grown.
func TestBodiesThatNeverEnd(t *testing.T) {
	const connections, streams = 4, 100
	f := newFixture(t, func(o *Options) { o.BodyTimeout = time.Minute })
	srv := httptest.NewUnstartedServer(f)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	signed := httptest.NewRequest("POST", "/identities?api-version=2021-03-07", nil)
	f.sign(t, signed, 0)
	for _, c := range []struct{ name, path, authorization string }{
		{"no signature at all", "/identities?api-version=2023-10-01", "HMAC-SHA256 x"},
		{"the signature of another request", "/identities?api-version=2023-10-01", signed.Header.Get("Authorization")},
		{"no token", "/chat/threads?api-version=2021-09-07", "Bearer x"},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses, answers := map[string]int{}, 0
		for range connections {
			transport := srv.Client().Transport.(*http.Transport).Clone()
			defer transport.CloseIdleConnections()
			for range streams {
				wg.Go(func() {
					body := newEndless(1<<20 - 1)
					defer body.Close()
					r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+c.path, body)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header = http.Header{"Authorization": {c.authorization}, "X-Ms-Date": signed.Header["X-Ms-Date"], "X-Ms-Content-Sha256": signed.Header["X-Ms-Content-Sha256"]}
					r.ContentLength = 1 << 20
					resp, err := transport.RoundTrip(r)
					got := fmt.Sprint(err)
					if err == nil {
						got = resp.Status
						resp.Body.Close()
					}
					mu.Lock()
					defer mu.Unlock()
					statuses[got]++
					if err == nil {
						answers++
					}
				})
			}
		}
		wg.Wait()
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		t.Logf("%s: %v, %d KiB of heap more afterwards", c.name, statuses, grown>>10)
		// On a slow machine net/http may close a connection because the client keeps sending, or because
		// its first frame takes two seconds. The requests on such a connection get no answer.
		refused := statuses["401 Unauthorized"]
		if refused < connections*streams/2 || refused != answers {
			t.Errorf("%s: %v, want %d answers of 401 while the bodies are open, and no other", c.name, statuses, connections*streams)
		}
	}
}

// unread is a request body that fails the test when somebody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("not to be read")
}

// TestBodyIsReadLast checks on all routes that the server does not read the body of a request
// before it has accepted the request's signature or token.
func TestBodyIsReadLast(t *testing.T) {
	f := newFixture(t, nil)
	_, voip := f.user(t, token.VoIP)
	for _, r := range routes {
		if r.method == http.MethodGet {
			continue
		}
		version := r.api.versions.Versions()[0]
		for _, v := range r.api.versions.Versions() {
			if r.in.Has(v) {
				version = v
			}
		}
		path := strings.NewReplacer("{chatThreadId}", "19:abc@thread.v2", "{chatMessageId}", "1", "{id}", "8:acs:x", "{chatParticipantId}", "8:acs:x").Replace(r.path)
		target := path + "?api-version=" + string(version)
		stale := httptest.NewRequest(r.method, target, strings.NewReader("{}"))
		if err := f.tokens.Keys()[0].Sign(stale, f.clock.now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		other := httptest.NewRequest(r.method, "/other", strings.NewReader("{}"))
		f.sign(t, other, 0)
		for _, from := range []http.Header{
			{}, {"Authorization": {"HMAC-SHA256 x"}}, {"Authorization": {"Bearer x"}}, {"Authorization": {"Bearer " + voip}},
			{"Authorization": {"Bearer x", "Bearer y"}}, stale.Header, other.Header,
		} {
			req := httptest.NewRequest(r.method, target, unread{t})
			req.ContentLength = 2
			req.Header = from
			w := httptest.NewRecorder()
			f.ServeHTTP(w, req)
			if w.Code != 401 && w.Code != 403 && w.Code != 400 {
				t.Errorf("%s %s with %v: %d %s, want a refusal", r.method, target, from, w.Code, w.Body)
			}
		}
	}
}

// TestPathsMatchTheirCase tries each path with one fixed segment in lower case or in upper case.
// It checks that the path no longer matches, unless the segment is readReceipts, for which two
// spellings were recorded.
func TestPathsMatchTheirCase(t *testing.T) {
	for _, p := range pathsOf(routes) {
		for i, s := range p.segments {
			if s == "" {
				continue
			}
			for _, other := range []string{strings.ToLower(s), strings.ToUpper(s)} {
				segments := make([]string, len(p.segments))
				for j, s := range p.segments {
					segments[j] = cmp.Or(s, "x")
				}
				segments[i] = other
				if _, ok := p.match(nil, segments); ok != (other == s || s == "readReceipts") {
					t.Errorf("%q matches: %v", strings.Join(segments, "/"), ok)
				}
			}
		}
	}
}

// TestIdentityBodies checks that the body of an identity request may have at most 64 KiB.
func TestIdentityBodies(t *testing.T) {
	f := newFixture(t, nil)
	for size, want := range map[int]int{64 << 10: 201, 64<<10 + 1: 413, 1 << 20: 413} {
		body := `{"x":"` + strings.Repeat("a", size-8) + `"}`
		req := httptest.NewRequest("POST", "/identities?api-version=2023-10-01", strings.NewReader(body))
		f.sign(t, req, 0)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("%d bytes: %d %s, want %d", size, w.Code, w.Body, want)
		}
	}
}

// rotatingTokens is a token.Authority that replaces the primary key during a call of Reload or
// Issue if the test wants this, as if another client replaced the key while a request is handled.
type rotatingTokens struct {
	*token.Authority
	rows   [2]core.AccessKeyRow
	rotate func(step string) bool
}

func (r *rotatingTokens) step(step string) {
	if r.rotate(step) {
		r.rows[0].Serial++
		r.rows[0].Secret = []byte(fmt.Sprintf("the primary key with serial %d, long enough", r.rows[0].Serial))
		if err := r.SetKeys(r.rows); err != nil {
			panic(err)
		}
	}
}

func (r *rotatingTokens) Reload(context.Context) (bool, error) {
	r.step("reload")
	return false, nil
}

func (r *rotatingTokens) Issue(u core.User, s token.Scopes, d time.Duration, key token.Key) (string, time.Time, error) {
	r.step("issue")
	return r.Authority.Issue(u, s, d, key)
}

// TestRotatedWhileIssuing replaces the key that signed a request at several moments between the
// check of the signature and the issue of a token. It checks that the request gets 401 and no
// token.
func TestRotatedWhileIssuing(t *testing.T) {
	f := newFixture(t, nil)
	stored, err := f.store.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := f.core.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens := &rotatingTokens{Authority: f.tokens, rows: stored.Keys}
	var access records
	h, err := New(Options{Core: f.core, Tokens: tokens, Now: f.clock.now, Access: access.add})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, body string }{
		{"/identities?api-version=2023-10-01", `{"createTokenWithScopes":["chat"]}`},
		{"/identities/" + url.PathEscape(u.ID) + "/:issueAccessToken?api-version=2023-10-01", `{"scopes":["chat"]}`},
	} {
		for _, step := range []string{"", "reload", "issue"} {
			tokens.rotate = func(at string) bool { return at == step }
			req := httptest.NewRequest("POST", c.path, strings.NewReader(c.body))
			f.sign(t, req, 0)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if step == "" {
				if w.Code/100 != 2 {
					t.Errorf("%s without a rotation: %d %s", c.path, w.Code, w.Body)
				}
				continue
			}
			if w.Code != 401 || strings.Contains(strings.ToLower(w.Body.String()), `"token"`) || !strings.Contains(w.Body.String(), errDenied.Message) {
				t.Errorf("%s, rotated at %s: %d %s, want 401 without a token", c.path, step, w.Code, w.Body)
			}
			if got := access.last(t).Reason; got != "signature: the key was replaced meanwhile" {
				t.Errorf("%s, rotated at %s: the reason is %q", c.path, step, got)
			}
		}
	}
}

// countedTokens counts how often a request reads the access keys to check a signature. If rotate
// is set, it replaces the primary key in Reload.
type countedTokens struct {
	*token.Authority
	rows   [2]core.AccessKeyRow
	rotate bool
	held   int
}

func (c *countedTokens) Held() [2]token.Key {
	c.held++
	return c.Authority.Held()
}

func (c *countedTokens) Reload(context.Context) (bool, error) {
	if !c.rotate {
		return false, nil
	}
	c.rotate = false
	c.rows[0].Serial++
	c.rows[0].Secret = []byte("a primary key that another server has made, long enough")
	return true, c.SetKeys(c.rows)
}

// TestRefusedSignaturesAreVerifiedOnce sends, within a second, maxHints requests whose signatures
// are for another host. It checks that each signature is verified only once, because the keys have
// not changed, and that the log says which host was signed. It also checks that a request is
// accepted whose key another server has just made.
func TestRefusedSignaturesAreVerifiedOnce(t *testing.T) {
	f := newFixture(t, nil)
	stored, err := f.store.Resource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens := &countedTokens{Authority: f.tokens, rows: stored.Keys}
	var access records
	h, err := New(Options{Core: f.core, Tokens: tokens, Hosts: []string{"chat.lan"}, Now: f.clock.now, Access: access.add})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(host string, key communication.AccessKey) (status int, reason string) {
		t.Helper()
		r := httptest.NewRequest("POST", "/identities?api-version=2023-10-01", nil)
		r.Host = host
		if err := key.Sign(r, f.clock.now()); err != nil {
			t.Fatal(err)
		}
		r.Host = "10.0.0.7:8080"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, access.last(t).Reason
	}
	for i := range maxHints + 1 {
		want := `signature: the host "chat.lan" was signed, and the request came for the host "10.0.0.7:8080"`
		if i == maxHints {
			want = `signature: signature matches no key for the host "10.0.0.7:8080"`
		}
		before := tokens.held
		if status, reason := ask("chat.lan", f.tokens.Keys()[0]); status != 401 || reason != want || tokens.held-before != 1 {
			t.Errorf("request %d: %d, %s, verified %d times, want 401, %s, once", i+1, status, reason, tokens.held-before, want)
		}
	}
	fresh, err := communication.NewAccessKey(base64.StdEncoding.EncodeToString([]byte("a primary key that another server has made, long enough")))
	if err != nil {
		t.Fatal(err)
	}
	tokens.rotate = true
	if status, reason := ask("10.0.0.7:8080", fresh); status != 201 {
		t.Errorf("signed with the key of another server: %d, %s", status, reason)
	}
}

// TestReasonsOfRefusals checks that the access log says why each request was refused, and that the
// response does not.
func TestReasonsOfRefusals(t *testing.T) {
	var access records
	f := newFixture(t, func(o *Options) { o.Access = access.add })
	ann, annToken := f.user(t, token.Chat)
	_, eve := f.user(t, token.Chat)
	_, voip := f.user(t, token.VoIP)
	_, join := f.user(t, token.ChatJoin)
	thread, _ := f.thread(t, ann)
	revoked, revokedToken := f.user(t, token.Chat)
	if err := f.core.RevokeTokens(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	deleted, deletedToken := f.user(t, token.Chat)
	if err := f.core.DeleteUser(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	sign := func(late time.Duration) func(*http.Request) {
		return func(r *http.Request) {
			if err := f.tokens.Keys()[0].Sign(r, f.clock.now().Add(-late)); err != nil {
				t.Fatal(err)
			}
		}
	}
	bearer := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	}
	get, users := "GET /chat/threads/"+thread+"?api-version=2021-09-07", "POST /identities?api-version=2023-10-01"
	ask := func(what string, prepare func(*http.Request), reason string) {
		t.Helper()
		method, target, _ := strings.Cut(what, " ")
		r := httptest.NewRequest(method, target, nil)
		prepare(r)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if got := access.last(t).Reason; got != reason || w.Code/100 == 2 != (reason == "") {
			t.Errorf("%s: %d with the reason %q, want %q", what, w.Code, got, reason)
		}
		if reason != "" && reason != "no bearer token" && strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), reason) {
			t.Errorf("%s: the client is told the reason: %s %v", what, w.Body, w.Header())
		}
	}
	ask(get, bearer(annToken), "")
	ask(get, func(*http.Request) {}, "no bearer token")
	ask(get, bearer("x"), "token: malformed")
	ask(get, bearer(annToken[:len(annToken)-8]+"AAAAAAAA"), "token: signature")
	ask(get, bearer(revokedToken), "token: revoked")
	ask(get, bearer(deletedToken), "token: user deleted")
	ask(get, bearer(eve), "not a participant")
	ask(get, bearer(voip), "scope: needs chat or chat.join or chat.join.limited, has voip")
	ask("DELETE /chat/threads/"+thread+"?api-version=2021-09-07", bearer(join), "scope: needs chat, has chat.join")
	ask(users, func(*http.Request) {}, "signature: no authorization header")
	ask(users, bearer(annToken), "signature: authorization scheme is not HMAC-SHA256")
	ask(users, func(r *http.Request) { r.Header.Set("Authorization", "HMAC-SHA256 x") }, "signature: authorization is not SignedHeaders=...&Signature=...")
	ask(users, sign(0), "")
	ask(users, sign(16*time.Minute), "signature: signed date is 16m0.678s behind the server's clock, more than 15m0s")
	ask(users, func(r *http.Request) { sign(0)(r); r.RequestURI = "/other" }, `signature: signature matches no key for the host "example.com"`)
	ask(users, func(r *http.Request) { sign(0)(r); r.Body = io.NopCloser(strings.NewReader("{}")); r.ContentLength = 2 }, "signature: x-ms-content-sha256 is not the hash of the body")
	ask(users, func(r *http.Request) { sign(0)(r); r.Header.Set("x-ms-content-sha256", "x") }, "signature: x-ms-content-sha256 is not the base64 of a SHA-256")
	f.clock.advance(24*time.Hour + 5*time.Minute)
	ask(get, bearer(annToken), "token: expired 5m0s ago")
}
