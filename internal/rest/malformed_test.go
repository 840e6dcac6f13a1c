package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestMalformed sends at least a hundred malformed requests to every operation of every OpenAPI
// file. It makes them from a valid request: each body field gets values that are of the wrong
// type, broken, huge or nested too deep, and each parameter gets invalid values. It checks that
// each malformed request gets a 4xx with an error body and writes nothing, and that the valid
// request succeeds.
func TestMalformed(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.MaxBody = testMaxBody })
	alice, bearer := f.user(t, token.Chat)
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		for _, template := range slices.Sorted(maps.Keys(s.Paths)) {
			for method, operation := range s.Paths[template] {
				m := &malformer{fixture: f, api: fam, version: v, swagger: s, definitions: objects(t, s), method: strings.ToUpper(method), template: template, bearer: bearer}
				m.bob, _ = f.user(t, token.Chat)
				m.thread, m.message = f.thread(t, alice)
				if threadMembers.Has(v) && template == "/chat/threads" {
					m.bob = alice // at this version, the creator of the thread has to be among the members
				}
				if strings.Contains(template, "emove") || strings.Contains(template, ":update") || strings.Contains(template, "{chatParticipantId}") || strings.Contains(template, "{chatMemberId}") {
					bob := core.NewParticipant{User: communication.NewUser(m.bob)}
					if _, err := f.core.AddParticipants(t.Context(), alice, m.thread, []core.NewParticipant{bob}); err != nil {
						t.Fatal(err)
					}
				}
				t.Run(m.method+" "+strings.ReplaceAll(template, "/", "|"), func(t *testing.T) { m.run(t, operation.Parameters) })
			}
		}
	})
}

// malformer generates the malformed requests of one operation.
type malformer struct {
	*fixture
	api              *api
	version          apiver.Version
	swagger          swagger
	definitions      map[string]schema
	method, template string
	bearer, bob      string
	thread           string
	message          int64
}

// variant is a copy of a valid request with one mistake.
type variant struct {
	name     string
	template string // path of the request with the names of its parameters in braces
	query    string
	body     string
	headers  map[string]string
	oldForm  bool // whether the error body must have the format of the request's api-version
}

func (m *malformer) run(t *testing.T, parameters []parameter) {
	good := variant{template: m.template, query: "api-version=" + string(m.version), oldForm: true}
	var all []variant
	unread := func(parameter) bool { return false }
	if strings.Contains(m.template, "/images") { // test only the thread id of requests for images, because the server refuses all these requests with a 501 without reading other parameters
		unread = func(p parameter) bool { return p.Name != "chatThreadId" }
	}
	if strings.Contains(m.template, "/assignments") {
		unread = func(parameter) bool { return true }
	}
	parameters = slices.DeleteFunc(slices.Clone(parameters), unread)
	for _, p := range parameters {
		if p.In == "body" {
			base := m.valid(p.Schema)
			good.body = text(base)
			m.bodies(p.Schema, base, func(what, body string) {
				v := good
				v.name, v.body = what, body
				all = append(all, v)
			})
		}
	}
	for i := range all {
		all[i].query = good.query
	}
	for _, p := range parameters {
		m.parameters(good, p, func(v variant) { all = append(all, v) })
	}
	m.versions(good, func(v variant) { all = append(all, v) })
	if len(all) < 100 { // accept fewer variants only for an operation that has no body and no parameters
		m.misspelled(good, func(v variant) { all = append(all, v) })
	}
	if len(all) < 100 {
		t.Errorf("only %d variants", len(all))
	}
	before := m.written()
	for _, v := range all {
		w := m.do(t, v)
		if problem := m.judge(w, v); problem != "" {
			t.Errorf("%s: %s\n%s %s?%s\n%.300q\n%d %s", v.name, problem, m.method, v.template, v.query, v.body, w.Code, w.Body)
		}
		if after := m.written(); after != before {
			t.Errorf("%s: %d bytes were written\n%.300q", v.name, after-before, v.body)
			before = after
		}
	}
	if w := m.do(t, good); w.Code >= 300 && w.Code != http.StatusNotImplemented && !strings.HasSuffix(m.template, "/:exchangeAccessToken") {
		t.Errorf("the valid request got %d %s\n%s", w.Code, w.Body, good.body)
	}
}

