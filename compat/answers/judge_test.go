package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	apiFolder  = "../../api"
	recordings = "../../internal/rest/testdata/recordings"
)

func specsOf(t *testing.T) *specs {
	t.Helper()
	s, err := readSpecs(apiFolder)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// differences lists the violations that the judge finds in recordings of the real service, which
// the test accepts. In recordings of the Python SDK's tests, a word replaces whole lists. No
// recording has the member kind, which the OpenAPI files require and this server always sends.
var differences = []struct{ recording, what string }{
	{"chat-py_2021-09-07_test_list_*", `at "/value": got string, want array`},
	{"chat-js_2023-11-15-preview_*", `at "/createdByCommunicationIdentifier": missing property 'kind'`},
}

// TestRecordingsAreNoViolations judges the recorded responses of the real service. The judge must
// find no violation in them, except those in the list differences.
func TestRecordingsAreNoViolations(t *testing.T) {
	j, used, judged := newJudge(specsOf(t)), make([]bool, len(differences)), 0
	for _, r := range readRecordings(t) {
		t.Run(r.name, func(t *testing.T) {
			for _, e := range r.exchanges {
				v := j.exchange(e, nil)
				if v.version == "" {
					if _, err := os.Stat(filepath.Join(apiFolder, v.api, e.param("api-version")+".json")); errors.Is(err, fs.ErrNotExist) {
						t.Errorf("api/ has no file of %s %s", v.api, e.param("api-version"))
					}
				}
				judged++
				for _, found := range v.violations {
					i := slices.IndexFunc(differences, func(d struct{ recording, what string }) bool {
						ok, _ := path.Match(d.recording, r.name)
						return ok && d.what == found.What
					})
					if i < 0 {
						t.Error(found)
					} else {
						used[i] = true
					}
				}
			}
		})
	}
	for i, d := range differences {
		if !used[i] {
			t.Errorf("no recording has this difference any more: %+v", d)
		}
	}
	if judged < 100 {
		t.Errorf("only %d answers were judged", judged)
	}
}

type recording struct {
	name      string
	exchanges []exchange
}

func readRecordings(t *testing.T) (all []recording) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	for _, file := range files {
		exchanges, err := readRecord(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, recording{strings.TrimSuffix(filepath.Base(file), ".json"), exchanges})
	}
	return all
}

// answered is a sample: an exchange whose response has no violation. Tests change copies of it.
type answered struct {
	name string
	exchange
}

// samples returns one exchange without a violation for each operation, version and status. It takes
// the exchange from the recordings of the real service. For a status that no recording has, it
// makes the response that this project's documents describe.
func samples(t *testing.T, j *judge) (all []answered) {
	t.Helper()
	seen := map[string]bool{}
	add := func(e exchange) {
		if v := j.exchange(e, nil); v.outside != "" || v.version == "" || len(v.violations) > 0 {
			return
		}
		name := fmt.Sprintf("%s %s %d %s", e.Request.Method, pattern(split(e.Request.Path)), e.Response.Status, e.param("api-version"))
		if key := name + shapeOf(e.Response.Body); !seen[key] {
			seen[key] = true
			all = append(all, answered{name, e})
		}
	}
	for _, r := range readRecordings(t) {
		for _, e := range r.exchanges {
			add(e)
		}
	}
	for _, s := range []struct{ method, path, version, body string }{
		{"GET", "/chat/threads/x", "2025-03-15", `{"id":"x","topic":"t","createdOn":"2026-11-28T21:05:03Z","createdByCommunicationIdentifier":{"kind":"communicationUser","rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}},"metadata":{"a":"b"},"retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":60}}`},
		{"GET", "/chat/threads/x", "2025-03-15", `{"id":"x","topic":"t","createdOn":"2026-11-28T21:05:03Z","createdByCommunicationIdentifier":{"kind":"communicationUser","rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}},"retentionPolicy":{"kind":"none"}}`},
		{"GET", "/chat/threads/x/messages/1", "2024-03-07", `{"id":"1","type":"text","sequenceId":"1","version":"1","content":{"message":"m","attachments":[]},"senderDisplayName":"","createdOn":"2026-11-28T21:05:03Z","senderCommunicationIdentifier":{"kind":"communicationUser","rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}}}`},
		{"GET", "/chat/threads", "2021-09-07", `{"value":[{"id":"x","topic":"t","lastMessageReceivedOn":"2026-11-28T21:05:03Z"}],"nextLink":"https://x"}`},
	} {
		e := exchangeOf(t, s.method, s.path, s.version, 200, s.body)
		if v := j.exchange(e, nil); len(v.violations) > 0 {
			t.Errorf("%+v: %v", s, v.violations)
		}
		add(e)
	}
	if len(all) < 30 {
		t.Fatalf("only %d samples", len(all))
	}
	return all
}

// shapeOf returns the sorted names of all members in a body.
func shapeOf(body json.RawMessage) string {
	names := map[string]bool{}
	walk(decode(body), func(p place) { names[p.path()] = true })
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}

