package rest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// wireServer serves a test's handler on a real TCP listener. Tests use it to send raw
// bytes that no HTTP client would send.
type wireServer struct {
	*fixture
	addr   string
	client *tls.Config
	thread string
	bearer string
}

const (
	testMaxBody   = 8 << 10
	testMaxHeader = 16 << 10
	testTimeout   = 100 * time.Millisecond
)

func newWireServer(t *testing.T) *wireServer {
	t.Helper()
	s := &wireServer{fixture: newFixture(t, func(o *Options) {
		o.MaxBody, o.BodyTimeout = testMaxBody, testTimeout
	})}
	var alice string
	alice, s.bearer = s.user(t, token.Chat)
	s.thread, _ = s.fixture.thread(t, alice)
	server := httptest.NewUnstartedServer(s.Handler)
	server.Config.MaxHeaderBytes = testMaxHeader
	server.StartTLS()
	t.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	s.client = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	return s
}

// send writes raw bytes to a new connection, reads one response and returns its status,
// headers and body. It keeps its side of the connection open, so the server waits for
// the rest of a body that is shorter than its Content-Length.
func (s *wireServer) send(t *testing.T, raw string) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, s.client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %.200q: %v", raw, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// request returns the text of an HTTP request with a Content-Length and the body.
func (s *wireServer) request(method, target, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method, target, s.addr)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

func (s *wireServer) signed(t *testing.T, method, target, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, "https://"+s.addr+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	s.sign(t, req, 0)
	var headers []string
	for name := range req.Header {
		headers = append(headers, name+": "+req.Header.Get(name))
	}
	return s.request(method, target, body, headers...)
}