func (m *malformer) do(t *testing.T, v variant) *httptest.ResponseRecorder {
	target := strings.NewReplacer("{chatThreadId}", m.thread, "{chatMessageId}", strconv.FormatInt(m.message, 10),
		"{chatParticipantId}", m.bob, "{chatMemberId}", m.bob, "{id}", m.bob, "{imageId}", "image", "{imageViewType}", "small").Replace(v.template) + "?" + v.query
	req := httptest.NewRequest(m.method, "/", strings.NewReader(v.body))
	req.RequestURI = target
	path, query, _ := strings.Cut(target, "?")
	req.URL.RawPath, req.URL.RawQuery = path, query
	req.URL.Path, _ = url.PathUnescape(path)
	if m.api == identity {
		signed, err := http.NewRequest(m.method, "https://example.com/", strings.NewReader(v.body))
		if err != nil {
			t.Fatal(err)
		}
		signed.URL.Path, signed.URL.RawPath, signed.URL.RawQuery = req.URL.Path, req.URL.RawPath, query
		m.sign(t, signed, 0)
		req.RequestURI, req.Header = signed.URL.RequestURI(), signed.Header
	} else {
		req.Header.Set("Authorization", "Bearer "+m.bearer)
	}
	for name, value := range v.headers {
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, req)
	return w
}

// errorKeys maps api-versions to the key of their error bodies, if that key is not
// CommunicationError (docs/contract/chat.md §7.1).
var errorKeys = map[apiver.Version]string{
	"2020-11-01-preview3": "Error",
	"2021-01-27-preview4": "Error",
	"2021-03-01-preview5": "ChatError",
}

// judge returns "" if the response to a malformed request is as TestMalformed demands, and
// otherwise a text that says what is wrong with the response.
func (m *malformer) judge(w *httptest.ResponseRecorder, v variant) string {
	if w.Code < 400 || w.Code > 499 {
		return "not refused"
	}
	if m.api == chat && v.oldForm && threadMembers.Has(m.version) {
		return judgeFlat(w)
	}
	var body map[string]struct {
		Code, Message string
		Details       []any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		return err.Error()
	}
	forms := []string{"error"}
	if m.api == chat {
		forms = append(forms, "CommunicationError")
		if key := errorKeys[m.version]; key != "" && v.oldForm {
			forms[1] = key
		}
	}
	for _, form := range forms {
		if code := body[form].Code; code == "" || code != w.Header().Get("x-ms-error-code") {
			return "no code in " + form
		}
	}
	if len(body) != len(forms) || w.Header().Get("Content-Type") != "application/json" {
		return "another envelope"
	}
	return ""
}

// judgeFlat does the same as judge for the error bodies of 2020-09-21-preview2, which have no key
// around their members.
func judgeFlat(w *httptest.ResponseRecorder) string {
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		return err.Error()
	}
	for _, name := range []string{"Code", "code"} {
		if code := body[name]; code == "" || code != w.Header().Get("x-ms-error-code") {
			return "no code in " + name
		}
		delete(body, name)
	}
	if _, ok := body["InnerErrors"]; ok != (w.Code == http.StatusBadRequest) {
		return "InnerErrors is for a 400 alone"
	}
	for _, name := range []string{"InnerErrors", "Message", "message", "target"} {
		delete(body, name)
	}
	if len(body) > 0 || w.Header().Get("Content-Type") != "application/json" {
		return "another envelope"
	}
	return ""
}

// raw is a text that is put into a JSON body unchanged. It may be invalid JSON.
type raw string