func exchangeOf(t *testing.T, method, path, version string, status int, body string) (e exchange) {
	t.Helper()
	e.Request.Method, e.Request.Path, e.Request.Query = method, path, map[string]string{"api-version": version}
	e.Response.Status = status
	if body != "" {
		e.Response.Body = json.RawMessage(body)
		if !json.Valid(e.Response.Body) {
			t.Fatalf("not JSON: %s", body)
		}
	}
	return e
}

func decode(body json.RawMessage) (v any) {
	if len(body) > 0 {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			panic(err)
		}
	}
	return v
}

// place identifies one member in a JSON body by the object that has the member and by the member's
// name.
type place struct {
	object map[string]any
	name   string
	above  []string // names of the members in which the object is nested, outermost first
	open   bool     // whether the object may have members of any name, like the object metadata
}

func (p place) path() string { return strings.Join(append(slices.Clone(p.above), p.name), "/") }

// walk calls f for each member of each object in a JSON value, in the order of the members' names.
func walk(v any, f func(place)) { walkBelow(v, nil, f) }

func walkBelow(v any, above []string, f func(place)) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			walkBelow(item, append(slices.Clone(above), "*"), f)
		}
	case map[string]any:
		open := len(above) > 0 && above[len(above)-1] == "metadata"
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f(place{v, name, above, open})
			walkBelow(v[name], append(slices.Clone(above), name), f)
		}
	}
}

// alterations maps the name of a kind of change to a function. The function returns change, which
// changes the member p of a body in this way, and ok, which is false if the changed body could be
// valid.
var alterations = map[string]func(p place) (change func(), ok bool){
	"unknown member beside it": func(p place) (func(), bool) {
		return func() { p.object["unknown"] = "x" }, !p.open
	},
	"other name": func(p place) (func(), bool) {
		return func() { p.object[p.name+"s"] = p.object[p.name]; delete(p.object, p.name) }, !p.open
	},
	"other letters": func(p place) (func(), bool) {
		other := strings.ToUpper(p.name[:1]) + p.name[1:]
		return func() { p.object[other] = p.object[p.name]; delete(p.object, p.name) }, !p.open && other != p.name
	},
	"other type": func(p place) (func(), bool) {
		return func() {
			if _, ok := p.object[p.name].(string); ok {
				p.object[p.name] = json.Number("7")
			} else {
				p.object[p.name] = "seven"
			}
		}, true
	},
	"null": func(p place) (func(), bool) { return func() { p.object[p.name] = nil }, true },
	"malformed date": func(p place) (func(), bool) {
		return func() { p.object[p.name] = "28.11.2026" }, strings.HasSuffix(p.name, "On") || p.name == "shareHistoryTime"
	},
	"unknown word": func(p place) (func(), bool) {
		return func() { p.object[p.name] = "surprise" }, p.name == "type" && p.above != nil || p.name == "kind"
	},
}

// TestAlteredMembersAreFound changes each member of the bodies of all samples in every way that
// alterations lists. The judge must find a violation each time.
func TestAlteredMembersAreFound(t *testing.T) {
	j := newJudge(specsOf(t))
	for kind, alter := range alterations {
		t.Run(kind, func(t *testing.T) {
			altered := 0
			for _, s := range samples(t, j) {
				members := 0
				walk(decode(s.Response.Body), func(place) { members++ })
				for i := range members {
					body, at, ok, n := decode(s.Response.Body), "", false, -1
					var change func()
					walk(body, func(p place) {
						if n++; n == i {
							at = p.path()
							change, ok = alter(p)
						}
					})
					if ok {
						change()
						altered++
						e := s.exchange
						e.Response.Body = encode(body)
						if len(j.exchange(e, nil).violations) == 0 {
							t.Errorf("%s: %s of %s was not found", s.name, kind, at)
						}
					}
				}
			}
			if altered < 3 {
				t.Errorf("only %d members were altered", altered)
			}
		})
	}
}

func encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// TestMissingMembersAreFound removes from the samples each member that the OpenAPI files require.
// The judge must find each removal.
func TestMissingMembersAreFound(t *testing.T) {
	j, taken := newJudge(specsOf(t)), map[string]bool{}
	required := []string{
		"value", "value/*/id", "value/*/type", "value/*/sequenceId", "value/*/version", "value/*/createdOn", "value/*/topic",
		"value/*/communicationIdentifier", "value/*/chatMessageId", "value/*/readOn", "id", "topic", "createdOn",
		"createdByCommunicationIdentifier", "chatThread/topic", "chatThread/createdByCommunicationIdentifier",
		"chatThread/createdByCommunicationIdentifier/rawId", "chatThread/createdByCommunicationIdentifier/communicationUser/id", "identity", "identity/id", "token", "expiresOn",
		"accessToken/token", "retentionPolicy/kind", "retentionPolicy/deleteThreadAfterDays", "error", "error/code", "error/message",
	}
	for _, s := range samples(t, j) {
		for _, path := range required {
			body, found := decode(s.Response.Body), false
			walk(body, func(p place) {
				if p.path() == path && !found {
					delete(p.object, p.name)
					found = true
				}
			})
			if !found {
				continue
			}
			e := s.exchange
			e.Response.Body = encode(body)
			if len(j.exchange(e, nil).violations) == 0 {
				t.Errorf("%s: without %s, nothing was found", s.name, path)
			}
			taken[path] = true
		}
	}
	for _, path := range required {
		if !taken[path] {
			t.Errorf("no sample has %s", path)
		}
	}
}

