package pebble

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

var update = flag.Bool("update", false, "write the golden rows again: only for a kind that no release has written yet")

const (
	goldenThread = "19:aWuNSmqHe3jJOGl36l6DBhxQDcimoCzk5-N6HxAeDWI1@thread.v2"
	goldenUser   = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425"
	goldenOther  = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b426"
)

var (
	goldenHead = core.Head{
		ID: goldenThread, Revision: 3,
		Properties: core.Properties{Topic: "lünch", CreatedBy: goldenUser, CreatedOn: 1653551970948, DeletedOn: 1653551999999, Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 60},
		Counters:   core.Counters{LastID: 1653551972669, LastSequence: 4, LastEvent: 2, LastPosition: 900, LastMessageOn: 1653551972600},
	}
	goldenMember = core.Member{
		User: goldenUser, DisplayName: "Ann", ShareHistory: 1653551970000, JoinedOn: 1653551970948, Order: 1,
		Intervals: []core.Interval{{From: 1, To: 5}, {From: 9}}, Metadata: map[string]string{"role": "host"},
		Left: &core.Left{On: 1653551972600, Sequence: 4, Topic: "lünch"},
	}
	goldenLeft = core.Member{
		User: goldenUser, JoinedOn: 1653551970948, Order: 1, Intervals: []core.Interval{{From: 1, To: 5}},
		Left: &core.Left{On: 1653551972600, Sequence: 4, Topic: "lünch", Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 60},
	}
	goldenMessage = core.Message{
		ID: 1653551972669, Sequence: 4, Version: 1653551972700, Kind: core.HTML, CreatedOn: 1653551972668, EditedOn: 1653551972690, DeletedOn: 1653551972699,
		Sender: goldenUser, SenderDisplayName: "Ann", Content: "<b>content</b>", Metadata: map[string]string{"tags": "sometag"},
	}
	goldenSent = core.Message{
		ID: 1653551972669, Sequence: 4, Version: 1653551972669, Kind: core.Text, CreatedOn: 1653551972668,
		Fingerprint: core.Fingerprint([]byte("sixteen bytes >?")), Sender: goldenUser, Content: "content",
	}
	goldenSystem = core.Message{
		ID: 1653551970948, Sequence: 1, Version: 1653551970948, Kind: core.ParticipantAdded, CreatedOn: 1653551970948, Initiator: goldenUser,
		Participants: []core.MessageParticipant{{User: goldenUser, DisplayName: "Ann"}, {User: goldenOther, ShareHistory: 5}},
	}
	goldenKept     = core.ThreadSuperseded{Thread: goldenThread, Superseded: core.Superseded{Message: goldenMessage, Until: 9}}
	goldenKeptAt   = core.ThreadSuperseded{Thread: goldenThread, Superseded: core.Superseded{Message: core.Message{ID: goldenMessage.ID, Sequence: goldenMessage.Sequence}, Until: 9}}
	goldenEvent    = core.Event{Thread: goldenThread, Day: 19138, Number: 2, Position: 900, Kind: core.MessageReceived, MessageID: 1653551972669, Version: 1653551972669, Actor: goldenUser}
	goldenAnswer   = &core.CreateAnswer{Topic: "lünch", CreatedBy: goldenUser, CreatedOn: 1653551970948, Metadata: map[string]string{"a": "1"}, RetentionDays: 60, Invalid: []core.InvalidParticipant{{User: goldenOther, Code: "404", Message: "Not found"}}}
	goldenGone     = core.User{ID: goldenUser, State: core.UserDeleted, DeletedAt: 1653551999999, Generation: 2}
	goldenErased   = core.User{ID: goldenUser, State: core.UserDeleting, DeletedAt: 1653551999999, Generation: 2, ErasedTo: goldenThread}
	goldenNamed    = core.User{ID: goldenUser, State: core.UserLive, Generation: 2, CustomID: "staff/ünal", TokenIssuedAt: 1653551999999}
	goldenReceipt  = core.Receipt{User: goldenUser, MessageID: 1653551972669, ReadOn: 1653551980000}
	goldenEndpoint = core.Endpoint{User: goldenUser, ID: "5d0b4c3e-8f5f-4f0a-9d3a-2f1f5f0c9d11", At: core.Cursor{Epoch: "7d9a", Position: 900, Check: 4_000_000_000}, Seen: 1653551999999}
	goldenAudit    = core.Audit{
		AuditKey: core.AuditKey{At: 1653551999999, Number: 7<<32 + 1}, Refused: true, Who: "uid 1000", Kind: core.AuditSocket, Role: "operator", From: "socket",
		Operation: "rotate key", Target: "primary", Outcome: "configured", Status: 409, RequestID: "GZ3T.0", Attempts: 3,
	}
	goldenKey = core.AccessKeyRow{Serial: 7, Secret: []byte("a secret of the golden rows only")}
)

