package rest

import (
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/token"
)

// TestThreadMetadataAtEveryVersion patches and gets the metadata of a thread at every chat
// api-version. It checks that the metadata is stored and returned at the versions whose OpenAPI
// file defines the member, and ignored and hidden at all others (docs/contract/api-versions.md §1
// and §10).
func TestThreadMetadataAtEveryVersion(t *testing.T) {
	f := newFixture(t, nil)
	alice, bearer := f.user(t, token.Chat)
	with, without := 0, 0
	eachSpec(t, func(t *testing.T, fam *api, v apiver.Version, s swagger) {
		if fam != chat {
			return
		}
		const path = "/chat/threads/{chatThreadId}"
		_, writes := definition(t, s, patchBody(t, s.Paths[path]["patch"].Parameters)).Properties["metadata"]
		_, reads := definition(t, s, responseBody(t, s.Paths[path]["get"].Responses, "200")).Properties["metadata"]
		if writes != reads {
			t.Fatalf("the file has metadata in requests: %v, in responses: %v", writes, reads)
		}
		if writes {
			with++
		} else {
			without++
		}
		made, _, err := f.core.CreateThread(t.Context(), alice, core.CreateThread{Topic: "topic", Metadata: map[string]string{"old": "1"}})
		if err != nil {
			t.Fatal(err)
		}
		do := func(method, body string) *httptest.ResponseRecorder {
			req := httptest.NewRequest(method, "/chat/threads/"+made.ID+"?api-version="+string(v), strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer "+bearer)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, req)
			return w
		}
		w := do("PATCH", `{"topic":"new","metadata":{"new":"2"}}`)
		if _, ok := s.Paths[path]["patch"].Responses[strconv.Itoa(w.Code)]; !ok || w.Code >= 300 {
			t.Fatalf("patch: %d %s", w.Code, w.Body)
		}
		now, err := f.core.Thread(t.Context(), alice, made.ID)
		if err != nil || now.Topic != "new" {
			t.Fatalf("the topic is %q, %v", now.Topic, err)
		}
		if stored := now.Metadata["new"] == "2"; stored != writes || now.Metadata["old"] != "1" {
			t.Errorf("the metadata is %v after the patch; the file has metadata: %v", now.Metadata, writes)
		}
		var got map[string]json.RawMessage
		if w = do("GET", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &got) != nil {
			t.Fatalf("get: %d %s", w.Code, w.Body)
		}
		if text := string(got["metadata"]); reads && text != `{"new":"2","old":"1"}` || !reads && text != "" {
			t.Errorf("get returns the metadata %q; the file has metadata: %v", text, reads)
		}
	})
	if with < 6 || without < 10 {
		t.Errorf("%d files have metadata, %d have none", with, without)
	}
}

// patchBody finds the body among the parameters of an operation and returns its schema.
func patchBody(t *testing.T, parameters []parameter) schema {
	t.Helper()
	for _, p := range parameters {
		if p.In == "body" {
			return p.Schema
		}
	}
	t.Fatal("the operation has no body")
	return schema{}
}

// responseBody returns the schema of the body of the response with the given status.
func responseBody(t *testing.T, responses map[string]any, status string) (s schema) {
	t.Helper()
	text, err := json.Marshal(responses[status])
	if err == nil {
		err = json.Unmarshal(text, &struct{ Schema *schema }{&s})
	}
	if err != nil || s.Ref == "" {
		t.Fatalf("the response %s has the schema %+v, %v", status, s, err)
	}
	return s
}

// definition returns the definition to which a schema refers, from the same OpenAPI file.
func definition(t *testing.T, s swagger, of schema) schema {
	t.Helper()
	def, ok := s.Definitions[of.Ref[strings.LastIndexByte(of.Ref, '/')+1:]]
	if !ok {
		t.Fatalf("the file does not define %q", of.Ref)
	}
	return def
}