// TestBadInput sends bad requests. It checks that each gets a 4xx that names the
// mistake, and that none writes to the store.
func TestBadInput(t *testing.T) {
	s := newWireServer(t)
	auth := "Authorization: Bearer " + s.bearer
	create := func(body string) string {
		return s.request("POST", "/chat/threads?api-version=2025-03-15", body, auth, "Content-Type: application/json")
	}
	messages := "/chat/threads/" + s.thread + "/messages"
	post := func(body string) string {
		return s.request("POST", messages+"?api-version=2025-03-15", body, auth)
	}
	get := func(target string) string { return s.request("GET", target, "", auth) }
	list := func(query string) string { return get(messages + "?api-version=2021-09-07&" + query) }
	issue := func(body string) string {
		return s.signed(t, "POST", "/identities/8:acs:x/:issueAccessToken?api-version=2023-10-01", body)
	}
	users := func(body string) string { return s.signed(t, "POST", "/identities?api-version=2023-10-01", body) }
	// wrong returns the signed request raw with another path and without the last bytes of its body,
	// so that both the signature and the length of the body are wrong.
	wrong := func(raw string) string {
		return strings.TrimSuffix(strings.Replace(raw, "?api-version=2023-10-01", "?api-version=2022-10-01", 1), `1}`)
	}
	participant := func(inner string) string {
		return create(`{"topic":"t","participants":[{"communicationIdentifier":` + inner + `}]}`)
	}
	to := func(method, path, body string) string {
		return s.request(method, "/chat/threads/"+s.thread+path+"?api-version=2025-03-15", body, auth)
	}
	history := func(date string) string {
		return create(`{"topic":"t","participants":[{"communicationIdentifier":{"rawId":"4:+1"},"shareHistoryTime":"` + date + `"}]}`)
	}
	stranger, _ := s.fixture.user(t, token.Chat)
	other, _ := s.fixture.thread(t, stranger)
	foreign := cursor{before: 2}.format(other)
	foreignThreads := threadsCursor{before: core.ThreadsCursor{On: 1, Thread: other}}.format("8:acs:somebody else")

	before := s.written()
	for _, c := range []struct {
		name   string
		raw    string
		status int
		names  string
	}{
		{"malformed JSON", create(`{"topic":`), 400, "topic: is not valid JSON"},
		{"malformed JSON on identity", users(`{"createTokenWithScopes":[}`), 400, "createTokenWithScopes"},
		{"no JSON", create(`topic=t`), 400, "The request body is not valid JSON"},
		{"trailing data", create(`{"topic":"t"}{}`), 400, "The request body has more"},
		{"deep lists", create(`{"topic":"t","x":` + strings.Repeat("[", 4000) + `}`), 400, "nested deeper than 32"},
		{"deep objects", post(strings.Repeat(`{"content":`, 700)), 400, "nested deeper than 32"},
		{"deep unknown objects", post(strings.Repeat(`{"x":`, 1000)), 400, "nested deeper than 32"},
		{"huge JSON", create(`{"topic":"` + strings.Repeat("a", testMaxBody) + `"}`), 413, "limit of 8192 bytes"},
		{"huge JSON on identity", users(`{"x":"` + strings.Repeat("a", testMaxBody) + `"}`), 413, "limit of 8192 bytes"},
		{"huge chunked JSON", s.request("POST", messages+"?api-version=2021-09-07", "", auth, "Transfer-Encoding: chunked") +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 2*testMaxBody, strings.Repeat("a", 2*testMaxBody)), 413, "limit of 8192 bytes"},
		{"huge number", users(`{"createTokenWithScopes":["chat"],"expiresInMinutes":` + strings.Repeat("9", 500) + `}`), 400, "expiresInMinutes"},
		{"fraction", users(`{"createTokenWithScopes":["chat"],"expiresInMinutes":60.5}`), 400, "expiresInMinutes"},
		{"minutes as text", users(`{"createTokenWithScopes":["chat"],"expiresInMinutes":"60"}`), 400, "expiresInMinutes"},
		{"minutes out of range", users(`{"createTokenWithScopes":["chat"],"expiresInMinutes":-1}`), 400, "ExpiresInMinutes value -1"},
		{"long topic", create(`{"topic":"` + strings.Repeat("a", 1000) + `"}`), 400, "topic"},
		{"topic of another type", create(`{"topic":["t"]}`), 400, "topic: must be a string"},
		{"participants of another type", create(`{"topic":"t","participants":"bob"}`), 400, "participants: must be a list"},
		{"participant of another type", create(`{"topic":"t","participants":["8:acs:a"]}`), 400, "participants[0]: must be an object"},
		{"identifier of another type", participant(`"8:acs:a"`), 400, "participants[0].communicationIdentifier: must be an object"},
		{"user id of another type", participant(`{"communicationUser":{"id":5}}`), 400, "participants[0].communicationIdentifier.communicationUser.id"},
		{"malformed user id", participant(`{"communicationUser":{"id":"bob"}}`), 400, "Identifier format is invalid (bob)."},
		{"user id in capitals", participant(`{"communicationUser":{"id":"8:ACS:` + resourceID + `"}}`), 400, "Identifier format is invalid"},
		{"no user id", participant(`{}`), 400, "participants[0].communicationIdentifier"},
		{"metadata of another type", create(`{"topic":"t","metadata":{"a":{}}}`), 400, "metadata.a: must be a string"},
		{"policy of no days", create(`{"topic":"t","retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":0}}`), 400, "retentionPolicy.deleteThreadAfterDays: must be from 30 to 90"},
		{"policy of another kind", create(`{"topic":"t","retentionPolicy":{"kind":"soon"}}`), 400, "retentionPolicy.kind"},
		{"message type of another type", post(`{"content":"c","type":1}`), 400, "type: must be a string"},
		{"no content", post(`{}`), 400, "content"},
		{"invalid UTF-8", post("{\"content\":\"\xff\"}"), 400, "content: is not valid UTF-8"},
		{"invalid UTF-8 in a name", post("{\"\xff\":1}"), 400, "is not valid UTF-8"},
		{"half a surrogate pair", post(`{"content":"\ud800"}`), 400, "content: has half of a surrogate pair"},
		{"NUL", post(`{"content":"a\u0000"}`), 400, "content: must not contain the NUL"},
		{"NUL in metadata", post(`{"content":"a","metadata":{"k":"\u0000"}}`), 400, "metadata.k: must not contain the NUL"},
		{"NUL byte", post("{\"content\":\"a\x00\"}"), 400, "content: is not valid JSON"},
		{"a leap second at noon", history("2016-12-31T12:00:60Z"), 400, "participants[0].shareHistoryTime: must be a date such as"},
		{"date after 9999", history("9999-12-31T23:59:59-12:00"), 400, "participants[0].shareHistoryTime"},
		{"year 10000", history("10000-01-01T00:00:00Z"), 400, "participants[0].shareHistoryTime"},
		{"no date", history("31 February"), 400, "participants[0].shareHistoryTime: must be a date such as"},
		{"30 February", history("2021-02-30T00:00:00Z"), 400, "participants[0].shareHistoryTime"},
		{"long idempotency token", s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`, auth,
			"Repeatability-Request-Id: "+strings.Repeat("x", 1000)), 400, "repeatability-request-id"},

		{"no version", s.request("POST", "/chat/threads", `{"topic":"t"}`, auth), 400, "ApiVersionUnspecified"},
		{"no version on identity", s.signed(t, "POST", "/identities", `{}`), 400, "ApiVersionUnspecified"},
		{"unknown version", s.request("POST", "/chat/threads?api-version=1999-01-01", `{"topic":"t"}`, auth), 400, "UnsupportedApiVersion"},
		{"unknown version on identity", s.signed(t, "POST", "/identities?api-version=%00", `{}`), 400, "UnsupportedApiVersion"},
		{"unknown path", s.request("POST", "/chat/treads?api-version=2021-09-07", `{}`, auth), 404, "NotFound"},
		{"wrong method", s.request("DELETE", messages+"?api-version=2021-09-07", "", auth), 405, "MethodNotAllowed"},
		{"unknown method", s.request("BREW", "/identities?api-version=2021-09-07", ""), 405, "BREW"},
		{"bad escape", get("/chat/threads/%zz?api-version=2021-09-07"), 400, ""},
		{"bad escape in the query", list("maxPageSize=%zz"), 400, "query"},
		{"foreign content type", s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`, auth, "Content-Type: text/html"), 415, "Content-Type"},
		{"foreign charset", s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`, auth, "Content-Type: application/json; charset=utf-16"), 415, "Content-Type"},
		{"no body", s.request("POST", "/chat/threads?api-version=2021-09-07", "", auth, "Content-Length: 0"), 400, "The request body is required."},

		{"malformed thread id", get("/chat/threads/abc/messages?api-version=2021-09-07"), 400, "chatThreadId"},
		{"thread id with a slash", get("/chat/threads/19:a%2Fb@thread.v2?api-version=2021-09-07"), 400, "chatThreadId"},
		{"thread id with NUL", get("/chat/threads/19:%00@thread.v2?api-version=2021-09-07"), 400, "chatThreadId"},
		{"thread id of bytes", get("/chat/threads/19:%ff%fe@thread.v2?api-version=2021-09-07"), 400, "chatThreadId"},
		{"endless thread id", get("/chat/threads/19:" + strings.Repeat("a", 5000) + "@thread.v2?api-version=2021-09-07"), 400, "chatThreadId"},
		{"malformed message id", get(messages + "/abc?api-version=2021-09-07"), 400, "chatMessageId"},
		{"negative message id", get(messages + "/-1?api-version=2021-09-07"), 400, "chatMessageId"},
		{"endless message id", get(messages + "/" + strings.Repeat("9", 30) + "?api-version=2021-09-07"), 400, "chatMessageId"},
		{"malformed identity", s.signed(t, "DELETE", "/identities/%00?api-version=2021-03-07", ""), 401, "IdentityNotOwned"},
		{"malformed cursor", list("syncState=zz"), 400, "syncState"},
		{"empty cursor", list("syncState="), 400, "syncState"},
		{"cursor of another thread", list("syncState=" + foreign), 400, "syncState"},
		{"page of 0", list("maxPageSize=0"), 400, "maxPageSize"},
		{"page of -1", list("maxPageSize=-1"), 400, "maxPageSize"},
		{"page of x", list("maxPageSize=x"), 400, "maxPageSize"},
		{"page of nothing", list("maxPageSize="), 400, "maxPageSize"},
		{"page of 10^30", list("maxPageSize=1" + strings.Repeat("0", 30)), 400, "maxPageSize"},
		{"start that is no date", list("startTime=noon"), 400, "startTime"},
		{"start on 32 January", list("startTime=1/32/1960%2012:00:00%20AM%20%2B00:00"), 400, "startTime"},
		{"start after 9999", list("startTime=99999-01-01T00:00:00Z"), 400, "startTime"},

		{"patch of a thread: topic of another type", to("PATCH", "", `{"topic":{"value":"t"}}`), 400, "topic: must be a string"},
		{"patch of a thread: no JSON merge patch", to("PATCH", "", `[{"op":"replace","path":"/topic","value":"t"}]`), 400, "must be an object"},
		{"patch of a thread: huge", to("PATCH", "", `{"metadata":{"k":"`+strings.Repeat("a", testMaxBody)+`"}}`), 413, "limit of 8192 bytes"},
		{"patch of a thread: half a body", to("PATCH", "", `{"topic":"t"`), 400, "ends too early"},
		{"patch of a message: metadata of another type", to("PATCH", "/messages/1", `{"metadata":{"k":["v"]}}`), 400, "metadata.k: must be a string"},
		{"patch of a message: id with blanks", to("PATCH", "/messages/%201%20", `{}`), 400, "chatMessageId"},
		{"delete of a message: negative id", to("DELETE", "/messages/-1", ""), 400, "chatMessageId"},
		{"delete of a thread: malformed id", s.request("DELETE", "/chat/threads/abc?api-version=2021-09-07", "", auth), 400, "chatThreadId"},
		{"add: no list", to("POST", "/participants/:add", `{"participants":{"communicationIdentifier":{}}}`), 400, "participants: must be a list"},
		{"add: no body", to("POST", "/participants/:add", ""), 400, "The request body is required."},
		{"add: nobody", to("POST", "/participants/:add", `{}`), 400, "participants"},
		{"add: nobody named", to("POST", "/participants/:add", `{"participants":[{}]}`), 400, "participants[0].communicationIdentifier: is required"},
		{"add: malformed user id", to("POST", "/participants/:add", `{"participants":[{"communicationIdentifier":{"communicationUser":{"id":"bob"}}}]}`), 400, "Identifier format is invalid (bob)."},
		{"remove: wrapped", to("POST", "/participants/:remove", `{"communicationIdentifier":{"rawId":"8:acs:a_b"}}`), 400, "is no identifier"},
		{"remove: two at once", to("POST", "/participants/:remove", `{"communicationUser":{"id":"8:acs:a_b"},"phoneNumber":{"value":"+1"}}`), 400, "only one of"},
		{"remove: a string", to("POST", "/participants/:remove", `"8:acs:a_b"`), 400, "must be an object"},
		{"receipt: number", to("POST", "/readReceipts", `{"chatMessageId":1653551972669}`), 400, "chatMessageId: must be a string"},
		{"receipt: no number", to("POST", "/readReceipts", `{"chatMessageId":"last"}`), 400, "Value for MessageId (last)"},
		{"receipt: nothing", to("POST", "/readReceipts", `{}`), 400, "chatMessageId: is required"},
		{"typing: no JSON", to("POST", "/typing", `typing`), 400, "not valid JSON"},
		{"typing: long name", to("POST", "/typing", `{"senderDisplayName":"`+strings.Repeat("a", 257)+`"}`), 400, "senderDisplayName"},
		{"typing: slow body", s.request("POST", "/chat/threads/"+s.thread+"/typing?api-version=2021-09-07", "", auth, "Content-Length: 20") + `{`, 408, "did not arrive"},
		{"participants: skip -1", get("/chat/threads/" + s.thread + "/participants?api-version=2021-09-07&skip=-1"), 400, "skip"},
		{"participants: page of x", get("/chat/threads/" + s.thread + "/participants?api-version=2021-09-07&maxPageSize=x"), 400, "maxPageSize"},
		{"receipts: skip x", get("/chat/threads/" + s.thread + "/readReceipts?api-version=2021-09-07&skip=x"), 400, "skip"},
		{"threads: start that is no date", get("/chat/threads?api-version=2021-09-07&startTime=yesterday"), 400, "startTime"},
		{"threads: cursor of another user", get("/chat/threads?api-version=2021-09-07&syncState=" + foreignThreads), 400, "syncState"},

		{"no scopes", issue(`{}`), 400, "Scopes"},
		{"scopes of another type", issue(`{"scopes":{"chat":true}}`), 400, "scopes: must be a list"},
		{"scope of another type", issue(`{"scopes":[null]}`), 400, "scopes[0]: must not be null"},
		{"no token", s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`), 401, ""},
		{"endless token", s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`, "Authorization: Bearer "+strings.Repeat("a.", 3000)), 401, ""},
		{"token as key", s.request("POST", "/identities?api-version=2023-10-01", `{}`, auth), 401, "Denied"},
		{"key as token", strings.Replace(users(`{}`), "/identities?api-version=2023-10-01", "/chat/threads?api-version=2021-09-07", 1), 401, ""},
		{"changed body", strings.Replace(users(`{"x":1}`), `{"x":1}`, `{"x":2}`, 1), 401, "differs from generated content hash"},

		{"oversized header", s.request("GET", "/chat/threads?api-version=2021-09-07", "", "X: "+strings.Repeat("a", 2*testMaxHeader)), 431, ""},
		{"slow body", s.request("POST", "/chat/threads?api-version=2021-09-07", "", auth, "Content-Length: 20") + `{`, 408, "did not arrive within 100ms"},
		{"slow body on identity", strings.TrimSuffix(users(`{"x":1}`), `1}`), 408, "did not arrive within 100ms"},
		{"slow body on identity of a stranger", s.request("POST", "/identities?api-version=2023-10-01", "", "Authorization: HMAC-SHA256 x", "Content-Length: 20") + `{`, 401, "Denied by the resource provider."},
		{"slow body on identity with a wrong signature", wrong(users(`{"x":1}`)), 401, "Denied by the resource provider."},
		{"two tokens", s.request("GET", "/chat/threads?api-version=2021-09-07", "", auth, auth), 400, "more than one Authorization header"},
		{"two signatures", strings.Replace(users(`{"x":1}`), "Host: ", "Authorization: x\r\nHost: ", 1), 400, "more than one Authorization header"},
		{"slow body of a stranger", s.request("POST", "/chat/threads?api-version=2021-09-07", "", "Content-Length: 20") + `{`, 401, ""},
		{"broken chunks", s.request("POST", "/chat/threads?api-version=2021-09-07", "", auth, "Transfer-Encoding: chunked") + "zz\r\n", 400, "request body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := s.send(t, c.raw)
			if status != c.status || !strings.Contains(body, c.names) {
				t.Errorf("got %d %s\nwant %d naming %q", status, body, c.status, c.names)
			}
			if status == 401 && body == "" && header.Get("Content-Length") != "0" {
				t.Errorf("an empty 401 has Content-Length %q", header.Get("Content-Length"))
			}
			if after := s.written(); after != before {
				t.Errorf("%d bytes were written", after-before)
				before = after
			}
		})
	}

	if status, _, body := s.send(t, post(`{"content":"c"}`)); status != 201 || s.written() == before {
		t.Errorf("the valid request got %d %s and wrote %d bytes", status, body, s.written()-before)
	}
	if status, _, _ := s.send(t, list("maxPageSize=1000000000")); status != 200 {
		t.Errorf("a list with maxPageSize 10^9: status %d", status)
	}
}

// TestDoubledPort sends a Host header with a repeated port, as the JavaScript SDK 2.0
// to 2.4.0 does. It checks that the request is accepted and that links in the response
// do not repeat the port (docs/contract/identity.md §4.3).
func TestDoubledPort(t *testing.T) {
	s := newWireServer(t)
	double := func(raw string) string {
		_, port, _ := strings.Cut(s.addr, ":")
		return strings.Replace(raw, "Host: "+s.addr, "Host: "+s.addr+":"+port, 1)
	}
	if status, _, body := s.send(t, double(s.signed(t, "POST", "/identities?api-version=2023-10-01", `{}`))); status != 201 {
		t.Errorf("create user: %d %s", status, body)
	}
	status, header, _ := s.send(t, double(s.request("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"t"}`, "Authorization: Bearer "+s.bearer)))
	if want := "https://" + s.addr + "/chat/threads/19%3A"; status != 201 || !strings.HasPrefix(header.Get("Location"), want) {
		t.Errorf("create thread: %d, Location %s; want %s...", status, header.Get("Location"), want)
	}
}

