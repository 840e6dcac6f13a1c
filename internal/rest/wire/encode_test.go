package wire

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
)

func sample() core.Message {
	return core.Message{
		ID: 1653551972669, Sequence: 4, Version: 1653551972669, Kind: core.Text, CreatedOn: 1653551972669,
		Sender:  "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425",
		Content: "content", Metadata: map[string]string{"tags": "sometag"},
	}
}

// TestEncodeMessageAsRecorded checks that an encoded message has the members of the
// recorded one in docs/contract/chat.md §4.1, in the same order.
func TestEncodeMessageAsRecorded(t *testing.T) {
	m := sample()
	got := string(Encode(nil, MessageFromCore(&m), "2021-09-07"))
	want := `{"id":"1653551972669","type":"text","sequenceId":"4","version":"1653551972669",` +
		`"content":{"message":"content"},"senderDisplayName":"","createdOn":"2022-05-26T07:59:32Z",` +
		`"senderCommunicationIdentifier":{"rawId":"8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425",` +
		`"communicationUser":{"id":"8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425"}},` +
		`"metadata":{"tags":"sometag"}}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEncodeWritesWhatIsAliveAtTheVersion(t *testing.T) {
	m := sample()
	m.Kind, m.Sender = core.Text, "28:orgid:app"
	m.EditedOn, m.DeletedOn = 1653551973000, 1653551974999
	for v, want := range map[apiver.Version]string{
		"2021-03-07": `"content":{"message":"content"},"senderDisplayName":"","createdOn":"2022-05-26T07:59:32Z",` +
			`"senderCommunicationIdentifier":{"rawId":"28:orgid:app"},"deletedOn":"2022-05-26T07:59:34Z","editedOn":"2022-05-26T07:59:33Z"}`,
		"2025-03-15": `"content":{"message":"content","attachments":[]},"senderDisplayName":"","createdOn":"2022-05-26T07:59:32Z",` +
			`"senderCommunicationIdentifier":{"kind":"microsoftTeamsApp","rawId":"28:orgid:app","microsoftTeamsApp":{"appId":"app","cloud":"public"}},` +
			`"deletedOn":"2022-05-26T07:59:34Z","editedOn":"2022-05-26T07:59:33Z","metadata":{"tags":"sometag"}}`,
	} {
		_, got, _ := bytes.Cut(Encode(nil, MessageFromCore(&m), v), []byte(`"version":"1653551972669",`))
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", v, diff)
		}
	}
}

func TestIdentifierFromCoreOfEveryKind(t *testing.T) {
	for raw, want := range map[string]string{
		"8:acs:a_b":               `{"kind":"communicationUser","rawId":"8:acs:a_b","communicationUser":{"id":"8:acs:a_b"}}`,
		"4:+14255550123":          `{"kind":"phoneNumber","rawId":"4:+14255550123","phoneNumber":{"value":"+14255550123"}}`,
		"8:orgid:u":               `{"kind":"microsoftTeamsUser","rawId":"8:orgid:u","microsoftTeamsUser":{"userId":"u","isAnonymous":false,"cloud":"public"}}`,
		"8:teamsvisitor:v":        `{"kind":"microsoftTeamsUser","rawId":"8:teamsvisitor:v","microsoftTeamsUser":{"userId":"v","isAnonymous":true,"cloud":"public"}}`,
		"28:gcch:a":               `{"kind":"microsoftTeamsApp","rawId":"28:gcch:a","microsoftTeamsApp":{"appId":"a","cloud":"gcch"}}`,
		"8:acs:r_t_u":             `{"kind":"teamsExtensionUser","rawId":"8:acs:r_t_u","teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r","cloud":"public"}}`,
		"something:else:entirely": `{"kind":"unknown","rawId":"something:else:entirely"}`,
	} {
		m := IdentifierFromCore(raw)
		if got := string(Encode(nil, m, "2025-03-15")); got != want {
			t.Errorf("%s: got  %s\nwant %s", raw, got, want)
		}
		if id, err := m.ToCore(); err != nil || id.RawID() != raw {
			t.Errorf("%s comes back as %q, %v", raw, id, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	for want, in := range map[string]time.Time{
		"2022-08-04T09:14:50.630433+00:00": time.Date(2022, 8, 4, 9, 14, 50, 630_433_000, time.UTC),
		"2022-08-04T09:14:50+00:00":        time.Date(2022, 8, 4, 11, 14, 50, 0, time.FixedZone("", 7200)),
	} {
		if got := Expiry(in); got != want {
			t.Errorf("Expiry(%v) = %s, want %s", in, got, want)
		}
	}
}

// TestRecordedMessagesRoundTrip decodes and encodes recorded responses and checks that
// they are unchanged, including the order of members.
func TestRecordedMessagesRoundTrip(t *testing.T) {
	recorded, err := os.ReadFile(filepath.Join("testdata", "messages_2021-09-07.json"))
	if err != nil {
		t.Fatal(err)
	}
	var page struct { // the JSON form of ChatMessagesCollection, which is for responses only and cannot be decoded
		Value    []ChatMessage `json:"value"`
		NextLink string        `json:"nextLink,omitzero"`
	}
	if err := Decode(recorded, &page, "2021-09-07"); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, recorded); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(Encode(nil, &page, "2021-09-07"))); diff != "" {
		t.Errorf("(-recorded +ours):\n%s", diff)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "<div>&\"\\/", "\x00\x1f\x7f\b\f\n\r\t", "é\u2028\u2029😀", "\xff\xc3(", "\ufffd"} {
		f.Add(s)
	}
	for _, special := range []string{"\"", "\\", "\x1f", " ", "\x7f", "\x80", "é", "!#[]", "\x1f\x20", "\"\"", "\\]"} {
		for before := range 10 {
			f.Add(strings.Repeat("a", before) + special + strings.Repeat("b", 10))
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		if got := string(AppendString(nil, s)) + "\n"; got != want.String() {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want.String())
		}
	})
}

func BenchmarkEncodePage(b *testing.B) {
	ms := make([]core.Message, 100)
	for i := range ms {
		ms[i] = sample()
	}
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = Encode(dst[:0], &ChatMessagesCollection{Value: ms}, "2021-09-07")
	}
}

// TestStringSize checks that StringSize returns the number of bytes that AppendString appends,
// without the quotes.
func TestStringSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.RuneFrom([]rune("\x00\x01\b\f\n\r\t\"\\\x7f\u2027\u2028\u2029\u202aâ")))).Draw(t, "s")
		if got, want := StringSize(s), len(AppendString(nil, s))-2; got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	})
}
