package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/traffic"
	"github.com/confab-chat/confab/sdk/communication"
)

const viewerSecret = "a-viewer-secret-of-the-tests"

// matrix has the data and the counts of TestMatrix.
type matrix struct {
	*place
	spec    *spec
	rows    map[string]int // expected number of audit rows for each request id; -1: no row or one
	user    string
	token   string
	thread  string
	request string // id of a chat request that the server can send again
	refused int    // number of streams that the server refused because too many were open
}

// answer is the response to a request.
type answer struct {
	status int
	kind   string
	id     string // the request id in the response
	body   []byte
}

// ask sends a request to the operator's port. If the response is a stream, ask reads it up to
// the first event or comment.
func (m *matrix) ask(method, path, body string, key communication.AccessKey, header ...string) answer {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.info.Admin+"/admin/v1"+path, strings.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	if !key.IsZero() {
		if err := key.Sign(req, time.Now()); err != nil {
			m.Fatal(err)
		}
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := m.client.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, kind: res.Header.Get("Content-Type"), id: res.Header.Get("X-Ms-Request-Id")}
	if strings.HasPrefix(a.kind, "text/event-stream") {
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		if err != nil || line != ": open\n" {
			m.Errorf("%s %s: a stream begins with %q, %v", method, path, line, err)
		}
		return a
	}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		m.Fatal(err)
	}
	if a.status == 503 && bytes.Contains(a.body, []byte("too-many-streams")) && m.refused < 1000 { // the server has not noticed yet that the last streams were closed
		m.refused++
		return m.ask(method, path, body, key, header...)
	}
	return a
}

func bearer(secret string) []string { return []string{"Authorization", "Bearer " + secret} }

// session opens a session with a role and returns its token.
func (m *matrix) session(role string) string {
	m.Helper()
	var session admin.NewSession
	a := m.ask("POST", "/sessions", `{"code":"`+m.code(role)+`"}`, communication.AccessKey{})
	if err := json.Unmarshal(a.body, &session); err != nil || a.status != 201 || string(session.Role) != role {
		m.Fatalf("open a session: %d %s", a.status, a.body)
	}
	return session.Token
}

func (m *matrix) code(role string) string {
	m.Helper()
	var code admin.Code
	a := m.ask("POST", "/codes", `{"role":"`+role+`"}`, communication.AccessKey{}, bearer(m.info.AdminSecret)...)
	if err := json.Unmarshal(a.body, &code); err != nil || a.status != 201 {
		m.Fatalf("make a code: %d %s", a.status, a.body)
	}
	return code.Code
}

// body returns a valid body for a request of an operation, or "" if the operation takes no body.
// Each body for openSession has a new code, because a request uses up its code.
func (m *matrix) body(id string) string {
	switch id {
	case "openSession":
		return `{"code":"` + m.code("viewer") + `"}`
	case "makeCode":
		return `{"role":"viewer"}`
	case "issueToken":
		return `{"scopes":["chat"],"hours":2}`
	case "backup":
		return `{"to":"/nowhere","proof":"x"}`
	case "advanceClock":
		return `{"advance":1.5}`
	case "addFault":
		return `{"operation":"get thread","status":503,"retryAfter":1,"times":2}`
	}
	return ""
}

// path returns a valid path of an operation.
func (m *matrix) path(id, path string) string {
	user := m.user
	if id == "deleteUser" {
		user, _ = m.newUser()
	}
	switch {
	case strings.HasPrefix(path, "/users/{id}"):
		path = strings.Replace(path, "{id}", url.PathEscape(user), 1)
	case strings.HasPrefix(path, "/threads/{id}"):
		path = strings.Replace(path, "{id}", url.PathEscape(m.thread), 1)
	case strings.HasPrefix(path, "/requests/{id}"):
		// The id is escaped, because an id may contain a slash.
		path = strings.Replace(path, "{id}", url.PathEscape(m.request), 1)
	}
	path = strings.Replace(path, "{user}", url.PathEscape(user), 1)
	path = strings.Replace(path, "{name}", "secondary", 1)
	if id == "search" {
		path += "?q=" + url.QueryEscape(user)
	}
	return path
}