// goldenRows has one row of each kind: its key and value, the function that decodes the value,
// and the decoded value.
var goldenRows = []struct {
	name       string
	key, value []byte
	read       func(value []byte) (any, error)
	want       any
}{
	{"meta-schema", metaKey(metaSchema), encodeNumber(nil, 1), func(v []byte) (any, error) { return decodeNumber(v) }, uint64(1)},
	{"meta-resource", metaKey(metaResource), encodeText(nil, "a5ba7870-ef05-4e2b-9901-7751faa29e20"), func(v []byte) (any, error) { return decodeText(v) }, "a5ba7870-ef05-4e2b-9901-7751faa29e20"},
	{"meta-epoch", metaKey(metaEpoch), encodeText(nil, "7d9a"), func(v []byte) (any, error) { return decodeText(v) }, "7d9a"},
	{"access-key", keyKey(1), encodeKey(nil, goldenKey), func(v []byte) (any, error) { return decodeKey(v) }, goldenKey},
	{"user", userKey(goldenUser), encodeUser(nil, goldenGone), func(v []byte) (any, error) { return decodeUser(goldenUser, v) }, goldenGone},
	{"user-2", userKey(goldenUser), encodeUser(nil, goldenErased), func(v []byte) (any, error) { return decodeUser(goldenUser, v) }, goldenErased},
	{"user-3", userKey(goldenUser), encodeUser(nil, goldenNamed), func(v []byte) (any, error) { return decodeUser(goldenUser, v) }, goldenNamed},
	{"custom-id", customIDs.key(nil, &goldenNamed), customIDs.schema.Encode(nil, &goldenNamed), func(v []byte) (any, error) {
		u, err := customIDs.schema.Decode(v, core.User{CustomID: goldenNamed.CustomID})
		return u.ID, err
	}, goldenUser},
	{"head", headKey(nil, goldenThread), encodeHead(nil, &goldenHead), func(v []byte) (any, error) { return decodeHead(goldenThread, v) }, goldenHead},
	{"member", memberKey(nil, goldenThread, goldenUser), encodeMember(nil, &goldenMember), func(v []byte) (any, error) { return decodeMember(goldenUser, v) }, goldenMember},
	{"member-2", memberKey(nil, goldenThread, goldenUser), encodeMember(nil, &goldenLeft), func(v []byte) (any, error) { return decodeMember(goldenUser, v) }, goldenLeft},
	{"message", messageKey(nil, goldenThread, 4), encodeMessage(nil, &goldenMessage), func(v []byte) (any, error) { return decodeMessage(4, v) }, goldenMessage},
	{"message-2", messageKey(nil, goldenThread, 4), encodeMessage(nil, &goldenSent), func(v []byte) (any, error) { return decodeMessage(4, v) }, goldenSent},
	{"message-system", messageKey(nil, goldenThread, 1), encodeMessage(nil, &goldenSystem), func(v []byte) (any, error) { return decodeMessage(1, v) }, goldenSystem},
	{"message-id", idKey(nil, goldenThread, goldenMessage.ID), encodeNumber(nil, 4), func(v []byte) (any, error) { return decodeNumber(v) }, uint64(4)},
	{"superseded", superseded.key(nil, &goldenKept), superseded.schema.Encode(nil, &goldenKept), func(v []byte) (any, error) {
		return superseded.schema.Decode(v, core.ThreadSuperseded{Thread: goldenThread, Superseded: core.Superseded{Message: core.Message{ID: goldenMessage.ID, Sequence: goldenMessage.Sequence}}})
	}, goldenKept},
	{"superseded-at", supersededAt.key(nil, &goldenKeptAt), supersededAt.schema.Encode(nil, &goldenKeptAt), func(v []byte) (any, error) {
		return supersededAt.schema.Decode(v, core.ThreadSuperseded{Thread: goldenThread, Superseded: core.Superseded{Message: core.Message{Sequence: goldenMessage.Sequence}}})
	}, goldenKeptAt},
	{"answer", answerKey(nil, goldenThread), encodeAnswer(nil, goldenAnswer), func(v []byte) (any, error) { return decodeAnswer(v) }, goldenAnswer},
	{"sent", sentKey(nil, core.SendKey{Thread: goldenThread, Caller: goldenUser, Token: "4147a30f"}), encodeNumber(nil, 1653551972669), func(v []byte) (any, error) { return decodeNumber(v) }, uint64(1653551972669)},
	{"receipt", receiptKey(nil, goldenThread, goldenUser), encodeReceipt(nil, &goldenReceipt), func(v []byte) (any, error) { return decodeReceipt(goldenUser, v) }, goldenReceipt},
	{"deleting", deletingKey(goldenUser), encodeEntry(nil), func(v []byte) (any, error) { return decodeEntry(v) }, struct{}{}},
	{"ending", expiryKey(goldenMessage.CreatedOn, goldenThread), encodeEntry(nil), func(v []byte) (any, error) { return decodeEntry(v) }, struct{}{}},
	{"listing", listKey(nil, goldenUser, 27559199, goldenThread), encodeEntry(nil), func(v []byte) (any, error) { return decodeEntry(v) }, struct{}{}},
	{"event", eventKey(nil, goldenEvent.Day, goldenThread, 2), encodeEvent(nil, &goldenEvent), func(v []byte) (any, error) { return decodeEvent(goldenEvent.Day, goldenThread, 2, v) }, goldenEvent},
	{"endpoint", endpoints.key(nil, &goldenEndpoint), endpoints.schema.Encode(nil, &goldenEndpoint), func(v []byte) (any, error) {
		return endpoints.schema.Decode(v, core.Endpoint{User: goldenEndpoint.User, ID: goldenEndpoint.ID})
	}, goldenEndpoint},
	{"audit", audits.key(nil, &goldenAudit), audits.schema.Encode(nil, &goldenAudit), func(v []byte) (any, error) {
		return audits.schema.Decode(v, core.Audit{AuditKey: goldenAudit.AuditKey, Refused: true})
	}, goldenAudit},
	{"position", positionKey(nil, goldenEvent.Day, 900), encodePosition(nil, &goldenEvent), func(v []byte) (any, error) {
		thread, number, err := decodePosition(v)
		return fmt.Sprint(thread, " ", number), err
	}, goldenThread + " 2"},
}