// TestAlteredStatusesAndBodiesAreFound changes the statuses of samples, and removes or adds bodies.
// The judge must find each change.
func TestAlteredStatusesAndBodiesAreFound(t *testing.T) {
	j := newJudge(specsOf(t))
	for _, s := range samples(t, j) {
		for _, status := range []int{202, 206, 302, 409, 418, 502} {
			e := s.exchange
			e.Response.Status = status
			if len(j.exchange(e, nil).violations) == 0 {
				t.Errorf("%s: status %d was not found", s.name, status)
			}
		}
		e := s.exchange
		if isEmpty(e.Response.Body) {
			e.Response.Body = json.RawMessage(`{}`)
		} else {
			e.Response.Body = nil
		}
		if len(j.exchange(e, nil).violations) == 0 {
			t.Errorf("%s: a body that is missing or superfluous was not found", s.name)
		}
	}
}

// TestVersions judges responses with members, operations and forms of errors that only some
// api-versions have. The judge must find a violation if the response's version does not have them,
// and none otherwise.
func TestVersions(t *testing.T) {
	const (
		user    = `{"rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}}`
		kind    = `{"kind":"communicationUser","rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}}`
		teams   = `{"kind":"microsoftTeamsApp","rawId":"28:orgid:a","microsoftTeamsApp":{"appId":"a","cloud":"public"}}`
		none    = `,"retentionPolicy":{"kind":"none"}`
		date    = `"2026-11-28T21:05:03Z"`
		refused = `"error":{"code":"Forbidden","message":"m"}`
		wire    = `{"Code":"Forbidden","Message":"m","Details":[]}`
	)
	thread := func(person, more string) string {
		return `{"id":"x","topic":"t","createdOn":` + date + `,"createdByCommunicationIdentifier":` + person + more + `}`
	}
	people := func(person, more string) string {
		return `{"value":[{"communicationIdentifier":` + person + `,"shareHistoryTime":` + date + more + `}]}`
	}
	message := func(person, content, more string) string {
		return `{"id":"1","type":"text","sequenceId":"1","version":"1","content":{"message":"m"` + content + `},"senderDisplayName":"","createdOn":` + date + `,"senderCommunicationIdentifier":` + person + more + `}`
	}
	refusal := func(code string) string {
		return fmt.Sprintf(`{"error":{"code":%[1]q,"message":"m"},"CommunicationError":{"Code":%[1]q,"Message":"m","Details":[]}}`, code)
	}
	const threadPath, peoplePath, messagesPath, messagePath = "/chat/threads/19%3Aa%40thread.v2", "/chat/threads/x/participants", "/chat/threads/x/messages", "/chat/threads/x/messages/1"
	s := specsOf(t)
	for _, c := range []struct {
		what, method, path, version string
		status                      int
		body, want                  string // want is a pattern for the only expected violation; empty: no violation is expected
	}{
		{"metadata of a thread", "GET", threadPath, "2025-03-15", 200, thread(kind, none+`,"metadata":{"a":"b"}`), ""},
		{"metadata of a thread, too early", "GET", threadPath, "2024-03-07", 200, thread(kind, `,"metadata":{"a":"b"}`), "additional properties 'metadata'"},
		{"metadata that is no text", "GET", threadPath, "2025-03-15", 200, thread(kind, none+`,"metadata":{"a":1}`), `at "/metadata/a": got number`},
		{"kind", "GET", peoplePath, "2023-11-07", 200, people(kind, ""), ""},
		{"kind, too early", "GET", peoplePath, "2021-09-07", 200, people(kind, ""), "additional properties 'kind'"},
		{"a kind of a later version", "GET", peoplePath, "2023-11-07", 200, people(teams, ""), "additional properties 'microsoftTeamsApp'|kind\": value must be one of"},
		{"that kind", "GET", peoplePath, "2024-03-07", 200, people(teams, ""), ""},
		{"roles of no version that is served here", "GET", peoplePath, "2021-09-07", 200, people(user, `,"roleIds":[]`), "additional properties 'roleIds'"},
		{"string ids", "GET", peoplePath, "2020-11-01-preview3", 200, `{"value":[{"id":"8:acs:a_b","shareHistoryTime":"2026-11-28T21:05:03Z"}]}`, ""},
		{"string ids, too late", "GET", peoplePath, "2021-01-27-preview4", 200, `{"value":[{"id":"8:acs:a_b","shareHistoryTime":"2026-11-28T21:05:03Z"}]}`, "additional properties 'id'|missing property 'communicationIdentifier'"},
		{"attachments", "GET", messagePath, "2023-11-07", 200, message(kind, `,"attachments":[]`, ""), ""},
		{"attachments, too early", "GET", messagePath, "2021-09-07", 200, message(user, `,"attachments":[]`, ""), "additional properties 'attachments'"},
		{"metadata of a message", "GET", messagePath, "2021-09-07", 200, message(user, "", `,"metadata":{}`), ""},
		{"metadata of a message, too early", "GET", messagePath, "2021-03-07", 200, message(user, "", `,"metadata":{}`), "additional properties 'metadata'"},
		{"policy without a kind", "GET", threadPath, "2025-03-15", 200, thread(kind, `,"retentionPolicy":{}`), "missing propert(y|ies) 'kind'"},
		{"days of no policy", "GET", threadPath, "2025-03-15", 200, thread(kind, `,"retentionPolicy":{"kind":"none","deleteThreadAfterDays":60}`), "deleteThreadAfterDays|value must be 'threadCreationDate'"},
		{"policy, too early", "GET", threadPath, "2024-03-07", 200, thread(kind, `,"retentionPolicy":{"kind":"none"}`), "additional properties 'retentionPolicy'"},
		{"fractions of a second", "GET", threadPath, "2025-03-15", 200, strings.Replace(thread(kind, none+""), "03Z", "03.5Z", 1), "does not match pattern"},
		{"an operation that has gone", "DELETE", "/chat/threads/x/participants/y", "2021-09-07", 204, "", "no such operation"},
		{"that operation", "DELETE", "/chat/threads/x/participants/y", "2020-11-01-preview3", 204, "", ""},
		{"an operation that never was", "PUT", threadPath, "2021-09-07", 204, "", "no such operation"},
		{"an operation refused", "PUT", threadPath, "2021-09-07", 405, `{"error":{"code":"MethodNotAllowed","message":"m"},"CommunicationError":{"Code":"MethodNotAllowed","Message":"m","Details":[]}}`, ""},
		{"an operation refused as a fault of the server", "PUT", threadPath, "2021-09-07", 503, refusal("ServiceUnavailable"), "fault of the server"},
		{"an unknown version", "GET", threadPath, "1999-01-01", 200, thread(user, ""), `api-version "1999-01-01", of which there is no file`},
		{"an unknown version refused", "GET", threadPath, "1999-01-01", 400, `{"error":{"code":"UnsupportedApiVersion","message":"m"},"CommunicationError":{"Code":"UnsupportedApiVersion","Message":"m","Details":[]}}`, ""},
		{"another name of a version", "GET", peoplePath, "2021-09-27", 200, people(kind, ""), "additional properties 'kind'"},

		{"both envelopes", "GET", threadPath, "2021-09-07", 403, `{` + refused + `,"CommunicationError":` + wire + `}`, ""},
		{"without the recorded envelope", "GET", threadPath, "2021-09-07", 403, `{` + refused + `}`, "envelope of the version is missing: CommunicationError"},
		{"without the documented envelope", "GET", threadPath, "2021-09-07", 403, `{"CommunicationError":` + wire + `}`, "missing property 'error'|the two envelopes differ"},
		{"the envelope of a later version", "GET", threadPath, "2021-01-27-preview4", 403, `{` + refused + `,"CommunicationError":` + wire + `}`, "envelope of the version is missing: Error"},
		{"the envelope of that version", "GET", threadPath, "2021-01-27-preview4", 403, `{` + refused + `,"Error":` + wire + `}`, ""},
		{"both envelopes of two versions", "GET", threadPath, "2021-09-07", 403, `{` + refused + `,"Error":` + wire + `,"CommunicationError":` + wire + `}`, "additional properties 'Error'"},
		{"envelopes that differ", "GET", threadPath, "2021-09-07", 403, `{` + refused + `,"CommunicationError":` + strings.Replace(wire, "Forbidden", "NotFound", 1) + `}`, "the two envelopes differ in code|no code \"NotFound\""},
		{"messages that differ", "GET", threadPath, "2021-09-07", 403, `{` + refused + `,"CommunicationError":` + strings.Replace(wire, `"m"`, `"n"`, 1) + `}`, "the two envelopes differ in message"},
		{"a code of another status", "GET", threadPath, "2021-09-07", 404, `{` + refused + `,"CommunicationError":` + wire + `}`, `no code "Forbidden"`},
		{"details", "GET", threadPath, "2021-09-07", 403, `{` + refused + `,"CommunicationError":` + strings.Replace(wire, "[]", `[{}]`, 1) + `}`, "maxItems"},
		{"both flat envelopes", "GET", threadPath, "2020-09-21-preview2", 404, `{"Code":"NotFound","code":"NotFound","message":"m"}`, ""},
		{"flat messages that differ", "GET", threadPath, "2020-09-21-preview2", 404, `{"Code":"NotFound","Message":"n","code":"NotFound","message":"m"}`, "the two envelopes differ in message"},
		{"flat envelopes of a malformed body", "GET", threadPath, "2020-09-21-preview2", 400, `{"Code":"BadRequest","Message":"m","InnerErrors":[],"code":"BadRequest","message":"m","target":"t"}`, ""},
		{"the recorded flat envelope alone", "GET", threadPath, "2020-09-21-preview2", 404, `{"Code":"NotFound"}`, "the two envelopes differ in code|missing property 'message'"},
		{"the documented flat envelope alone", "GET", threadPath, "2020-09-21-preview2", 404, `{"code":"NotFound"}`, "envelope of the version is missing"},
		{"a key in the flat envelope", "GET", threadPath, "2020-09-21-preview2", 403, `{"Code":"Forbidden","Message":"m","code":"Forbidden","message":"m","error":{}}`, "additional properties 'error'"},
		{"a foreign member in the flat envelope", "GET", threadPath, "2020-09-21-preview2", 403, `{"Code":"Forbidden","Message":"m","Details":[],"code":"Forbidden","message":"m"}`, "additional properties 'Details'"},
		{"a path of later versions", "GET", peoplePath, "2020-09-21-preview2", 400, `{"Code":"UnsupportedApiVersion","Message":"m","InnerErrors":[],"code":"UnsupportedApiVersion","message":"m"}`, ""},
		{"a method refused before the version is known", "PUT", threadPath, "2020-09-21-preview2", 405, `{"error":{"code":"MethodNotAllowed","message":"m"},"CommunicationError":{"Code":"MethodNotAllowed","Message":"m","Details":[]}}`, ""},
		{"receipts in other letters", "GET", "/chat/threads/x/readreceipts", "2021-09-07", 200, `{"value":[]}`, ""},
		{"receipts in other letters of the first version", "GET", "/chat/threads/x/readReceipts", "2020-09-21-preview2", 200, `{"value":[]}`, ""},
		{"other letters elsewhere", "GET", "/chat/threads/x/Messages", "2021-09-07", 200, `{"value":[]}`, "no such operation"},
		{"no message", "GET", threadPath, "2021-09-07", 403, `{"error":{"code":"Forbidden"},"CommunicationError":{"Code":"Forbidden","Details":[]}}`, "missing property 'message'"},
		{"no message about a thread", "GET", threadPath, "2021-09-07", 404, `{"error":{"code":"NotFound"},"CommunicationError":{"Code":"NotFound","Details":[]}}`, "missing property 'message'"},
		{"no message about a receipt", "POST", "/chat/threads/x/readReceipts", "2021-09-07", 404, `{"error":{"code":"NotFound"},"CommunicationError":{"Code":"NotFound","Details":[]}}`, ""},
		{"no message about a receipt at the first version", "POST", "/chat/threads/x/readreceipts", "2020-09-21-preview2", 404, `{"Code":"NotFound","code":"NotFound"}`, ""},
		{"no message about too many participants", "POST", "/chat/threads", "2021-09-07", 400, `{"error":{"code":"BadRequest"},"CommunicationError":{"Code":"BadRequest","Details":[]}}`, ""},
		{"no message about a malformed thread id", "DELETE", "/chat/threads/x", "2021-09-07", 400, `{"error":{"code":"BadRequest"},"CommunicationError":{"Code":"BadRequest","Details":[]}}`, ""},
		{"no message about a malformed message", "POST", "/chat/threads/x/messages", "2021-09-07", 400, `{"error":{"code":"BadRequest"},"CommunicationError":{"Code":"BadRequest","Details":[]}}`, "missing property 'message'"},
		{"no message in the flat envelope", "GET", threadPath, "2020-09-21-preview2", 403, `{"Code":"Forbidden","code":"Forbidden"}`, "missing property 'message'"},
		{"no recorded message in the flat envelope", "GET", threadPath, "2020-09-21-preview2", 403, `{"Code":"Forbidden","code":"Forbidden","message":"m"}`, "recorded envelope has no Message"},

		// Refusals of operations that the OpenAPI file has.
		{"an operation refused as one of another version", "GET", threadPath, "2021-09-07", 400, refusal("UnsupportedApiVersion"), "refuses it as unknown"},
		{"an operation refused for its method", "GET", threadPath, "2021-09-07", 405, refusal("MethodNotAllowed"), "refuses it as unknown"},
		{"an operation refused as not implemented", "POST", messagesPath, "2021-09-07", 501, refusal("NotImplemented"), "refuses it as unknown"},
		{"an image refused as not implemented", "POST", "/chat/threads/x/images", "2024-06-05-preview", 501, refusal("NotImplemented"), ""},
		{"an image taken", "POST", "/chat/threads/x/images", "2024-06-05-preview", 201, `{"id":"1"}`, "this server never does that"},
		{"an assignment refused as not implemented", "GET", "/access/entra/assignments", "2025-03-02-preview", 501, `{"error":{"code":"NotImplemented","message":"m"}}`, ""},
		{"a list not found", "GET", "/chat/threads", "2021-09-07", 404, refusal("NotFound"), "nothing that can be missing"},
		{"a fault", "GET", threadPath, "2021-09-07", 500, refusal("InternalServerError"), "fault of the server"},
		{"unavailable", "GET", threadPath, "2021-09-07", 503, refusal("ServiceUnavailable"), "fault of the server"},
		{"too many requests", "GET", threadPath, "2021-09-07", 429, refusal("TooManyRequests"), "fault of the server"},
		{"a fault of identity", "POST", "/identities", "2023-10-01", 500, `{"error":{"code":"InternalServerError","message":"m"}}`, "fault of the server"},
		{"a crash", "GET", threadPath, "2021-09-07", 0, "", "did the server crash"},
		{"a fault of live events", "GET", "/chat/events", "2021-09-07", 500, "", "fault of the server"},

		// Members that responses must always have, or must never have.
		{"nothing created", "POST", "/chat/threads", "2021-09-07", 201, `{}`, "missing property 'chatThread'"},
		{"a message without content", "GET", messagePath, "2021-09-07", 200, strings.Replace(message(user, "", ""), `"content":{"message":"m"},`, "", 1), "missing property 'content'"},
		{"a message without a sender", "GET", messagePath, "2021-09-07", 200, strings.Replace(message(user, "", ""), `,"senderCommunicationIdentifier":`+user, "", 1), "missing property 'senderCommunicationIdentifier'|value must be one of"},
		{"a message without the sender's name", "GET", messagePath, "2021-09-07", 200, strings.Replace(message(user, "", ""), `"senderDisplayName":"",`, "", 1), "missing property 'senderDisplayName'|value must be one of"},
		{"a message of the system", "GET", messagePath, "2021-09-07", 200, `{"id":"1","type":"topicUpdated","sequenceId":"1","version":"1","content":{"topic":"t","initiatorCommunicationIdentifier":` + user + `},"createdOn":` + date + `}`, ""},
		{"a flat message", "GET", messagePath, "2020-09-21-preview2", 200, `{"id":"1","type":"Text","priority":"Normal","version":"1","content":"m","senderDisplayName":"","createdOn":` + date + `,"senderId":"8:acs:a_b"}`, ""},
		{"a flat message without the sender's name", "GET", messagePath, "2020-09-21-preview2", 200, `{"id":"1","type":"Text","priority":"Normal","version":"1","content":"m","createdOn":` + date + `,"senderId":"8:acs:a_b"}`, "missing property 'senderDisplayName'|value must be one of"},
		{"an identifier without a kind", "GET", peoplePath, "2023-11-07", 200, people(user, ""), "missing property 'kind'"},
		{"a thread without a policy", "GET", threadPath, "2025-03-15", 200, thread(kind, ""), "missing property 'retentionPolicy'"},
		{"a thread without a policy, earlier", "GET", threadPath, "2024-03-07", 200, thread(kind, ""), ""},
		{"a list item without its newest message", "GET", "/chat/threads", "2021-09-07", 200, `{"value":[{"id":"x","topic":"t"}]}`, "missing property 'lastMessageReceivedOn'"},
		{"a participant without a time", "GET", peoplePath, "2021-09-07", 200, `{"value":[{"communicationIdentifier":` + user + `}]}`, "missing property 'shareHistoryTime'"},
		{"a policy of messages", "GET", threadPath, "2024-06-05-preview", 200, thread(kind, none+`,"messagingPolicy":{"textOnlyChat":true}`), "additional properties 'messagingPolicy'"},
		{"a censored message", "GET", messagePath, "2024-06-05-preview", 200, message(kind, "", `,"policyViolation":{"state":"warning"}`), "additional properties 'policyViolation'"},
		{"401 of chat with a body", "GET", threadPath, "2021-09-07", 401, refusal("Unauthorized"), "401 without a body"},
		{"a flat 400 without inner errors", "GET", threadPath, "2020-09-21-preview2", 400, `{"Code":"BadRequest","Message":"m","code":"BadRequest","message":"m"}`, "missing property 'InnerErrors'"},
		{"a token's end in another form", "POST", "/identities/x/:issueAccessToken", "2023-10-01", 200, `{"token":"t","expiresOn":"2026-11-28T21:05:03Z"}`, "does not match pattern"},
		{"a token's end with a zero", "POST", "/identities/x/:issueAccessToken", "2023-10-01", 200, `{"token":"t","expiresOn":"2026-11-28T21:05:03.50+00:00"}`, "does not match pattern"},
		{"a token's end", "POST", "/identities/x/:issueAccessToken", "2023-10-01", 200, `{"token":"t","expiresOn":"2026-11-28T21:05:03.5+00:00"}`, ""},
		{"401 of chat", "GET", threadPath, "2021-09-07", 401, "", ""},
		{"403 without a body", "GET", threadPath, "2021-09-07", 403, "", "body is missing"},
		{"401 of identity without a body", "POST", "/identities", "2023-10-01", 401, "", "body is missing"},
		{"401 of identity", "POST", "/identities", "2023-10-01", 401, `{"error":{"code":"Denied","message":"m"}}`, ""},
		{"identity with an envelope of chat", "POST", "/identities", "2023-10-01", 401, `{"error":{"code":"Denied","message":"m"},"CommunicationError":{"Code":"Denied","Message":"m","Details":[]}}`, "additional properties 'CommunicationError'"},
	} {
		t.Run(c.what, func(t *testing.T) {
			v := newJudge(s).exchange(exchangeOf(t, c.method, c.path, c.version, c.status, c.body), nil)
			if (c.want == "") != (len(v.violations) == 0) {
				t.Errorf("got %v, want %q", v.violations, c.want)
			}
			for _, found := range v.violations {
				if !regexp.MustCompile(c.want).MatchString(found.What) {
					t.Errorf("got %v, want only %q", found, c.want)
				}
			}
		})
	}
}