// TestMatrix sends requests for every operation of the API as each kind of caller, and with bad
// input. It checks all responses against the OpenAPI file, and counts the audit rows.
func TestMatrix(t *testing.T) {
	p := start(t, "CONFAB_DEV=true", "CONFAB_VIEWER_SECRET="+viewerSecret, "CONFAB_LIMITS=off")
	m := &matrix{place: p, spec: loadSpec(t), rows: map[string]int{}}
	m.user, m.token = p.newUser()
	_, m.thread = p.newThread(m.token)
	p.asUser(201, m.token, "POST", "/chat/threads/"+url.PathEscape(m.thread)+"/messages", `{"content":"a text","type":"text"}`, nil)
	m.request = m.kept()
	ended := m.session("operator")
	if a := m.ask("DELETE", "/session", "", communication.AccessKey{}, bearer(ended)...); a.status != 204 {
		t.Fatalf("end a session: %d", a.status)
	}
	viewer := m.session("viewer")
	paths := m.spec.doc["paths"].(map[string]any)
	var all []string
	for path, methods := range paths {
		for method := range methods.(map[string]any) {
			if method != "parameters" {
				all = append(all, path+" "+method)
			}
		}
	}
	slices.Sort(all)
	if len(all) < 38 {
		t.Fatalf("the file has %d operations", len(all))
	}
	for _, one := range all {
		path, method, _ := strings.Cut(one, " ")
		op := paths[path].(map[string]any)[method].(map[string]any)
		m.operation(strings.ToUpper(method), path, op, ended, viewer)
	}
	m.countRows()
}

// kept makes a chat request and returns its id. The server keeps the request and can send it again.
func (m *matrix) kept() string {
	m.Helper()
	m.waitKept("send message")
	var page admin.Requests
	m.want(200, "GET", "/admin/v1/requests?operation="+url.QueryEscape("send message"), "", &page)
	if len(page.Requests) == 0 {
		m.Fatal("the server keeps no request")
	}
	return page.Requests[0].ID
}

// waitKept waits until the server keeps a request of each operation. The server keeps a request
// shortly after the client has received the response.
func (p *place) waitKept(operations ...string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	for _, operation := range operations {
		sub, err := p.server.Traffic().Subscribe(traffic.Filter{Operation: operation}, 1)
		if err != nil {
			p.Fatal(err)
		}
		if _, _, err := sub.Next(ctx); err != nil {
			p.Fatalf("wait for a request of %s: %v", operation, err)
		}
		sub.Close()
	}
}

