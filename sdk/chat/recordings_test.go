package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/confab-chat/confab/sdk/communication"
)

// otherShapes lists the recordings that the tests of this package do not use, with the reasons.
// Their API versions are older than 2021-03-07, the oldest version that a Client supports.
var otherShapes = map[string]string{
	"chat-js_2020-09-21-preview2_adds_members.json":            "members instead of participants, 207 with a status for each",
	"chat-js_2020-09-21-preview2_creates_a_thread.json":        "members instead of participants, 207 with a status for each",
	"chat-js_2020-09-21-preview2_lists_messages.json":          "content is a text, system messages are XML, ids are texts",
	"chat-js_2020-09-21-preview2_lists_read_receipts.json":     "senderId instead of an identifier",
	"chat-js_2020-09-21-preview2_lists_threads.json":           "isDeleted instead of deletedOn",
	"chat-js_2020-09-21-preview2_remove_a_member.json":         "DELETE of a member's path",
	"chat-js_2020-09-21-preview2_retrieves_a_thread.json":      "members inside the thread, createdBy is a text",
	"chat-js_2020-11-01-preview3_adds_participants.json":       "participants have an id, which is a text",
	"chat-js_2020-11-01-preview3_creates_a_thread.json":        "participants have an id, createdBy is a text",
	"chat-js_2020-11-01-preview3_remove_a_participant.json":    "DELETE of a participant's path",
	"chat-py_2020-11-01-preview3_test_create_chat_thread.json": "participants have an id, createdBy is a text",
	"chat-js_2021-01-27-preview4_creates_a_thread.json":        "failures are in errors.invalidParticipants",
	"chat-js_2021-01-27-preview4_lists_messages.json":          "a preview before 2021-03-07",
	"chat-js_2021-03-01-preview5_lists_read_receipts.json":     "a preview before 2021-03-07",
}

// sanitized is the word by which the recorder of the traffic replaced ids and whole lists. A
// replaced list is no JSON array and cannot be decoded.
const sanitized = "sanitized"

type recording struct {
	Name, Source string
	Exchanges    []exchange
}

type exchange struct {
	Request struct {
		Method, Path string
		Query        map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status int
		Body   json.RawMessage
	}
}

// models maps each operation to two functions. The first returns a new value for the request body,
// and the second a new value for the response body. A nil function means that there is no body.
var models = map[string][2]func() any{
	"POST /chat/threads":                         {of[createThreadRequest], of[CreateThreadResult]},
	"GET /chat/threads":                          {nil, of[pageJSON[ThreadItem]]},
	"GET /chat/threads/ID":                       {nil, of[ThreadProperties]},
	"PATCH /chat/threads/ID":                     {of[updateThreadRequest], nil},
	"DELETE /chat/threads/ID":                    {},
	"POST /chat/threads/ID/messages":             {of[sendMessageRequest], of[sendMessageResult]},
	"GET /chat/threads/ID/messages":              {nil, of[pageJSON[Message]]},
	"GET /chat/threads/ID/messages/ID":           {nil, of[Message]},
	"PATCH /chat/threads/ID/messages/ID":         {of[updateMessageRequest], nil},
	"DELETE /chat/threads/ID/messages/ID":        {},
	"GET /chat/threads/ID/participants":          {nil, of[pageJSON[Participant]]},
	"POST /chat/threads/ID/participants/:add":    {of[addParticipantsRequest], of[addParticipantsResult]},
	"POST /chat/threads/ID/participants/:remove": {of[communication.Identifier], nil},
	"POST /chat/threads/ID/readReceipts":         {of[sendReadReceiptRequest], nil},
	"GET /chat/threads/ID/readReceipts":          {nil, of[pageJSON[ReadReceipt]]},
	"POST /chat/threads/ID/typing":               {of[sendTypingNotificationRequest], nil},
}

func of[T any]() any { return new(T) }

// TestRecordings decodes every body of the recorded traffic into the model of its operation,
// encodes it again and compares the two as JSON values.
func TestRecordings(t *testing.T) {
	files, err := filepath.Glob("testdata/recordings/*.json")
	if err != nil {
		t.Fatal(err)
	}
	bodies := 0
	for _, file := range files {
		if why, ok := otherShapes[filepath.Base(file)]; ok {
			t.Errorf("%s is there, and is said not to be: %s", file, why)
		}
		for _, e := range readRecording(t, file).Exchanges {
			if !strings.HasPrefix(e.Request.Path, "/chat/") {
				continue // skip requests to the identity API, with which the recorded program created users
			}
			operation := e.Request.Method + " " + template(e.Request.Path)
			model, ok := models[operation]
			if !ok {
				t.Errorf("%s: no model for %s", file, operation)
				continue
			}
			bodies += roundTrip(t, file+": request of "+operation, model[0], e.Request.Body)
			bodies += roundTrip(t, file+": answer to "+operation, model[1], e.Response.Body)
		}
	}
	if len(files) != 26 || bodies < 60 {
		t.Errorf("%d recordings with %d bodies, want 26 with 60 or more", len(files), bodies)
	}
}

func readRecording(t testing.TB, file string) recording {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

// template returns the path of a request with every id replaced by "ID".
func template(path string) string {
	parts := strings.Split(path, "/")
	for i := 3; i < len(parts); i += 2 { // /chat/threads/ID/messages/ID
		if !strings.HasPrefix(parts[i], ":") {
			parts[i] = "ID"
		}
	}
	return strings.Join(parts, "/")
}

// roundTrip decodes body into a new value of model, encodes the value again and checks that the
// result equals body. It returns 1 if it compared the two, and 0 if body is empty or cannot be
// decoded.
func roundTrip(t *testing.T, where string, model func() any, body json.RawMessage) int {
	t.Helper()
	if len(body) == 0 || string(body) == "null" {
		return 0
	}
	if model == nil {
		t.Errorf("%s: has a body that no model reads: %s", where, body)
		return 0
	}
	v := model()
	if err := json.Unmarshal(body, v); err != nil {
		if strings.Contains(string(body), `"value": "`+sanitized) || strings.Contains(string(body), `"participants": "`+sanitized) {
			return 0 // the recorder replaced a list in this body with a word, so the body cannot be decoded
		}
		t.Errorf("%s: %v", where, err)
		return 0
	}
	again, err := json.Marshal(v)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return 0
	}
	got, want := value(t, again), value(t, body)
	if !reflect.DeepEqual(withoutKind(got), want) {
		t.Errorf("%s:\n got %s\nwant %s", where, again, body)
	}
	return 1
}

func value(t testing.TB, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// withoutKind removes the member kind from every identifier in v. The encoder writes kind, because
// the protocol requires it, but no recorded traffic has it (docs/contract/chat.md §2). No other
// difference is accepted.
func withoutKind(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["rawId"]; ok {
			delete(v, "kind")
		}
		for _, member := range v {
			withoutKind(member)
		}
	case []any:
		for _, element := range v {
			withoutKind(element)
		}
	}
	return v
}