// TestNewerVersion judges answers to clients that asked for known, unknown and later versions. If a
// client asked for a version later than all known versions, the answer must have the header
// confab-api-version with the newest version, whose OpenAPI file applies. No other answer may have
// the header.
func TestNewerVersion(t *testing.T) {
	j := newJudge(specsOf(t))
	for _, c := range []struct {
		asked, header, version string
		violations             int
	}{
		{"2031-01-01", "2025-03-15", "2025-03-15", 0},
		{"2031-01-01-preview2", "2025-03-15", "2025-03-15", 0},
		{"2031-01-01", "", "", 1},
		{"2031-01-01", "2024-03-07", "", 2}, // two violations: the header names a wrong version, and no OpenAPI file applies
		{"2021-09-07", "2025-03-15", "2021-09-07", 1},
		{"2021-09-07", "2021-09-07", "2021-09-07", 1},
		{"2021-09-27", "2025-03-15", "2021-09-07", 1}, // the header is wrong, because 2021-09-27 is another name of a known version
		{"2021-09-08", "2025-03-15", "", 2},           // between versions
		{"later", "2025-03-15", "", 2},
	} {
		e := exchangeOf(t, "GET", "/chat/threads", c.asked, 200, `{"value":[]}`)
		e.Response.Headers = map[string]string{"confab-api-version": c.header}
		if v := j.exchange(e, nil); len(v.violations) != c.violations || v.version != c.version {
			t.Errorf("%+v: got %q, %v", c, v.version, v.violations)
		}
	}
}