// operation sends the requests for one operation of the API.
func (m *matrix) operation(method, path string, op map[string]any, ended, viewer string) {
	m.Helper()
	id, role := op["operationId"].(string), op["x-role"].(string)
	changes, _ := op["x-changes"].(bool)
	messages := op["x-needs"] == "messages"
	status := 0
	for s := range op["responses"].(map[string]any) {
		fmt.Sscan(s, &status)
	}
	if id == "backup" {
		status = 409 // a server with its store in memory refuses to write a backup
	}
	none := communication.AccessKey{}
	secret := bearer(m.info.AdminSecret)
	check := func(name string, a answer, want int, code string) {
		m.Helper()
		if a.status != want {
			m.Errorf("%s, %s: %d %s, want %d", id, name, a.status, a.body, want)
			return
		}
		if err := m.spec.check(method, path, a.status, a.kind, a.body); err != nil {
			m.Errorf("%s, %s: %v", id, name, err)
		}
		var problem admin.Problem
		if code != "" && (json.Unmarshal(a.body, &problem) != nil || problem.Code != code || problem.Instance != a.id) {
			m.Errorf("%s, %s: %s, want the code %s", id, name, a.body, code)
		}
		refused := a.status == 401 || a.status == 403 || code == "two-credentials" || a.status >= 400 && (changes || messages)
		switch {
		case refused:
			m.rows[a.id] = -1
		case changes || messages, a.status == 200 && (id == "showRequest" || id == "showRequestCode"): // the request has a body
			m.rows[a.id] = 1
		default:
			m.rows[a.id] = 0
		}
	}
	type caller struct {
		name   string
		key    communication.AccessKey
		header []string
		want   int
		code   string
	}
	callers := []caller{
		{"foreign Origin", none, append(slices.Clone(secret), "Origin", "https://evil.example"), 403, "foreign-origin"},
		{"foreign site", none, append(slices.Clone(secret), "Sec-Fetch-Site", "cross-site"), 403, "foreign-origin"},
		{"foreign Host", none, append(slices.Clone(secret), "Host", "evil.example"), 403, "foreign-host"},
		{"two credentials", none, append(slices.Clone(secret), secret...), 400, "two-credentials"},
	}
	if role != "nobody" {
		callers = append(callers,
			caller{"nothing", none, nil, 401, "no-credential"},
			caller{"access key", m.key, nil, 401, "no-credential"},
			caller{"access key as bearer", none, bearer(m.key.Text()), 401, "no-credential"},
			caller{"user token", none, bearer(m.token), 401, "no-credential"},
			caller{"ended session", none, bearer(ended), 401, "session-ended"})
	}
	if role == "operator" {
		callers = append(callers, caller{"viewer", none, bearer(viewerSecret), 403, "role"}, caller{"viewer's session", none, bearer(viewer), 403, "role"})
	}
	for _, c := range callers {
		check(c.name, m.ask(method, m.path("", path), m.body(id), c.key, c.header...), c.want, c.code)
	}
	bad := m.path("", path)
	separator := "?"
	if strings.Contains(bad, "?") {
		separator = "&"
	}
	check("unknown parameter", m.ask(method, bad+separator+"bogus=1", m.body(id), none, secret...), 400, "bad-parameter")
	if op["requestBody"] != nil {
		check("bad body", m.ask(method, m.path("", path), `{"bogus":1}`, none, secret...), 400, "bad-body")
		check("no JSON", m.ask(method, m.path("", path), `[`, none, secret...), 400, "bad-body")
	} else if id != "rotateKey" && id != "revokeTokens" && id != "repeatRequest" {
		check("a body", m.ask(method, m.path("", path), `{"a":1}`, none, secret...), 400, "bad-body")
	}
	check("long body", m.ask(method, m.path("", path), strings.Repeat(" ", 5000), none, secret...), 413, "too-large")
	m.badIDs(method, path, m.body(id), check)
	for _, c := range []caller{
		{name: "operator", header: secret, want: status},
		{name: "viewer", header: bearer(viewerSecret), want: status},
		{name: "viewer's session", header: bearer(viewer), want: status},
	} {
		if role != "operator" || c.name == "operator" {
			if id == "endSession" {
				// Only the operator's own session may be ended here, because other requests need
				// the shared session.
				if c.name != "operator" {
					continue
				}
				c.header = bearer(m.session("viewer"))
			}
			code := ""
			if status == 409 {
				code = "no-backup"
			}
			check(c.name, m.ask(method, m.path(id, path), m.body(id), none, c.header...), c.want, code)
		}
	}
}