// TestGoldenRows encodes one row of each kind and compares it with the golden file, and decodes
// the golden value. It fails if the format on disk changes by mistake.
func TestGoldenRows(t *testing.T) {
	for _, row := range goldenRows {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join("testdata", "rows", row.name+".hex")
			got := "key\n" + hex.Dump(row.key) + "value\n" + hex.Dump(row.value)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before, dump, _ := strings.Cut(string(golden), "value\n")
			value := undump(t, dump)
			if value[0] != row.value[0] { // the golden value has an older format, so only the keys must be equal
				got, _, _ = strings.Cut(got, "value\n")
				golden = []byte(before)
			}
			if diff := cmp.Diff(string(golden), got); diff != "" {
				t.Errorf("the row differs from the golden file (-golden +got):\n%s", diff)
			}
			back, err := row.read(value)
			if err != nil {
				t.Fatalf("read the golden value: %v", err)
			}
			if diff := cmp.Diff(row.want, back); diff != "" {
				t.Errorf("the decoded golden value (-want +got):\n%s", diff)
			}
		})
	}
}

// undump returns the bytes that hex.Dump printed as dump.
func undump(t *testing.T, dump string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(dump) {
		digits := strings.ReplaceAll(line[8:60], " ", "")
		b, err := hex.DecodeString(strings.TrimSpace(strings.TrimRight(digits, "|")))
		if err != nil {
			t.Fatalf("golden line %q: %v", line, err)
		}
		out = append(out, b...)
	}
	return out
}