// TestOrderedFaults checks that a response with a fault is no violation if the test has ordered the
// fault for the operation. If the fault occurs more often than ordered, it is a violation.
func TestOrderedFaults(t *testing.T) {
	refusal := func(status int, code string) exchange {
		return exchangeOf(t, "GET", "/chat/threads", "2021-09-07", status, fmt.Sprintf(`{"error":{"code":%[1]q,"message":"m"},"CommunicationError":{"Code":%[1]q,"Message":"m","Details":[]}}`, code))
	}
	order := func(status int, body string) exchange {
		e := exchangeOf(t, "POST", "/dev/faults", "", status, `{}`)
		e.Request.Body = json.RawMessage(body)
		return e
	}
	specs := specsOf(t)
	gateway, failed, dropped := refusal(502, "BadGateway"), refusal(500, "InternalServerError"), exchangeOf(t, "GET", "/chat/threads", "2021-09-07", 0, "")
	for _, c := range []struct {
		what string
		all  []exchange
		want int
	}{
		{"none", []exchange{gateway}, 1},
		{"one", []exchange{order(200, `{"operation":"list threads","status":502}`), gateway}, 0},
		{"one of any operation", []exchange{order(200, `{"status":500}`), failed}, 0},
		{"of another operation", []exchange{order(200, `{"operation":"send message","status":500}`), failed}, 1},
		{"of another status", []exchange{order(200, `{"status":502}`), failed}, 1},
		{"too late", []exchange{failed, order(200, `{"status":500}`)}, 1},
		{"once too often", []exchange{order(200, `{"status":500,"times":2}`), failed, failed, failed}, 1},
		{"always", []exchange{order(200, `{"status":500,"times":"always"}`), failed, failed, failed}, 0},
		{"always, as a number", []exchange{order(200, `{"status":500,"times":-1}`), failed, failed}, 0},
		{"cleared", []exchange{order(200, `{"status":500}`), exchangeOf(t, "DELETE", "/dev/faults", "", 204, ""), failed}, 1},
		{"a refused order", []exchange{order(400, `{"status":500}`), failed}, 1},
		{"a drop", []exchange{order(200, `{"drop":"after"}`), dropped}, 0},
		{"a drop too many", []exchange{order(200, `{"drop":"after"}`), dropped, dropped}, 1},
		{"a status in place of a drop", []exchange{order(200, `{"drop":"after"}`), failed}, 1},
		{"a delay", []exchange{order(200, `{"delay":"1s"}`), dropped}, 1},
	} {
		j, o, violations := newJudge(specs), &orders{}, 0
		for _, e := range c.all {
			o.see(e)
			violations += len(j.exchange(e, o).violations)
		}
		if violations != c.want {
			t.Errorf("%s: %d violations, want %d", c.what, violations, c.want)
		}
	}
}

