package trouter

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// The times in the examples of docs/contract/realtime.md §13, in epoch milliseconds.
const (
	created = 1768446245678 // 2026-01-15T03:04:05.678Z
	minute  = 60_000
)

// examples returns the example bodies of docs/contract/realtime.md §13 by event id.
func examples(t *testing.T) map[int]map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../../docs/contract/realtime.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "Worked examples\n")
	if !ok {
		t.Fatal("the contract has no examples")
	}
	all := map[int]map[string]any{}
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)\n```").FindAllStringSubmatch(part, -1) {
		var v map[string]any
		if err := json.Unmarshal([]byte(m[1]), &v); err != nil {
			t.Fatal(err)
		}
		if id, ok := v["eventId"].(float64); ok {
			all[int(id)] = v
		}
	}
	return all
}

// exampleEvents returns the events that the examples of docs/contract/realtime.md §13
// describe, by event id.
func exampleEvents() map[int]*gateway.Event {
	const sender = "8:acs:R_B"
	event := func(kind core.EventKind, at int64) *gateway.Event {
		return &gateway.Event{Happening: &core.Happening{Event: core.Event{
			Kind: kind, Thread: "19:abc@thread.v2", Number: 3, Position: 7, Version: created, Actor: sender, At: at, MessageID: created,
		}}, Actor: core.MessageParticipant{User: sender, DisplayName: "Bob"}, CreatedOn: created}
	}
	message := func(kind core.EventKind, m core.Message) *gateway.Event {
		e := event(kind, created)
		m.ID, m.CreatedOn, m.Sender, m.Kind = created, created, sender, core.Text
		e.Happening.Message = &m
		return e
	}
	alice := core.Member{User: "8:acs:R_A", DisplayName: "Alice"}
	invited := alice
	invited.ShareHistory = 1604055050000
	es := map[int]*gateway.Event{
		200: message(core.MessageReceived, core.Message{Version: created, Content: "안녕 100% <b>", SenderDisplayName: "보낸이", Metadata: map[string]string{"k": "v"}}),
		247: message(core.MessageEdited, core.Message{Version: 1768446300000, Content: "edited", SenderDisplayName: "Bob", EditedOn: created + 54_322}),
		248: message(core.MessageDeleted, core.Message{Version: 1768446400000, SenderDisplayName: "Bob", DeletedOn: created + 154_322}),
		245: event(core.TypingReceived, created),
		246: event(core.ReceiptReceived, 1768446250000),
		257: event(core.ThreadCreated, created),
		258: event(core.ThreadUpdated, created+174_445),
		259: event(core.ThreadDeleted, created+234_322),
		260: event(core.ParticipantsAdded, created+294_322),
		261: event(core.ParticipantsRemoved, created+354_322),
	}
	es[245].DisplayName = "Bob"
	es[246].Version = 1768446250000
	es[257].Actor.DisplayName = "한글 100%"
	es[257].Members = []core.Member{{User: sender, DisplayName: "한글 100%", ShareHistory: 1604055050000, Metadata: map[string]string{"role": "x"}}, alice}
	es[257].Properties = core.Properties{Topic: "주제 50%", Metadata: map[string]string{"a": "1"}, RetentionDays: 90}
	es[258].Properties = core.Properties{Topic: "new topic"}
	es[260].Members = []core.Member{invited}
	es[261].Members = []core.Member{alice}
	return es
}

// packetOf returns the complete packet that brings an event to a user.
func packetOf(id uint64, e *gateway.Event, path, user string) []byte {
	return append(appendHead(nil, id, e, path, recipientField(user)), e.Encoded(gateway.Trouter, encode)...)
}

// TestExamples encodes the events that the worked examples of docs/contract/realtime.md §13
// describe, and compares every field with the examples. The test itself lists the intended
// differences.
func TestExamples(t *testing.T) {
	all := examples(t)
	events := exampleEvents()
	if len(all) != 10 || len(events) != 10 {
		t.Fatalf("%d examples and %d events, want ten", len(all), len(events))
	}
	for id, e := range events {
		want := all[id]
		// the examples in the documentation lack this field, which @azure/communication-chat 1.0.0
		// reads
		want["_eventId"] = want["eventId"]
		want["transactionId"] = "7"
		if want["collapseId"] = fmt.Sprint(int64(created)); id >= 257 || id == 245 {
			want["collapseId"] = ""
		}
		switch id {
		case 200, 247:
			want["attachments"] = "[]" // the message has no attachments
		case 246:
			// The version of a read receipt must be the time of reading, and a message's id is a
			// time. The example in the documentation has other values.
			want["messageBody"] = `{"user":"8:acs:R_B","consumptionhorizon":"1768446245678;1768446250000;0","messageVisibilityTime":1768446245678,"version":"1768446250000"}`
		case 257:
			// Unlike in the example, Confab sends shareHistoryTime 0 for the full history, and
			// leaves out partnerName and isMigrated, which only Microsoft's service has.
			want["members"] = strings.Replace(want["members"].(string), `"displayName":"Alice"`, `"displayName":"Alice","shareHistoryTime":0`, 1)
			want["properties"] = strings.Replace(want["properties"].(string), `,"partnerName":"spool","isMigrated":true`, "", 1)
		case 258:
			want["properties"] = `{"topic":"new topic","acsChatThreadMetadata":"null"}`
		case 261:
			want["participantsRemoved"] = strings.Replace(want["participantsRemoved"].(string), `"Alice"`, `"Alice","shareHistoryTime":0`, 1)
		}
		packet := packetOf(1001, e, "/v4/f/c/", "8:acs:R_A")
		var frame struct {
			ID      int
			Method  string
			URL     string
			Headers map[string]string
			Body    string
		}
		if err := json.Unmarshal(packet[len("3:::"):], &frame); err != nil {
			t.Fatalf("%d: %v\n%s", id, err, packet)
		}
		if frame.ID != 1001 || frame.Method != "POST" || frame.URL != "/v4/f/c/"+eventKinds[e.Kind].name || len(frame.Headers) != 3 {
			t.Errorf("%d: request %+v", id, frame)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(frame.Body), &got); err != nil {
			t.Fatalf("%d: %v\n%s", id, err, frame.Body)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", id, diff)
		}
		for _, s := range []string{"createdBy", "members", "properties", "editedBy", "addedBy"} {
			if text, _ := got[s].(string); strings.Contains(text, "%") {
				t.Errorf("%d: unescape would damage %s: %s", id, s, text)
			}
		}
	}
}

// TestEventVariants checks events and fields that the examples in the documentation lack: the type
// of an HTML message, empty metadata, a thread that its retention policy has deleted, and an event
// without a time.
func TestEventVariants(t *testing.T) {
	es := exampleEvents()
	es[200].Message.Kind, es[200].Message.Metadata = core.HTML, nil
	es[259].Actor, es[259].Happening.At = core.MessageParticipant{}, 0
	for id, want := range map[int]map[string]any{
		200: {"messageType": "RichText/Html", "acsChatMessageMetadata": "null"},
		259: {"reason": "deletedByPolicy", "deleteTime": "2026-01-15T03:04:05.678Z", "deletedBy": `{"participantId":"","displayName":""}`, "senderId": ""},
	} {
		var got map[string]any
		if err := json.Unmarshal(body(es[id]), &got); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(got, func(k string, _ any) bool { _, ok := want[k]; return !ok })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", id, diff)
		}
	}
}

// TestBodyIsEncodedOnce checks that the packets for two recipients of an event share the
// encoded body, and that each packet names its recipient correctly, whatever characters the id
// has.
func TestBodyIsEncodedOnce(t *testing.T) {
	e := exampleEvents()[200]
	shared := e.Encoded(gateway.Trouter, encode)
	for _, user := range []string{"8:acs:R_A", `8:orgid:a"b\c`} {
		packet := packetOf(1, e, "/", user)
		if !strings.HasSuffix(string(packet), string(shared)) {
			t.Errorf("%s does not end in the shared part", packet)
		}
		var frame struct{ Body string }
		var got struct{ RecipientID, RecipientMRI string }
		if err := json.Unmarshal(packet[4:], &frame); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(frame.Body), &got); err != nil {
			t.Fatal(err)
		}
		if got.RecipientMRI != user || "8:"+got.RecipientID != user {
			t.Errorf("recipient of %q: %+v", user, got)
		}
	}
}
