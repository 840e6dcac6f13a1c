package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/sdk/communication"
)

// routes returns the method, and the path below admin.Prefix, of a request for each operation.
func routes(user string) [][2]string {
	return [][2]string{
		{"GET", "keys"}, {"POST", "keys/primary/rotate"}, {"POST", "keys/both/rotate"},
		{"GET", "users/" + user}, {"GET", "users/" + user + "/threads"},
		{"GET", "threads/" + url.PathEscape(nowhere)}, {"GET", "threads/" + url.PathEscape(nowhere) + "/messages"},
		{"POST", "backup"}, {"GET", "nothing"},
	}
}

// TestNobodyElseIsAnswered sends requests for all operations to the TCP port of the operator's API:
// without the operator's secret, with a foreign Host, and as web pages of other origins do. It
// checks that all are refused, also requests with the access key or a user's token.
func TestNobodyElseIsAnswered(t *testing.T) {
	p := start(t)
	user, token := p.newUser()
	secret := p.info.AdminSecret
	if len(secret) < 20 {
		t.Fatalf("the secret has %d characters", len(secret))
	}
	before := p.want(200, "GET", "/admin/v1/keys", "", nil)
	for _, route := range routes(user) {
		for _, tt := range []struct {
			name   string
			key    communication.AccessKey
			header []string
			want   int
		}{
			{name: "nothing", want: 401},
			{name: "the access key", key: p.key, want: 401},
			{name: "the access key as a bearer", header: []string{"Authorization", "Bearer " + p.key.Text()}, want: 401},
			{name: "a user's token", header: []string{"Authorization", "Bearer " + token}, want: 401},
			{name: "another secret", header: []string{"Authorization", "Bearer " + secret + "x"}, want: 401},
			{name: "an empty secret", header: []string{"Authorization", "Bearer "}, want: 401},
			{name: "the secret twice", header: []string{"Authorization", "Bearer " + secret, "Authorization", "Bearer " + secret}, want: 400},
			{name: "another host", header: []string{"Authorization", "Bearer " + secret, "Host", "evil.example"}, want: 403},
			{name: "an address of another machine", header: []string{"Authorization", "Bearer " + secret, "Host", "192.0.2.1:8082"}, want: 403},
			{name: "a page of another origin", header: []string{"Authorization", "Bearer " + secret, "Origin", "https://evil.example"}, want: 403},
			{name: "a page without an origin", header: []string{"Authorization", "Bearer " + secret, "Origin", "null"}, want: 403},
			{name: "a page of another port", header: []string{"Authorization", "Bearer " + secret, "Sec-Fetch-Site", "same-site"}, want: 403},
			{name: "a page of another site", header: []string{"Authorization", "Bearer " + secret, "Sec-Fetch-Site", "cross-site"}, want: 403},
		} {
			status, text := p.send(p.client, p.info.Admin, tt.key, route[0], admin.Prefix+route[1], "", tt.header...)
			var refused admin.Problem
			if err := json.Unmarshal([]byte(text), &refused); err != nil || status != tt.want || refused.Status != tt.want || refused.Code == "" || refused.Detail == "" {
				t.Errorf("%s %s, %s: %d %s, want %d and an error", route[0], route[1], tt.name, status, text, tt.want)
			}
		}
	}
	if after := p.want(200, "GET", "/admin/v1/keys", "", nil); after != before {
		t.Errorf("the keys were %s and are %s", before, after)
	}
	for _, host := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2:8082", "[::1]:8082"} {
		if status, text := p.send(p.client, p.info.Admin, communication.AccessKey{}, "GET", "/admin/v1/keys", "", "Authorization", "Bearer "+secret, "Host", host); status != 200 {
			t.Errorf("with the secret and the host %s: %d %s", host, status, text)
		}
	}
	if strings.Contains(p.log.String(), secret) {
		t.Error("the secret is in the log")
	}
}