// badIDs sends requests with unknown and malformed ids.
func (m *matrix) badIDs(method, path, body string, check func(string, answer, int, string)) {
	m.Helper()
	secret := bearer(m.info.AdminSecret)
	for _, of := range []struct {
		prefix, unknown, code string
		malformed             bool
	}{
		{"/users/{id}", nobody, "unknown-user", true},
		{"/threads/{id}", nowhere, "unknown-thread", true},
		{"/requests/{id}", "no-such-request", "unknown-request", false},
		{"/keys/{name}", "third", "unknown-key", false},
	} {
		if !strings.HasPrefix(path, of.prefix) {
			continue
		}
		name := of.prefix[strings.Index(of.prefix, "{"):]
		at := strings.ReplaceAll(strings.Replace(path, name, url.PathEscape(of.unknown), 1), "{user}", url.PathEscape(m.user))
		check("unknown id", m.ask(method, at, body, communication.AccessKey{}, secret...), 404, of.code)
		if of.malformed {
			at = strings.ReplaceAll(strings.Replace(path, name, "x", 1), "{user}", url.PathEscape(m.user))
			check("malformed id", m.ask(method, at, body, communication.AccessKey{}, secret...), 400, "bad-id")
		}
	}
}

// countRows reads the whole audit log and checks that each request has the expected number of rows.
func (m *matrix) countRows() {
	m.Helper()
	got, n := map[string]int{}, 0
	for next := ""; ; {
		a := m.ask("GET", "/audit?limit=500"+next, "", communication.AccessKey{}, bearer(m.info.AdminSecret)...)
		var page admin.AuditRows
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != 200 {
			m.Fatalf("read the audit log: %d %s", a.status, a.body)
		}
		for _, row := range page.Rows {
			got[row.RequestID]++
			n++
		}
		if page.Next == "" {
			break
		}
		next = "&next=" + url.QueryEscape(page.Next)
	}
	for id, want := range m.rows {
		if have := got[id]; have != want && (want != -1 || have > 1) {
			m.Errorf("request %s has %d audit rows, want %d", id, have, want)
		}
	}
	if n < 100 {
		m.Errorf("the audit log has %d rows", n)
	}
	for _, secret := range []string{m.info.AdminSecret, viewerSecret, m.token, m.key.Text()} {
		if strings.Contains(m.log.String(), secret) {
			m.Error("a secret is in the log")
		}
	}
}

// TestRefusedAttemptsAreAudited sends some requests that the server must refuse. It checks that
// each leaves one audit row.
func TestRefusedAttemptsAreAudited(t *testing.T) {
	p := start(t, "CONFAB_VIEWER_SECRET="+viewerSecret)
	m := &matrix{place: p}
	for _, tt := range []struct {
		header    []string
		operation string
		outcome   string
		kind      string
	}{
		{nil, "createUser", "no-credential", "nobody"},
		{bearer(viewerSecret), "createUser", "role", "viewer-secret"},
		{append(bearer(viewerSecret), "Host", "evil.example"), "createUser", "foreign-host", "nobody"},
	} {
		a := m.ask("POST", "/users", "", communication.AccessKey{}, tt.header...)
		var page admin.AuditRows
		p.want(200, "GET", "/admin/v1/audit?operation="+tt.operation+"&outcome="+tt.outcome, "", &page)
		if len(page.Rows) != 1 || page.Rows[0].RequestID != a.id || page.Rows[0].Kind != tt.kind || int(page.Rows[0].Status) != a.status || page.Rows[0].From == "" {
			t.Errorf("%s: %+v", tt.outcome, page.Rows)
		}
	}
	if a := m.ask("GET", "/threads/"+url.PathEscape(nowhere)+"/messages", "", communication.AccessKey{}, bearer(viewerSecret)...); a.status != 403 {
		t.Errorf("messages that are not shown: %d", a.status)
	}
	var page admin.AuditRows
	p.want(200, "GET", "/admin/v1/audit?outcome=messages-not-shown&who="+url.QueryEscape("viewer secret"), "", &page)
	if len(page.Rows) != 1 || page.Rows[0].Target != nowhere {
		t.Errorf("messages that are not shown: %+v", page.Rows)
	}
	if bytes.Contains([]byte(p.log.String()), []byte(viewerSecret)) {
		t.Error("the viewer's secret is in the log")
	}
}