// deadlines is an http.ResponseWriter that records the read deadlines that a handler
// sets.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestBodyDeadlineIsLifted checks that the handler removes the read deadline after it has read
// the body. net/http keeps reading from the connection in the background, and would take an
// expired deadline for a client that hung up.
func TestBodyDeadlineIsLifted(t *testing.T) {
	f := newFixture(t, nil)
	_, bearer := f.user(t, token.Chat)
	req := httptest.NewRequest("POST", "/chat/threads?api-version=2021-09-07", strings.NewReader(`{"topic":"t"}`))
	req.Header.Set("Authorization", "Bearer "+bearer)
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	f.ServeHTTP(w, req)
	if w.Code != 201 || len(w.set) != 2 || w.set[0].IsZero() || !w.set[1].IsZero() {
		t.Errorf("got %d; deadlines %v, want one and then none", w.Code, w.set)
	}
}

// TestSlowBodyOverHTTP2 sends a request body too slowly over HTTP/2. It checks that the server
// refuses the request when the body's deadline passes. Over HTTP/2 the deadline applies to one
// stream and not to the connection.
func TestSlowBodyOverHTTP2(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.BodyTimeout = testTimeout })
	_, bearer := f.user(t, token.Chat)
	server := httptest.NewUnstartedServer(f.Handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, stuck := io.Pipe()
	defer stuck.Close()
	req, err := http.NewRequest("POST", server.URL+"/chat/threads?api-version=2021-09-07", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout || resp.ProtoMajor != 2 {
		t.Errorf("got %d over %s", resp.StatusCode, resp.Proto)
	}
}