// TestOtherListenersHaveNoDoor sends the operator's requests to all other listeners of the server,
// with the current and the former paths. It checks that none accepts them.
func TestOtherListenersHaveNoDoor(t *testing.T) {
	p := start(t, "CONFAB_LISTEN_HTTP=localhost:0")
	user, _ := p.newUser()
	before := p.want(200, "GET", "/admin/v1/keys", "", nil)
	for _, base := range []string{p.info.Endpoint, p.info.HTTP, p.info.Ops} {
		for _, prefix := range []string{admin.Prefix, "/confab/"} {
			for _, route := range routes(user) {
				if status, text := p.send(p.client, base, p.key, route[0], prefix+route[1], ""); status != 404 {
					t.Errorf("%s %s%s%s: %d %s, want 404", route[0], base, prefix, route[1], status, text)
				}
			}
		}
	}
	if status, text := p.operate("GET", "/confab/keys", ""); status != 404 {
		t.Errorf("/confab/keys on the socket: %d %s, want 404", status, text)
	}
	if after := p.want(200, "GET", "/admin/v1/keys", "", nil); after != before {
		t.Errorf("the keys were %s and are %s", before, after)
	}
}

// TestARotationCannotBeRepeated checks that the primary key, together with a copy of a request that
// was signed with it, is not enough to learn the secondary key.
func TestARotationCannotBeRepeated(t *testing.T) {
	p := start(t)
	leaked := p.key
	var both admin.Rotation
	p.want(200, "POST", "/admin/v1/keys/both/rotate", "", &both)
	if len(both.Keys) != 2 || both.Failed != "" || both.Keys[0].Name != "primary" || both.Keys[1].Name != "secondary" ||
		both.Keys[0].Serial != 2 || both.Keys[1].Serial != 2 || both.Keys[0].AccessKey == both.Keys[1].AccessKey {
		t.Fatalf("rotated %d keys, failed %q", len(both.Keys), both.Failed)
	}
	for _, path := range []string{"/confab/keys/secondary/rotate", "/admin/v1/keys/secondary/rotate"} {
		for range 2 {
			if status, text := p.call(leaked, "POST", path, ""); status != 404 || strings.Contains(text, "accessKey") {
				t.Errorf("%s with the leaked key: %d, want 404", path, status)
			}
		}
	}
	if status, _ := p.call(leaked, "POST", "/identities?api-version=2023-10-01", "{}"); status != 401 {
		t.Errorf("the leaked key creates a user: %d, want 401", status)
	}
	for i, k := range both.Keys {
		key, err := communication.NewAccessKey(k.AccessKey)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := p.call(key, "POST", "/identities?api-version=2023-10-01", "{}"); status != 201 {
			t.Errorf("new key %d creates a user: %d %s, want 201", i, status, text)
		}
	}
}

