package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
)

func TestDecodeReadsWhatIsAliveAtTheVersion(t *testing.T) {
	body := []byte(` {"topic" : "a\u00e9\ud83d\ude00\/\n", "participants":[{"communicationIdentifier":{"rawId":"r","kind":"x",
		"communicationUser":{"id":"8:acs:a_b"}},"shareHistoryTime":"2021-09-07T21:44:01.25+02:00","displayName":null}],
		"metadata":{"a":"1","gone":null},"retentionPolicy":{"kind":"none"},"extra":{"deep":[1,-2.5e+3,true,false,null,"x",{}]}} `)
	for v, want := range map[apiver.Version]CreateChatThreadRequest{
		"2021-03-07": {
			Topic: "aé😀/\n",
			Participants: []ChatParticipant{{
				Identifier:       &CommunicationIdentifierModel{RawID: "r", CommunicationUser: &CommunicationUserIdentifierModel{ID: "8:acs:a_b"}},
				ShareHistoryTime: 1631043841250,
			}},
		},
		"2025-03-15": {
			Topic: "aé😀/\n",
			Participants: []ChatParticipant{{
				Identifier:       &CommunicationIdentifierModel{Kind: "x", RawID: "r", CommunicationUser: &CommunicationUserIdentifierModel{ID: "8:acs:a_b"}},
				ShareHistoryTime: 1631043841250,
			}},
			Metadata:        map[string]string{"a": "1"},
			RetentionPolicy: &ChatRetentionPolicy{Kind: "none"},
		},
	} {
		var got CreateChatThreadRequest
		if err := Decode(body, &got, v); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v, diff)
		}
	}
}

