package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/traffic"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// refusals sends requests that are refused, and remembers their ids and all secrets in them.
type refusals struct {
	*running
	t       *testing.T
	key     communication.AccessKey
	names   map[string]string // maps the short id of each user or thread to the name that the test gives it
	secrets []string
	answers bytes.Buffer // the headers and bodies of the refused requests
}

// chatVersion is the api-version of all requests, except those that test other api-versions.
const chatVersion = "2024-03-07"

// user creates a user, remembers its id under a name, and returns the id and a token.
func (r *refusals) user(name string) (id, bearer string) {
	r.t.Helper()
	id, err := r.CreateUser(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.names[why.User(id)] = name
	return id, r.token(id, token.Chat, time.Hour)
}

func (r *refusals) token(user string, scopes token.Scopes, life time.Duration) string {
	r.t.Helper()
	text, _, err := r.IssueToken(r.t.Context(), user, scopes, life)
	if err != nil {
		r.t.Fatal(err)
	}
	r.secrets = append(r.secrets, text)
	return text
}

// request returns a request with a token.
func (r *refusals) request(method, path, bearer, body string) *http.Request {
	r.t.Helper()
	if !strings.Contains(path, "api-version") {
		path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "api-version=" + chatVersion
	}
	q, err := http.NewRequest(method, r.Endpoint+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		q.Header.Set("Authorization", "Bearer "+bearer)
	}
	return q
}

// sign returns a request that is signed with an access key and dated with the given time.
func (r *refusals) sign(key communication.AccessKey, at time.Time, method, path, body string) *http.Request {
	r.t.Helper()
	q := r.request(method, path+"?api-version=2023-10-01", "", body)
	if err := key.Sign(q, at); err != nil {
		r.t.Fatal(err)
	}
	_, signature, _ := strings.Cut(q.Header.Get("Authorization"), "Signature=")
	r.secrets = append(r.secrets, signature)
	return q
}

// send sends a request and returns the status, the id and the body of its answer.
func (r *refusals) send(q *http.Request) (status int, id, body string) {
	r.t.Helper()
	resp, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Ms-Request-Id"), fmt.Sprint(resp.Header) + string(b)
}

// must sends a request and fails the test unless the request succeeds. It returns a text from the
// JSON of the answer: members are the names that lead to that text.
func (r *refusals) must(q *http.Request, members ...string) string {
	r.t.Helper()
	resp, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var v any
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode/100 != 2 {
		r.t.Fatalf("%s %s: %d %s %v", q.Method, q.URL, resp.StatusCode, b, err)
	} else if len(members) > 0 {
		if err := json.Unmarshal(b, &v); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, m := range members {
		v = v.(map[string]any)[m]
	}
	text, _ := v.(string)
	return text
}

var (
	times = regexp.MustCompile(`\d\d:\d\d:\d\d UTC on \d{4}-\d\d-\d\d`)
	spans = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b`)
)

// plain returns a sentence of the log in a form that is the same in each run: names replace ids,
// TIME replaces times, and SPAN replaces durations.
func (r *refusals) plain(sentence string) string {
	sentence = spans.ReplaceAllString(times.ReplaceAllString(sentence, "TIME"), "SPAN")
	for id, name := range r.names {
		sentence = strings.ReplaceAll(sentence, id, name)
	}
	return sentence
}

// TestWhy sends more than 30 requests that are refused, each for another reason. It checks that
// the log and the log of the newest requests have the same sentence about each, and that no
// answer, no log line and no stored request contains a secret.
func TestWhy(t *testing.T) {
	s, out := logged(t, "dev", "true", "limits", "azure", "newer-api-versions", "refuse", "max-body-size", "1MiB")
	key, err := communication.NewAccessKey(s.AccessKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := communication.NewAccessKey("b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXIhISE=")
	if err != nil {
		t.Fatal(err)
	}
	r := &refusals{running: s, t: t, key: key, names: map[string]string{}, secrets: []string{s.AccessKey, s.AdminSecret, other.Text()}}
	annID, ann := r.user("ANN")
	bobID, bob := r.user("BOB")
	cidID, cid := r.user("CID")
	_, eve := r.user("EVE")
	_, fast := r.user("FAST")
	goneID, gone := r.user("GONE")
	revokedID, revoked := r.user("REVOKED")
	participant := func(id, name string) string {
		return fmt.Sprintf(`{"communicationIdentifier":{"rawId":%q,"communicationUser":{"id":%q}},"displayName":%q}`, id, id, name)
	}
	thread := r.must(r.request("POST", "/chat/threads", ann, `{"topic":"lunch","participants":[`+participant(annID, "Ann")+","+participant(bobID, "Bob")+","+participant(cidID, "Cid")+`]}`), "chatThread", "id")
	deleted := r.must(r.request("POST", "/chat/threads", ann, `{"topic":"old"}`), "chatThread", "id")
	r.names[why.Thread(thread)], r.names[why.Thread(deleted)] = "THREAD", "DELETED"
	here := "/chat/threads/" + thread
	message := r.must(r.request("POST", here+"/messages", bob, `{"content":"hi"}`), "id")
	unsaid := r.must(r.request("POST", here+"/messages", ann, `{"content":"hi"}`), "id")
	r.names[message], r.names[unsaid] = "MESSAGE", "UNSAID"
	r.must(r.request("DELETE", here+"/messages/"+unsaid, ann, ""))
	r.must(r.request("POST", here+"/participants/:remove", ann, fmt.Sprintf(`{"communicationUser":{"id":%q}}`, bobID)))
	r.must(r.request("POST", here+"/participants/:remove", cid, fmt.Sprintf(`{"communicationUser":{"id":%q}}`, cidID)))
	r.must(r.request("DELETE", "/chat/threads/"+deleted, ann, ""))
	r.must(r.sign(key, time.Now(), "DELETE", "/identities/"+goneID, ""))
	r.must(r.sign(key, time.Now(), "POST", "/identities/"+revokedID+"/:revokeAccessTokens", ""))
	foreign := start(t, server.Options{Config: settings(t, "dev", "true")})
	_, _, stranger := foreign.newUser(t, foreign.AccessKey)
	r.secrets = append(r.secrets, stranger)
	for range 10 {
		r.must(r.request("POST", "/chat/threads", fast, `{"topic":"many"}`))
	}

	get := func(path, bearer string) *http.Request { return r.request("GET", path, bearer, "") }
	with := func(q *http.Request, name, value string) *http.Request {
		q.Header.Add(name, value)
		return q
	}
	host := func(q *http.Request, host string) *http.Request { q.Host = host; return q }
	signedFor := func(host string) *http.Request {
		q := r.sign(key, time.Now(), "POST", "/identities", "{}")
		sent := q.Host
		q.Host, q.URL.Host = host, host
		if err := key.Sign(q, time.Now()); err != nil {
			t.Fatal(err)
		}
		q.URL.Host, q.Host = sent, sent
		return q
	}
	damaged := strings.Repeat("A", 8)
	chatVersions, _ := s.supported(t, get("/chat/threads", ann))
	cases := []struct {
		what   string
		q      *http.Request
		status int
		code   why.Code
		want   string // the expected sentence about the refusal; empty: only the code is compared
	}{
		{"no token", get(here, ""), 401, why.NoToken, "The request has no token: its Authorization header is missing, not `Bearer TOKEN`."},
		{"another scheme", with(get(here, ""), "Authorization", "Basic YTpi"), 401, why.NoToken, "The request has no token: its Authorization header is not `Bearer TOKEN`."},
		{"no JWT", get(here, "nothing"), 401, why.TokenMalformed, "What the request sends as a token is not one of this server: it is not a JWT of this server's form."},
		{"wrong signature of the token", get(here, ann[:len(ann)-8]+damaged), 401, why.TokenSignature, "The signature of the token is wrong: the token was changed, or made by another server."},
		{"expired", get(here, r.token(annID, token.Chat, -5*time.Minute)), 401, why.TokenExpired, "The token of ANN expired SPAN ago, at TIME."},
		{"revoked", get(here, revoked), 401, why.TokenRevoked, "The token of REVOKED was revoked: all tokens of the user from before were ended."},
		{"of another server", get(here, stranger), 401, why.TokenResource, ""},
		{"deleted user", get("/chat/threads", gone), 401, why.UserDeleted, "The user GONE was deleted."},
		{"scope", get(here, r.token(annID, token.VoIP, time.Hour)), 403, why.Scope, "The token of ANN has the scope voip, and get thread needs chat or chat.join or chat.join.limited."},
		{"two tokens", with(get(here, ann), "Authorization", "Bearer "+bob), 400, why.TwoCredentials, "The request has more than one Authorization header, and a proxy may have checked another one than this server reads."},
		{"not signed", r.request("POST", "/identities?api-version=2023-10-01", "", "{}"), 401, why.NotSigned, "The request is not signed: it has no Authorization header."},
		{"signed by half", with(r.request("POST", "/identities?api-version=2023-10-01", "", "{}"), "Authorization", "HMAC-SHA256 x"), 401, why.SignatureHeader, ""},
		{"clock off", r.sign(key, time.Now().Add(-16*time.Minute), "POST", "/identities", "{}"), 401, why.ClockOff, "The header x-ms-date is SPAN behind the clock of the server, and at most SPAN are allowed: it says TIME, and it is TIME."},
		{"wrong key", r.sign(other, time.Now(), "POST", "/identities", "{}"), 401, why.WrongKey, ""},
		{"another host signed", signedFor(strings.Replace(hostOf(t, s.Endpoint), "localhost", "127.0.0.1", 1)), 401, why.SignedHost, ""},
		{"another body", func() *http.Request {
			q := r.sign(key, time.Now(), "POST", "/identities", "{}")
			q.Body, q.ContentLength = io.NopCloser(strings.NewReader("{ }")), 3
			return q
		}(), 401, why.ContentHash, "The header x-ms-content-sha256, which the request signs, is not the hash of the body."},
		{"token of Microsoft", r.sign(key, time.Now(), "POST", "/teamsUser/:exchangeAccessToken", "{}"), 401, why.NoEntra, ""},
		{"unknown user", r.sign(key, time.Now(), "POST", "/identities/8:acs:x/:issueAccessToken", `{"scopes":["chat"]}`), 401, why.IdentityNotOwned,
			"The user 8:acs:x is not one of this server: it was deleted, never made here, or made by another resource."},
		{"never in", get(here, eve), 403, why.NeverParticipant, "EVE is not in this thread and never was."},
		{"removed", r.request("POST", here+"/messages", bob, `{"content":"x"}`), 403, why.Removed, "BOB is not in this thread: Ann removed it at TIME."},
		{"left", get(here, cid), 403, why.Left, "CID is not in this thread: it left at TIME."},
		{"unknown thread", get("/chat/threads/19:f00dfeedf00dfeed@thread.v2", ann), 404, why.UnknownThread, "There is no thread 19:f00d.. that ANN is or was in: it never existed here, or it was deleted."},
		{"deleted thread", get("/chat/threads/"+deleted, ann), 404, why.ThreadDeleted, "The thread DELETED was deleted."},
		{"unknown message", get(here+"/messages/1", ann), 404, why.UnknownMessage, "The thread has no message 1 that ANN may see: it does not exist, or is from before the history that was shared, or from after the user left."},
		{"deleted message", r.request("PATCH", here+"/messages/"+unsaid, ann, `{"content":"x"}`), 404, why.MessageDeleted, "The message UNSAID was deleted at TIME."},
		{"not the sender", r.request("PATCH", here+"/messages/"+message, ann, `{"content":"x"}`), 403, why.NotTheSender, "ANN did not send the message MESSAGE: BOB did, and only the sender may change it."},
		{"no content", r.request("POST", here+"/messages", ann, `{"content":""}`), 400, why.InvalidField, "The request's content is not valid: The content field is required."},
		{"field of another type", r.request("POST", here+"/messages", ann, `{"content":5}`), 400, why.InvalidField, ""},
		{"content too large", r.request("POST", here+"/messages", ann, `{"content":"`+strings.Repeat("a", 40_000)+`"}`), 400, why.TooLarge, ""},
		{"body too large", r.request("POST", here+"/messages", ann, strings.Repeat(" ", 1<<20+1)), 413, why.TooLarge, "The request body has 1048577 bytes, and at most 1048576 are allowed."},
		{"no HTML", r.request("POST", here+"/messages", ann, `{"content":"<script>x</script>","type":"html"}`), 400, why.NoHTML, ""},
		{"media type", func() *http.Request {
			q := r.request("POST", "/chat/threads", ann, `{"topic":"x"}`)
			q.Header.Set("Content-Type", "text/plain")
			return q
		}(), 415, why.MediaType, "The body cannot be read: The Content-Type must be application/json."},
		{"rate limit", r.request("POST", "/chat/threads", fast, `{"topic":"too many"}`), 429, why.RateLimit, "FAST is over the limit create thread: 10 per 10 s by a user: the next request is allowed in SPAN."},
		{"cursor", get(here+"/messages?syncState=x", ann), 400, why.BadCursor, "The syncState of the request is not one that this server made for this list and user."},
		{"page size", get(here+"/messages?maxPageSize=0", ann), 400, why.BadParameter, "The query parameter maxPageSize is not valid: Value for maxPageSize (0) is not valid. It must be from 1 to 200."},
		{"no version", get("/chat/threads?api-version=", ann), 400, why.NoVersion, "The request names no api-version."},
		{"two versions", get("/chat/threads?api-version=2021-09-07&api-version="+chatVersion, ann), 400, why.TwoVersions, "The request names several api-versions: 2021-09-07, " + chatVersion + "."},
		{"unknown version", get("/chat/threads?api-version=2019-01-01", ann), 400, why.BadVersion, ""},
		{"newer version", get("/chat/threads?api-version=2099-01-01", ann), 400, why.NewerVersion,
			"The api-version 2099-01-01 is newer than all that this server knows; the newest is " + chatVersions[len(chatVersions)-1] + "."},
		{"version without the path", get(here+"/participants?api-version=2020-09-21-preview2", ann), 400, why.NoSuchRoute, ""},
		{"method", r.request("PUT", here, ann, "{}"), 405, why.Method, ""},
		{"path", get("/chat/thread", ann), 404, why.UnknownPath, "The server has no path /chat/thread."},
		{"host", host(get(here, ann), "evil.test"), 403, why.UnknownHost, ""},
		{"origin", with(get(here, ann), "Origin", "https://evil.test"), 403, why.UnknownOrigin, ""},
		{"event stream without a token", get("/chat/events", ""), 401, why.NoToken, ""},
		{"event stream from nowhere", get("/chat/events?cursor=x", ann), 400, why.LiveCursor, ""},
		{"event stream of odd threads", get("/chat/events?threads=x", ann), 400, why.BadParameter, ""},
		{"live socket without a token", r.request("POST", "/v4/a", "", ""), 401, why.TokenMalformed, ""},
		{"handshake", get("/socket.io/1/?sig="+damaged, ""), 401, why.LiveParams, ""},
		{"WebSocket", get("/socket.io/1/websocket/"+damaged, ""), 400, why.NotWebSocket, ""},
	}
	if len(cases) < 30 {
		t.Fatalf("only %d refusals", len(cases))
	}
	ids := make([]string, len(cases))
	for i, c := range cases {
		var status int
		var answer string
		status, ids[i], answer = r.send(c.q)
		r.answers.WriteString(answer)
		if status != c.status || ids[i] == "" {
			t.Errorf("%s: %d %s, want %d", c.what, status, answer, c.status)
		}
		if reason := why.Of(why.Because(c.code)); strings.Contains(answer, reason.Mend) {
			t.Errorf("%s: the client is told: %s", c.what, answer)
		}
	}
	s.stop(t) // stopping the server waits for all handlers, so all lines are written
	lines := map[string]struct{ Code, Why, Request string }{}
	for text := range strings.Lines(out.String()) {
		var line struct{ Msg, Code, Why, Request string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Msg == "request" {
			lines[line.Request] = struct{ Code, Why, Request string }{line.Code, line.Why, line.Request}
		}
	}
	for i, c := range cases {
		kept, ok := s.Traffic().Get(ids[i])
		if !ok || kept.Why == nil {
			t.Errorf("%s: kept %+v", c.what, kept)
			continue
		}
		if got := r.plain(kept.Why.Sentence); kept.Why.Code != c.code || c.want != "" && got != c.want || strings.Contains(got, "(unknown)") {
			t.Errorf("%s: %s\ngot  %s\nwant %s", c.what, kept.Why.Code, got, c.want)
		}
		line := lines[ids[i]]
		if cut := strings.TrimSuffix(line.Why, "…"); line.Code != string(c.code) || cut == "" || !strings.HasPrefix(kept.Why.String(), cut) {
			t.Errorf("%s: the log has %+v, want %s", c.what, line, kept.Why)
		}
		if t.Failed() && testing.Verbose() {
			t.Logf("%s: %s", c.what, kept.Why)
		}
	}
	r.noSecrets(out.String())
}

// supported sends a request and returns the api-versions that the response names as supported, and
// the status.
func (r *running) supported(t *testing.T, q *http.Request) (versions []string, status int) {
	t.Helper()
	resp, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	versions = strings.Split(resp.Header.Get("Api-Supported-Versions"), ", ")
	slices.Sort(versions)
	return versions, resp.StatusCode
}

// noSecrets looks for secrets in the log, in all stored requests, and in the answers to refused
// requests.
func (r *refusals) noSecrets(log string) {
	r.t.Helper()
	var kept bytes.Buffer
	n := 0
	for before := uint64(0); ; {
		page, next := r.Traffic().Page(traffic.Filter{}, before, 50)
		for _, q := range page {
			d, _ := r.Traffic().Get(q.ID)
			if err := json.NewEncoder(&kept).Encode(d); err != nil {
				r.t.Fatal(err)
			}
			n++
		}
		if before = next; next == 0 {
			break
		}
	}
	if n < 60 {
		r.t.Errorf("only %d requests are kept", n)
	}
	for where, text := range map[string]string{"the log": log, "a kept request": kept.String(), "an answer": r.answers.String()} {
		for _, secret := range r.secrets {
			for _, form := range []string{secret, strings.ReplaceAll(secret, "/", `\/`)} {
				if len(secret) > 8 && strings.Contains(text, form) {
					i := strings.Index(text, form)
					r.t.Errorf("%s has a secret: %s", where, text[max(0, i-200):min(len(text), i+20)])
				}
			}
		}
	}
}

// TestLiveRequestsAreKept checks that the log of the newest requests has the requests of both
// protocols for live events, and does not have the ends of their connections.
func TestLiveRequestsAreKept(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, id, bearer := s.newUser(t, s.AccessKey)
	events := s.openStream(t, s.client, bearer, "")
	if _, err := events.next(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", s.Endpoint+"/v4/a?epid=secret-epid", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Skypetoken", bearer)
	if status, body := s.do(t, req); status != 200 {
		t.Fatalf("allocate: %d %s", status, body)
	}
	s.stop(t)
	page, _ := s.Traffic().Page(traffic.Filter{User: id}, 0, 9)
	var got []string
	for _, r := range page {
		got = append(got, fmt.Sprintf("%s %s %d", r.Operation, r.Path, r.Status))
	}
	if want := []string{"allocate live socket /v4/a 200", "open event stream /chat/events 200"}; !slices.Equal(got[:min(2, len(got))], want) || len(got) != 3 {
		t.Errorf("kept %q", got)
	}
}