// TestContentNeedsPermission requests the messages of a thread as the operator. It checks that a
// development server allows this by default, that a production server does not, and that the
// setting admin-reads-messages changes both.
func TestContentNeedsPermission(t *testing.T) {
	const text = "a text for its members"
	for _, tt := range []struct {
		name string
		env  []string
		want int
	}{
		{"production", nil, 403},
		{"production, allowed", []string{"CONFAB_ADMIN_READS_MESSAGES=true"}, 200},
		{"development", []string{"CONFAB_DEV=true"}, 200},
		{"development, not allowed", []string{"CONFAB_DEV=true", "CONFAB_ADMIN_READS_MESSAGES=false"}, 403},
	} {
		p := start(t, tt.env...)
		id, token := p.newUser()
		status, thread := p.newThread(token)
		if status != 201 {
			t.Fatalf("%s: create a thread: %d", tt.name, status)
		}
		if status, body := p.call(communication.AccessKey{}, "POST", "/chat/threads/"+url.PathEscape(thread)+"/messages?api-version=2021-09-07",
			fmt.Sprintf(`{"content":%q}`, text), "Authorization", "Bearer "+token); status != 201 {
			t.Fatalf("%s: send: %d %s", tt.name, status, body)
		}
		path := admin.Prefix + "threads/" + url.PathEscape(thread) + "/messages"
		status, body := p.operate("GET", path, "")
		if status != tt.want || strings.Contains(body, text) != (tt.want == 200) {
			t.Errorf("%s: %d %s, want %d", tt.name, status, body, tt.want)
		}
		if strings.Contains(p.log.String(), text) {
			t.Errorf("%s: the content is in the log", tt.name)
		}
		if tt.want != 200 {
			continue
		}
		var page admin.Messages
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Messages) == 0 || page.Messages[0].Content != text || page.Messages[0].Sender != id {
			t.Fatalf("%s: %v, %s", tt.name, err, body)
		}
		var older admin.Messages
		p.want(200, "GET", fmt.Sprintf("%s?next=%d", path, page.Messages[0].Sequence), "", &older)
		if diff := cmp.Diff(page.Messages[1:], older.Messages); diff != "" {
			t.Errorf("%s: the messages before the newest (-want +got):\n%s", tt.name, diff)
		}
		p.want(400, "GET", path+"?next=x", "", nil)
		p.want(404, "GET", admin.Prefix+"threads/"+url.PathEscape(nowhere)+"/messages", "", nil)
	}
}

// record has the fields of a log line about an operator's request that the tests compare.
type record struct {
	Msg, Who, From, Operation, Target, Outcome string
	Status                                     int
}

// records returns the log lines about operators' requests.
func (p *place) records() (all []record) {
	p.Helper()
	for line := range strings.Lines(p.log.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			p.Fatalf("%s: %v", line, err)
		}
		if r.Msg == "operator" {
			all = append(all, r)
		}
	}
	return all
}