// TestFaultNames checks that faultNames has a name for each operation of each OpenAPI file, and
// that docs/testing.md lists the name.
func TestFaultNames(t *testing.T) {
	page, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, versions := range specsOf(t).byVersion {
		for version, one := range versions {
			for _, o := range one.operations {
				name := faultNames[o.shape()]
				used[o.shape()] = true
				if name == "" || !strings.Contains(string(page), "`"+name+"`") {
					t.Errorf("%s, %s: the name %q is not in docs/testing.md", version, o.name, name)
				}
			}
		}
	}
	for shape := range faultNames {
		if !used[shape] {
			t.Errorf("no file has %s", shape)
		}
	}
}

// TestEveryVersionCompiles compiles the schema of every response in every OpenAPI file. None may
// fail.
func TestEveryVersionCompiles(t *testing.T) {
	s, n := specsOf(t), 0
	for _, versions := range s.byVersion {
		for version, one := range versions {
			for _, o := range one.operations {
				for status, location := range o.responses {
					if location == "" {
						continue
					}
					n++
					if _, err := s.compile(location); err != nil {
						t.Errorf("%s, %s, %s: %v", version, o.name, status, err)
					}
				}
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d schemas", n)
	}
}

// TestEvery checks that the flag -every reports operations that no record has carried out.
func TestEvery(t *testing.T) {
	tally := newTally(specsOf(t))
	refused := func(status int, code string) recorded {
		e := exchangeOf(t, "GET", "/chat/threads/x", "2024-03-07", status, fmt.Sprintf(`{"error":{"code":%[1]q,"message":"m"},"CommunicationError":{"Code":%[1]q,"Message":"m","Details":[]}}`, code))
		return recorded{e, ""}
	}
	for _, r := range readRecordings(t) {
		for _, e := range r.exchanges {
			tally.add(recorded{e, r.name}, nil)
		}
	}
	tally.add(refused(404, "NotFound"), nil)
	tally.add(refused(403, "Forbidden"), nil)
	tally.add(recorded{exchangeOf(t, "POST", "/chat/threads/x/images", "2024-06-05-preview", 501, refusedImage), ""}, nil)
	tally.add(recorded{exchangeOf(t, "POST", "/teamsUser/:exchangeAccessToken", "2025-06-30", 401, `{"error":{"code":"InvalidAccessToken","message":"m"}}`), ""}, nil)
	tally.requireEvery()
	for _, c := range []struct {
		api, version, operation string
		missing                 bool
	}{
		{"chat", "2021-09-07", "POST /chat/threads", false},
		{"chat", "2024-03-07", "POST /chat/threads", true},
		{"chat", "2024-03-07", "GET /chat/threads/{chatThreadId}", true}, // only refused
		{"chat", "2024-06-05-preview", "POST /chat/threads/{chatThreadId}/images", false},
		{"identity", "2025-06-30", "POST /teamsUser/:exchangeAccessToken", false},
	} {
		if got := tally.found[violation{API: c.api, Version: c.version, Operation: c.operation, What: neverDone}] != nil; got != c.missing {
			t.Errorf("%+v: missing %v", c, got)
		}
	}
}

const refusedImage = `{"error":{"code":"NotImplemented","message":"m"},"CommunicationError":{"Code":"NotImplemented","Message":"m","Details":[]}}`

// TestSuites checks that the flag -suites reports suites without a record.
func TestSuites(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"python/1/1.json": `{"exchanges":[{"request":{"method":"GET","path":"/chat/threads","query":{"api-version":"2021-09-07"}},"response":{"status":200,"body":{"value":[]}}}]}`,
		"go/1/notes.txt":  "no exchange",
	} {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for suites, want := range map[string][]string{"": nil, "python": nil, "python go mslive": {"suite go has no record", "suite mslive has no record"}} {
		var out, errs strings.Builder
		code := run([]string{"-api", apiFolder, "-suites", suites, folder}, &out, &errs)
		if (code == 0) != (want == nil) || strings.Count(out.String(), "has no record") != len(want) {
			t.Errorf("%q: exit code %d\n%s%s", suites, code, out.String(), errs.String())
		}
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%q: the output lacks %q:\n%s", suites, text, out.String())
			}
		}
	}
}