// text returns the JSON of a tree of maps, lists, strings and raw texts.
func text(v any) string {
	var parts []string
	switch v := v.(type) {
	case raw:
		return string(v)
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, strconv.Quote(name)+":"+text(v[name]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		for _, e := range v {
			parts = append(parts, text(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return strconv.Quote(v.(string))
}

// resolve returns the definition to which a schema's $ref points, or s if it has no
// $ref. It returns the zero schema for an unknown name.
func (m *malformer) resolve(s schema) schema {
	if s.Ref == "" {
		return s
	}
	name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	if def, ok := m.definitions[name]; ok {
		return def
	}
	return m.swagger.Definitions[name]
}

// valid returns a valid value of a schema. For a communication identifier, it returns a
// user.
func (m *malformer) valid(s schema) any {
	s = m.resolve(s)
	switch {
	case s.AdditionalProperties != nil:
		return map[string]any{"key": "value"}
	case s.Type == "array":
		return []any{m.valid(*s.Items)}
	case len(s.Properties) > 0:
		v := map[string]any{}
		for name, p := range s.Properties {
			switch {
			case s.Properties["communicationUser"].Ref != "" && name != "communicationUser":
			case fields[name] != "":
				v[name] = raw(m.fill(fields[name]))
			default:
				v[name] = m.valid(p)
			}
		}
		if s.Properties["kind"].Type == "string" { // a retention policy
			v["kind"], v["deleteThreadAfterDays"] = "threadCreationDate", raw("60")
		}
		return v
	case s.Type == "integer":
		return raw("60")
	case s.Type == "boolean":
		return raw("true")
	case s.Format == "date-time":
		return "2021-09-07T21:44:01Z"
	}
	return "text"
}

// fields holds a valid value for each body field whose valid values cannot be derived from its
// schema in the OpenAPI file.
var fields = map[string]string{
	"id": `"{bob}"`, "chatMessageId": `"{message}"`, "type": `"text"`, "priority": `"High"`,
	"scopes": `["chat"]`, "createTokenWithScopes": `["chat"]`,
	"attachments":      `[]`,
	"shareHistoryTime": `"1970-01-01T00:00:00Z"`, // use an early time, so that the other participants may read the thread's messages
}

func (m *malformer) fill(s string) string {
	return strings.NewReplacer("{bob}", m.bob, "{message}", strconv.FormatInt(m.message, 10)).Replace(s)
}

// bodies calls emit with malformed bodies made from the valid body base. The argument s is the
// schema of the body, and what describes the mistake in words.
func (m *malformer) bodies(s schema, base any, emit func(what, body string)) {
	m.wrong("", s, base, func(path string, v any) { emit("body"+path, text(v)) })
	good := text(base)
	// Start at 1, because an empty body is valid for operations whose body is optional.
	for i := 1; i < len(good); i += max(1, len(good)/25) {
		emit(fmt.Sprintf("body cut at %d", i), good[:i])
	}
	for _, body := range []string{
		good + "}", good + good, good + ",", good + "null", `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"x":` + strings.Repeat(`{"x":`, 100) + "1" + strings.Repeat("}", 101), `{"` + "\xff" + `":1}`, `{"\ud800":1}`, `{"a\u0000":1}`,
		`{"x":"` + strings.Repeat("a", testMaxBody) + `"}`, strings.Repeat(" ", testMaxBody) + good, "\ufeff\ufeff" + good, " \ufeff" + good,
		`{x:1}`, `{"x":1,}`, `{,}`, `{"x"}`, `{"x":}`, `{"x":01}`, `{"x":.5}`, `{"x":+1}`, `{"x":0x1}`, `{"x":NaN}`, `{"x":'a'}`, "// no\n" + good, "a=b",
	} {
		emit("whole body", body)
	}
}

// wrong calls emit with values that the schema s does not allow for the field at the given path.
// The argument base is a valid value of the field.
func (m *malformer) wrong(path string, s schema, base any, emit func(path string, v any)) {
	name := s.Ref
	s = m.resolve(s)
	bad := func(values ...string) {
		for _, v := range values {
			emit(path, raw(v))
		}
	}
	bad(strings.Repeat("[", 100)+strings.Repeat("]", 100), `undefined`, `nul`, `'x'`, `01`, `"a`, `{"a":`, `[1,`)
	switch {
	case s.AdditionalProperties != nil:
		bad(`[]`, `"x"`, `5`, `true`, `["a","b"]`)
		m.wrong(path+".key", *s.AdditionalProperties, "value", func(p string, v any) { emit(p, map[string]any{"key": v}) })
	case s.Type == "array":
		bad(`{}`, `"x"`, `5`, `false`, `[null]`, `[[]]`)
		m.wrong(path+"[0]", *s.Items, m.element(base, *s.Items), func(p string, v any) { emit(p, []any{v}) })
	case len(s.Properties) > 0:
		bad(`[]`, `"x"`, `5`, `true`, `[{}]`)
		m.members(path, s, base.(map[string]any), emit)
	case s.Type == "integer":
		bad(`"60"`, `60.5`, `6e1`, `1e999`, `99999999999`, `-5`, `0`, `true`, `[]`, `{}`, `[60]`)
	case s.Type == "boolean":
		bad(`"true"`, `0`, `1`, `[]`, `{}`)
	default:
		bad(`5`, `-1.5`, `1e3`, `true`, `false`, `[]`, `{}`, `["x"]`, `{"a":"b"}`,
			`"\ud800"`, `"\udc00x"`, `"a\u0000"`, `"\x"`, `"\u12"`, "\"a\xff\"", "\"a\nb\"", "\"\x00\"", `"`+strings.Repeat("x", testMaxBody)+`"`)
		if s.Format == "date-time" {
			bad(`""`, `"noon"`, `"2021-02-30T00:00:00Z"`, `"2021-09-07"`, `"2021-09-07T21:44:01"`, `"2021-09-07 21:44:01z"`, `"10000-01-01T00:00:00Z"`, `"1631051041"`)
		}
		if s.Enum != nil && !strings.HasSuffix(name, "/CommunicationIdentifierModelKind") { // skip the kind of an identifier: the server ignores a wrong kind and reads the other members
			bad(`"participantAdded"`, `"TEXT"`, `" "`)
		}
	}
}

// members calls emit with copies of the object base in which one member has a wrong value, is null
// or is missing.
func (m *malformer) members(path string, s schema, base map[string]any, emit func(path string, v any)) {
	with := func(name string, v any) map[string]any {
		o := maps.Clone(base)
		o[name] = v
		return o
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p, child := s.Properties[name], base[name]
		if r, ok := child.(raw); child == nil || ok && r[0] == '[' {
			child = m.valid(p)
		}
		m.wrong(path+"."+name, p, child, func(at string, v any) { emit(at, with(name, v)) })
		if slices.Contains(s.Required, name) && path+name != "participants" { // skip participants: the server accepts a request without them, because SDKs of the previews leave them out
			emit(path+"."+name+" null", with(name, raw("null")))
			absent := maps.Clone(base)
			delete(absent, name)
			emit(path+"."+name+" absent", absent)
		}
	}
}

// element returns the first element of the list base, or a valid element if base is
// empty.
func (m *malformer) element(base any, s schema) any {
	if list, ok := base.([]any); ok && len(list) > 0 {
		return list[0]
	}
	return m.valid(s)
}

// badIDs holds texts that are not valid as the id of a thread, a message or a user.
var badIDs = []string{
	"abc", "%20", "%00", "%ff%fe", "a%2Fb", "..%2F..", "%2e%2e", "'", "%22", "%5c", "%3Cscript%3E", "%E2%80%AE", "%F0%9F%98%80", "0x10", "1.5", "1e3", "-1", "%2B1", "00", "0",
	"99999999999999999999999", "NaN", "null", "undefined", "19:", "19%3A", "@thread.v2", "19:@thread.v2", "19:a@thread.v1", "19:a@thread", "20:a@thread.v2",
	"19:a%00@thread.v2", "19:a%2Fb@thread.v2", "19:a%20b@thread.v2", "19:a%40b@thread.v2", "19:%C3%A4@thread.v2", "19:%ff@thread.v2", "19:a@thread.v2%0a", "%2019:a@thread.v2",
	"8:acs", "8:acs:", "8:acs:x", "8:acs:invalidUserId", "8:ACS:a_b", "8:acs:" + resourceID, "8:acs:" + resourceID + "_",
	strings.Repeat("a", 2000), "19:" + strings.Repeat("a", 300) + "@thread.v2",
}

// badQueries holds invalid values of query parameters.
var badQueries = map[string][]string{
	"maxPageSize": {"", "0", "-1", "x", "1.5", "1e1", "0x10", "+-1", "%20", "1%202", "%00", "%ff", "10000000000000000000000", "null", "[]", "1,2", "%E2%91%A0"},
	"skip":        {"", "-1", "x", "1.5", "1e1", "0x10", "--1", "%20", "1%202", "%00", "%ff", "10000000000000000000000", "null", "[]"},
	"startTime": {"", "x", "noon", "5", "1631051041", "2021-09-07", "2021-02-30T00:00:00Z", "2021-09-07T25:00:00Z", "2021-09-07T00:00:00", "2021-09-07%2000:00:00z", "10000-01-01T00:00:00Z",
		"9999-12-31T23:59:59-12:00", "%00", "%ff", "null", "1/1/10000%2012:00:00%20AM%20%2B00:00", "1/32/1970%2012:00:00%20AM%20%2B00:00"},
	"syncState": {"", "x", "zz", "00", "0000000000000000", strings.Repeat("00", 24), strings.Repeat("ff", 24), strings.Repeat("00", 60), "%00", "%ff", "null", strings.Repeat("ab", 3000)},
}

// parameters calls emit with copies of the valid request in which the parameter p is
// invalid.
func (m *malformer) parameters(good variant, p parameter, emit func(variant)) {
	switch {
	case p.In == "path" && p.Name != "endpoint":
		for _, id := range badIDs {
			v := good
			v.name, v.template = p.Name+" "+id, strings.Replace(good.template, "{"+p.Name+"}", id, 1)
			emit(v)
		}
	case p.In == "query" && p.Name != "api-version":
		names := []string{p.Name}
		if p.Name == "startTime" { // send bad syncStates too, but only to lists, which are the operations with a startTime
			names = append(names, "syncState")
		}
		for _, name := range names {
			for _, value := range badQueries[name] {
				v := good
				v.name, v.query = name+" "+value, good.query+"&"+name+"="+value
				emit(v)
			}
		}
	case p.In == "header":
		for _, value := range []string{strings.Repeat("x", 257), "a\x01b", "\x7f", "\xff\xfe"} {
			v := good
			v.name, v.headers = p.Name, map[string]string{p.Name: value}
			emit(v)
		}
	case p.In == "body":
		for _, kind := range []string{"text/plain", "text/html", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "application/octet-stream",
			"application", ";", "application/json; charset=utf-16", "application/json; charset=latin1", "*/*", "application/jsonp"} {
			v := good
			v.name, v.headers = "Content-Type "+kind, map[string]string{"Content-Type": kind}
			emit(v)
		}
	}
}

// misspelled calls emit with copies of the valid request whose api-version has one character too
// many, one too few or a wrong one.
func (m *malformer) misspelled(good variant, emit func(variant)) {
	right := string(m.version)
	for i := range right {
		for _, name := range []string{right[:i] + right[i+1:], right[:i] + "x" + right[i+1:], right[:i] + "0" + right[i:], right[:i], right[i+1:]} {
			if _, ok := m.api.versions.Parse(name); ok {
				continue
			}
			v := good
			v.name, v.query, v.oldForm = "version "+name, "api-version="+name, false
			emit(v)
		}
	}
}

// versions calls emit with copies of the valid request that have a wrong api-version or
// a malformed query.
func (m *malformer) versions(good variant, emit func(variant)) {
	for _, name := range []string{
		"", "x", "latest", "1", "0", "-1", "null", "2019-01-01", "2099-01-01", "2021-9-7", "2021-09-7", "20210907", "2021-13-07", "2021-09-07%20", "%202021-09-07", "2021-09-07-preview",
		"2021-09-07%00", "2021-09-07%0d%0a", "2020-11-01", "2020-11-01-preview2", "2020-09-21-preview1", "2022-04-21-preview8", "2021-03-07-PREVIEW", "2024-09-01", "%ff", "'%20OR%201=1",
		strings.Repeat("2", 3000), "2021-09-07,2021-03-07", "v1", "*", "2025-03-15T00:00:00Z", "2025/03/15", "15-03-2025", "%E2%80%8F2021-09-07", "../2021-09-07",
	} {
		v := good
		v.name, v.query, v.oldForm = "api-version "+name, "api-version="+name, false
		emit(v)
	}
	for _, query := range []string{"", "api_version=2021-09-07", "API-VERSION=2021-09-08", "api-version", good.query + ";", "a;b&" + good.query, "%zz&" + good.query,
		good.query + "&a=%", good.query + "&%g0=1", "api-version=x&" + good.query} {
		v := good
		v.name, v.query, v.oldForm = "query "+query, query, false
		emit(v)
	}
	// Append a text to the path, so that no route matches the path.
	for _, more := range []string{"x", "a/b", "%00", "%2F", ":add:", ":remove/x", ":typing", "typing/typing", "messages/1/2", "%E2%80%8B", "..%2f..", "$batch", "{id}", "*", "~"} {
		v := good
		v.name, v.template, v.oldForm = "path "+more, good.template+"/"+more+"/nowhere/at/all", false
		emit(v)
	}
}