// TestEachCallIsLogged checks that each request leaves one log record, whether it succeeds,
// fails or is refused.
func TestEachCallIsLogged(t *testing.T) {
	p := start(t)
	user, _ := p.newUser()
	me := fmt.Sprintf("uid %d, process %d", os.Geteuid(), os.Getpid())
	p.want(200, "GET", "/admin/v1/keys", "", nil)
	p.want(200, "POST", "/admin/v1/keys/secondary/rotate", "", nil)
	p.want(404, "POST", "/admin/v1/keys/third/rotate", "", nil)
	p.want(200, "GET", "/admin/v1/users/"+user, "", nil)
	p.want(404, "GET", "/admin/v1/nothing", "", nil)
	p.want(403, "GET", "/admin/v1/threads/"+url.PathEscape(nowhere)+"/messages", "", nil)
	p.want(413, "GET", "/admin/v1/keys", strings.Repeat(" ", 5000), nil)
	p.want(400, "GET", "/admin/v1/users/"+strings.Repeat("9", 5000), "", nil)
	p.want(409, "POST", "/admin/v1/backup", `{"to":"/backups/today","proof":"x"}`, nil)
	for _, header := range [][]string{{}, {"Authorization", "Bearer " + p.info.AdminSecret}, {"Host", "evil.example"}} {
		p.send(p.client, p.info.Admin, communication.AccessKey{}, "GET", "/admin/v1/keys", "", header...)
	}
	got := p.records()
	for i := range got {
		if got[i].Target != "" && len(got[i].Target) > 600 {
			t.Errorf("record %d has a target of %d bytes", i, len(got[i].Target))
		}
		if i == 7 {
			got[i].Target = got[i].Target[:3]
			got[i].Outcome = "an identifier"
		}
		if got[i].From != "socket" {
			if !strings.HasPrefix(got[i].From, "127.0.0.1:") && !strings.HasPrefix(got[i].From, "[::1]:") {
				t.Errorf("record %d is from %q", i, got[i].From)
			}
			got[i].From = "port"
		}
	}
	want := []record{
		{"operator", me, "socket", "listKeys", "", "done", 200},
		{"operator", me, "socket", "rotateKey", "secondary", "done", 200},
		{"operator", me, "socket", "rotateKey", "third", admin.ErrNoKey.Error(), 404},
		{"operator", me, "socket", "showUser", user, "done", 200},
		{"operator", me, "socket", "unknown", "GET /admin/v1/nothing", "there is nothing at this path", 404},
		{"operator", me, "socket", "listMessages", nowhere, "this server does not show the content of messages to its operator: start it with --admin-reads-messages to allow that", 403},
		{"operator", me, "socket", "listKeys", "", "the body is too long or cannot be read", 413},
		{"operator", me, "socket", "showUser", "999", "an identifier", 400},
		{"operator", me, "socket", "backup", "/backups/today", admin.ErrBackup.Error() + ": this server keeps its data in memory", 409},
		{"operator", "nobody", "port", "listKeys", "", "the request has no Authorization header with the operator's secret, which stands in the server.json of the data folder, the viewer's secret or a session; access keys and user tokens are not accepted", 401},
		{"operator", "secret", "port", "listKeys", "", "done", 200},
		{"operator", "nobody", "port", "listKeys", "", "the Host header does not name this machine: use localhost or a loopback address", 403},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestRecordsHaveIDs checks that the log record and the response have the same request id, and
// that the record also has the id that the client sent.
func TestRecordsHaveIDs(t *testing.T) {
	p := start(t)
	req, err := http.NewRequest("GET", "http://localhost/admin/v1/keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Ms-Client-Request-Id", "mine")
	resp, err := p.socket.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	id := resp.Header.Get("MS-CV")
	if other := resp.Header.Get("X-Ms-Request-Id"); other != id {
		t.Errorf("x-ms-request-id %q, want %q as in MS-CV", other, id)
	}
	if want := fmt.Sprintf(`"request":%q,"client_request":"mine"`, id); id == "" || !strings.Contains(p.log.String(), want) {
		t.Errorf("MS-CV %q, and the log says %s, want %s", resp.Header.Get("MS-CV"), p.log, want)
	}
}

// TestStrangersFillNoLog sends many requests without the secret to the TCP port, and a valid
// request to the socket after each one. It checks that all valid requests are logged, and only a
// limited number of the refused ones.
func TestStrangersFillNoLog(t *testing.T) {
	p := start(t)
	const each = 400
	began := time.Now()
	for i := range each {
		if status, text := p.send(p.client, p.info.Admin, communication.AccessKey{}, "GET", "/admin/v1/keys", ""); status != 401 {
			t.Fatalf("request %d: %d %s", i, status, text)
		}
		p.want(200, "GET", "/admin/v1/keys", "", nil)
	}
	took := time.Since(began)
	records := map[int]int{}
	for _, r := range p.records() {
		records[r.Status]++
	}
	if most := 100 * (int(took/time.Second) + 2); records[200] != each || records[401] == 0 || records[401] > most {
		t.Errorf("records by status %v; want %d of 200, and at most %d of 401 in %v", records, each, most, took)
	}
}

// TestSocketIsPrivate checks the permissions of the socket, and that the socket no longer exists
// after the server was closed.
func TestSocketIsPrivate(t *testing.T) {
	p := start(t, "CONFAB_DATA="+t.TempDir())
	st, err := os.Stat(p.info.AdminSocket)
	if err != nil || st.Mode().Perm() != 0o600 || st.Mode()&os.ModeSocket == 0 {
		t.Errorf("%s: %v, %v; want a socket with mode 0600", p.info.AdminSocket, st, err)
	}
	if status, _ := p.operate(http.MethodGet, "/admin/v1/keys", ""); status != 200 {
		t.Errorf("status %d", status)
	}
	p.client.CloseIdleConnections()
	p.socket.CloseIdleConnections()
	if err := p.server.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(p.info.AdminSocket); !os.IsNotExist(err) {
		t.Errorf("after the end of the server: %v", err)
	}
}