// TestRun runs the program on good records, on a record with an altered response, on an incomplete
// record, and without a record.
func TestRun(t *testing.T) {
	const good = `{"name":"x","exchanges":[{"request":{"method":"GET","path":"/chat/threads","query":{"api-version":"2021-09-07"},"headers":{},"body":null},"response":{"status":200,"headers":{},"body":{"value":[]}}}]}`
	live := strings.Replace(strings.Replace(good, "/chat/threads", "/v4/a", 1), `{"value":[]}`, "null", 1)
	for _, c := range []struct {
		what  string
		files map[string]string
		code  int
		out   []string
	}{
		{"good", map[string]string{"a/1.json": good, "b/c/1.json": good, "b/c/2.json": live}, 0,
			[]string{"2 answers judged", "chat  2021-09-07  2\n", "live events, and paths of no API    1\n", "0 violations"}},
		{"altered", map[string]string{"a/1.json": good, "a/2.json": strings.Replace(good, `"value":[]`, `"value":[],"x":1`, 1)}, 1,
			[]string{"1 violations", "chat 2021-09-07, GET /chat/threads, status 200: at \"\": additional properties 'x' not allowed", "1 times, first in", "2.json:\n{\"name\":"}},
		{"not complete", map[string]string{"a/1.json": good, "a/incomplete.txt": "2 exchanges are missing.\n"}, 1, []string{"the record is not complete: 2 exchanges are missing."}},
		{"cut", map[string]string{"a/1.json": strings.Replace(good, `{"value":[]}`, `"{","bodyCut":true`, 1)}, 1, []string{"the record has only a part of the body"}},
		{"no answers", map[string]string{"a/1.json": live}, 2, []string{"0 answers judged"}},
		{"nothing", map[string]string{}, 2, nil},
		{"no record", map[string]string{"a/1.json": "x"}, 2, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			folder := t.TempDir()
			for name, text := range c.files {
				file := filepath.Join(folder, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out, errs strings.Builder
			if code := run([]string{"-api", apiFolder, folder}, &out, &errs); code != c.code {
				t.Errorf("exit code %d, want %d:\n%s%s", code, c.code, out.String(), errs.String())
			}
			for _, want := range c.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}
