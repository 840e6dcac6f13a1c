package sse_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
)

// encoded returns the name and the JSON data of an event as the stream has them. It fails the
// test unless the message is two lines and the data conform to the AsyncAPI file.
func encoded(t *testing.T, e *gateway.Event) (event, data string) {
	t.Helper()
	lines := strings.Split(string(sse.AppendEvent(e, "8:acs:x_y")), "\n")
	if len(lines) != 4 || lines[2]+lines[3] != "" {
		t.Fatalf("the message has the lines %q", lines)
	}
	event, data = strings.TrimPrefix(lines[0], "event: "), strings.TrimPrefix(lines[1], "data: ")
	conform(t, event, data)
	return event, data
}

// TestDeletedByPolicy encodes the deletion of a thread by its retention policy and checks
// that deletedBy is null.
func TestDeletedByPolicy(t *testing.T) {
	h := &core.Happening{Event: core.Event{Thread: "19:a@thread.v2", Number: 3, Kind: core.ThreadDeleted, Version: 1604055050000, At: 1604055050001}}
	_, got := encoded(t, &gateway.Event{Happening: h})
	want := `{"recipient":"8:acs:x_y","threadId":"19:a@thread.v2","number":3,"version":"1604055050000","deletedOn":"2020-10-30T10:50:50.001Z","deletedBy":null,"reason":"deletedByPolicy"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestEventWithoutTime encodes an event without a time, as old versions of Confab stored them. It
// checks that the event's version, which is a time, is used as its time.
func TestEventWithoutTime(t *testing.T) {
	h := &core.Happening{Event: core.Event{Thread: "19:a@thread.v2", Number: 3, Kind: core.ParticipantsRemoved, Version: 1604055050000}}
	if _, got := encoded(t, &gateway.Event{Happening: h, Actor: core.MessageParticipant{User: "8:acs:x_y"}}); !strings.Contains(got, `"removedOn":"2020-10-30T10:50:50.000Z"`) || !strings.Contains(got, `"participantsRemoved":[]`) {
		t.Errorf("got %s", got)
	}
}

// TestEncodedOnce encodes an event for two users and checks that they share the encoded text,
// except for the recipient.
func TestEncodedOnce(t *testing.T) {
	h := &core.Happening{Event: core.Event{Thread: "19:a@thread.v2", Number: 1, Kind: core.ReceiptReceived, MessageID: 5, Version: 7, Actor: "8:acs:x_y"}}
	e := &gateway.Event{Happening: h}
	one := string(sse.AppendEvent(e, "8:acs:one"))
	h.MessageID = 6 // this change must have no effect, because the event was encoded before
	two := string(sse.AppendEvent(e, "8:acs:two"))
	if strings.Replace(one, "8:acs:one", "8:acs:two", 1) != two {
		t.Errorf("got %s\nand %s", one, two)
	}
}

// FuzzStrings encodes a message with any content. It checks that the result is one line of
// JSON from which a client decodes the same text, with U+FFFD for bytes that are not UTF-8.
func FuzzStrings(f *testing.F) {
	for _, s := range []string{"", "plain", "안녕 🎉 100% %41", "a\r\nb\rc\nd", "\u2028\u2029\u0085", "\xff\xfe\"\\\x00\x1f\x7f", "</script>\t", "\U0010ffff\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := sse.AppendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q is encoded as %s: %v", s, b, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
			t.Errorf("%q is decoded as %q", s, got)
		}
		m := &core.Message{ID: 1, Version: 1, Kind: core.Text, Content: s, Sender: "8:acs:x_y", SenderDisplayName: s, Metadata: map[string]string{s: s}}
		encoded(t, &gateway.Event{Happening: &core.Happening{Event: core.Event{Thread: "19:a@thread.v2", Number: 1, Kind: core.MessageReceived}, Message: m}})
		if strings.ContainsAny(string(b), "\r\n\u2028\u2029\u0085") && !strings.Contains(s, "\u0085") {
			t.Errorf("%q has a line break", b)
		}
	})
}