func TestDecodeTakesTheLaterOfTwoMembers(t *testing.T) {
	var got CreateChatThreadRequest
	body := `{"topic":"a","topic":"b","participants":[{"communicationIdentifier":{}},{"communicationIdentifier":{}}],"participants":[{"communicationIdentifier":{}}],"metadata":{"x":"1"},"metadata":null,
		"retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":60},"retentionPolicy":{"kind":"none"}}`
	if err := Decode([]byte(body), &got, "2025-03-15"); err != nil {
		t.Fatal(err)
	}
	want := CreateChatThreadRequest{Topic: "b", Participants: []ChatParticipant{{Identifier: new(CommunicationIdentifierModel)}}, RetentionPolicy: &ChatRetentionPolicy{Kind: "none"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeTellsEmptyFromAbsent(t *testing.T) {
	for body, want := range map[string][]string{`{}`: nil, `{"scopes":null}`: nil, `{"scopes":[]}`: {}, `null`: nil} {
		var got CommunicationIdentityAccessTokenRequest
		if err := Decode([]byte(body), &got, "2023-10-01"); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Scopes, want) {
			t.Errorf("%s gives %#v, want %#v", body, got.Scopes, want)
		}
	}
}

func TestDecodeNamesTheField(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxDepth) + "{}" + strings.Repeat("}", MaxDepth)
	for _, c := range []struct{ body, want string }{
		{``, "The request body is not valid JSON: it ends too early."},
		{`{`, "The request body is not valid JSON: it ends too early."},
		{`{"topic":"a"`, "The request body is not valid JSON: it ends too early."},
		{`{"topic":"a"} x`, "The request body has more after its end, at byte 14."},
		{"{}\x00", "The request body has more after its end, at byte 2."},
		{`{"topic":"a",}`, "The request body is not valid JSON at byte 13."},
		{`{"topic" "a"}`, "The request body is not valid JSON at byte 9."},
		{`{topic:1}`, "The request body is not valid JSON at byte 1."},
		{`[]`, "The request body must be an object."},
		{`"x"`, "The request body must be an object."},
		{`{"topic":5}`, "topic: must be a string"},
		{`{"topic":{"a":[]}}`, "topic: must be a string"},
		{`{"topic":nul}`, "topic: is not valid JSON at byte 9"},
		{`{"topic":"a`, "topic: is not valid JSON: it ends too early"},
		{"{\"topic\":\"a\nb\"}", "topic: is not valid JSON at byte 11"},
		{"{\"topic\":\"a\x00b\"}", "topic: is not valid JSON at byte 11"},
		{`{"topic":"a\u0000b"}`, "topic: must not contain the NUL character"},
		{"{\"topic\":\"a\xff\"}", "topic: is not valid UTF-8"},
		{"{\"topic\":\"\\n\xff\"}", "topic: is not valid UTF-8"},
		{`{"topic":"\ud800"}`, "topic: has half of a surrogate pair and so is not valid Unicode"},
		{`{"topic":"\ud800\u0041"}`, "topic: has half of a surrogate pair and so is not valid Unicode"},
		{`{"topic":"\udc00\ud800"}`, "topic: has half of a surrogate pair and so is not valid Unicode"},
		{`{"topic":"\x"}`, "topic: is not valid JSON at byte 10"},
		{`{"topic":"\u12g4"}`, "topic: is not valid JSON at byte 10"},
		{`{"topic":"\`, "topic: is not valid JSON: it ends too early"},
		{`{"extra":"\ud800"}`, "extra: has half of a surrogate pair and so is not valid Unicode"},
		{`{"extra":01}`, "The request body is not valid JSON at byte 10."},
		{`{"extra":-}`, "extra: is not valid JSON at byte 10"},
		{`{"extra":1.}`, "extra: is not valid JSON at byte 11"},
		{`{"extra":1e}`, "extra: is not valid JSON at byte 11"},
		{`{"participants":{}}`, "participants: must be a list"},
		{`{"participants":[{"communicationIdentifier":{}},null]}`, "participants[1]: must not be null"},
		{`{"participants":[{"communicationIdentifier":{}},[]]}`, "participants[1]: must be an object"},
		{`{"participants":[{"communicationIdentifier":{}}`, "participants: is not valid JSON: it ends too early"},
		{
			`{"participants":[{"communicationIdentifier":{}},{"communicationIdentifier":{"communicationUser":{"id":true}}}]}`,
			"participants[1].communicationIdentifier.communicationUser.id: must be a string",
		},
		{`{"participants":[{"communicationIdentifier":{"microsoftTeamsUser":{"isAnonymous":"no"}}}]}`,
			"participants[0].communicationIdentifier.microsoftTeamsUser.isAnonymous: must be true or false"},
		{`{"participants":[{}]}`, "participants[0].communicationIdentifier: is required"},
		{`{"participants":[{"communicationIdentifier":null}]}`, "participants[0].communicationIdentifier: is required"},
		{`{"participants":[{"shareHistoryTime":5}]}`, "participants[0].shareHistoryTime: must be a date such as 2021-09-07T21:44:01Z"},
		{`{"participants":[{"shareHistoryTime":"yesterday"}]}`, "participants[0].shareHistoryTime: must be a date such as 2021-09-07T21:44:01Z"},
		{`{"participants":[{"shareHistoryTime":"9999-12-31T23:59:59-01:00"}]}`, "participants[0].shareHistoryTime: must be a date before the year 10000"},
		{`{"metadata":[]}`, "metadata: must be an object of strings"},
		{`{"metadata":{"a":1}}`, "metadata.a: must be a string"},
		{`{"retentionPolicy":{"deleteThreadAfterDays":"60"}}`, "retentionPolicy.deleteThreadAfterDays: must be an integer"},
		{`{"retentionPolicy":{"deleteThreadAfterDays":60.5}}`, "retentionPolicy.deleteThreadAfterDays: must be an integer"},
		{`{"retentionPolicy":{"deleteThreadAfterDays":1e999}}`, "retentionPolicy.deleteThreadAfterDays: must be an integer"},
		{`{"retentionPolicy":{"deleteThreadAfterDays":99999999999999999999}}`, "retentionPolicy.deleteThreadAfterDays: must be an integer of 32 bits"},
		{`{"x":` + deep + `}`, "x" + strings.Repeat(".a", MaxDepth-1) + ": is nested deeper than 32 levels"},
		{`{"` + strings.Repeat("é", 100) + `":x}`, strings.Repeat("é", 32) + "…: is not valid JSON at byte 204"},
	} {
		var got CreateChatThreadRequest
		err := Decode([]byte(c.body), &got, "2025-03-15")
		if err == nil || err.Error() != c.want {
			t.Errorf("%.80s\ngot  %v\nwant %s", c.body, err, c.want)
		}
		if f := new(Error); !errors.As(err, &f) {
			t.Errorf("%.80s: %T is not an *Error", c.body, err)
		}
	}
}

// TestDecodePatch checks that Decode distinguishes absent, null and empty values in a
// JSON merge patch.
func TestDecodePatch(t *testing.T) {
	text := func(s string) *string { return &s }
	for body, want := range map[string]UpdateChatMessageRequest{
		`{}`:                                     {},
		`null`:                                   {},
		`{"content":null}`:                       {Content: text("")},
		`{"content":""}`:                         {Content: text("")},
		`{"metadata":null}`:                      {Metadata: Patch{}},
		`{"metadata":{}}`:                        {Metadata: Patch{}},
		`{"metadata":{"a":null,"b":""}}`:         {Metadata: Patch{"a": nil, "b": text("")}},
		`{"metadata":{"a":"1","a":null}}`:        {Metadata: Patch{"a": nil}},
		`{"metadata":{"a":null,"a":"1"}}`:        {Metadata: Patch{"a": text("1")}},
		`{"metadata":{"a":"1"},"metadata":null}`: {Metadata: Patch{}},
	} {
		var got UpdateChatMessageRequest
		if err := Decode([]byte(body), &got, "2021-09-07"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
	var policy UpdateChatThreadRequest
	if err := Decode([]byte(`{"topic":null,"retentionPolicy":null}`), &policy, "2025-03-15"); err != nil {
		t.Fatal(err)
	}
	days := int32(0)
	want := core.UpdateThread{RetentionDays: &days}
	if got, err := policy.ToCore(); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("got %+v, %v; want no retention and the topic as it was", got, err)
	}
}

func TestToCoreNamesTheField(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"participants":[{"communicationIdentifier":{}}]}`,
			"participants[0].communicationIdentifier: is no identifier: neither rawId nor a member such as communicationUser is present"},
		{`{"participants":[{"communicationIdentifier":{"communicationUser":{}}}]}`,
			"participants[0].communicationIdentifier: is no identifier: communicationUser.id is missing"},
		{`{"participants":[{"communicationIdentifier":{"communicationUser":{"id":"8:acs:a_b"},"phoneNumber":{"value":"+1"}}}]}`,
			"participants[0].communicationIdentifier: is no identifier: only one of the members [communicationUser phoneNumber] may be present"},
		{`{"retentionPolicy":{}}`, "retentionPolicy.kind: must be none or threadCreationDate"},
		{`{"retentionPolicy":{"kind":"threadCreationDate"}}`, "retentionPolicy.deleteThreadAfterDays: is required"},
	} {
		var in CreateChatThreadRequest
		if err := Decode([]byte(c.body), &in, "2025-03-15"); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ToCore(); err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.body, err, c.want)
		}
	}
}

// requests returns a new value of each request type. Each has a function that calls the method
// ToCore of such a value.
func requests() map[any]func(any) {
	return map[any]func(any){
		new(CreateChatThreadRequest):                 func(v any) { v.(*CreateChatThreadRequest).ToCore() },
		new(UpdateChatThreadRequest):                 func(v any) { v.(*UpdateChatThreadRequest).ToCore() },
		new(SendChatMessageRequest):                  func(v any) { v.(*SendChatMessageRequest).ToCore() },
		new(UpdateChatMessageRequest):                func(v any) { v.(*UpdateChatMessageRequest).ToCore() },
		new(AddChatParticipantsRequest):              func(v any) { v.(*AddChatParticipantsRequest).ToCore() },
		new(CommunicationIdentifierModel):            func(v any) { v.(*CommunicationIdentifierModel).ToCore() },
		new(SendReadReceiptRequest):                  func(any) {},
		new(SendTypingNotificationRequest):           func(any) {},
		new(CommunicationIdentityCreateRequest):      func(any) {},
		new(CommunicationIdentityAccessTokenRequest): func(any) {},
		new(TeamsUserExchangeTokenRequest):           func(any) {},
	}
}

// FuzzDecode checks that every body that Decode accepts is valid JSON, that Encode and Decode
// preserve the decoded value, and that each error is an *Error.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"topic":"a\u00e9\ud83d\ude00","participants":[{"communicationIdentifier":{"rawId":"4:+1","phoneNumber":{"value":"+1"}},"shareHistoryTime":"2021-09-07T21:44:01Z"}]}`,
		`{"metadata":{"a":"b","c":null},"retentionPolicy":{"kind":"none","deleteThreadAfterDays":-0}}`,
		`null`, `{"x":[1e9,-0.5,[[]]],"topic":null}`, `{"topic":"\ud800"}`, "{\"topic\":\"\xff\"}", `{"a":{"b":[`, ` { } `, `{"participants":[{}]}x`,
		`{"content":null,"metadata":null,"retentionPolicy":null,"chatMessageId":"1","senderDisplayName":"x","type":"html"}`,
		`{"communicationUser":{"id":"8:acs:a_b"},"scopes":["chat"],"expiresInMinutes":60}`, `{"participants":[{"id":"8:acs:a_b"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, v := range apiver.Chat.Versions() {
			for in, use := range requests() {
				if err := Decode(body, in, v); err != nil {
					var field *Error
					if !errors.As(err, &field) || !utf8.ValidString(field.Error()) {
						t.Fatalf("error %q is no *Error or not UTF-8", err)
					}
					continue
				}
				if !json.Valid(body) {
					t.Fatalf("accepted, but not JSON: %q", body)
				}
				use(in)
				once := Encode(nil, in, v)
				again := reflect.New(reflect.TypeOf(in).Elem()).Interface()
				if err := Decode(once, again, v); err != nil {
					t.Fatalf("%s does not come back: %v", once, err)
				}
				if twice := Encode(nil, again, v); !bytes.Equal(once, twice) {
					t.Fatalf("%s comes back as %s", once, twice)
				}
			}
		}
	})
}
