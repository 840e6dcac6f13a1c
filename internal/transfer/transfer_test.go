package transfer

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

var update = flag.Bool("update", false, "write the golden file anew: only for a kind of line that no release has written yet")

const (
	a     = "19:aWuNSmqHe3jJOGl36l6DBhxQDcimoCzk5-N6HxAeDWI1@thread.v2"
	b     = "19:b@thread.v2"
	ann   = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425"
	bob   = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b426"
	gone  = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b427"
	t0    = 1653551970948
	made  = 1718000000000
	funny = "a line\nand <another> & \"quotes\" \\ \u2028 \U0001F600 \x01"
)

// golden has records of every kind, with all optional fields set and with none of them.
var golden = []core.Record{
	core.Resource{ID: "a5ba7870-ef05-4e2b-9901-7751faa29e20", Keys: [2]core.AccessKeyRow{
		{Serial: 1, Secret: []byte("the primary key of the golden file")}, {Serial: 7, Secret: []byte("the secondary key of the golden file")},
	}},
	core.User{ID: ann, State: core.UserLive, CustomID: "staff/" + funny, TokenIssuedAt: t0 + 3},
	core.User{ID: bob, State: core.UserDeleting, DeletedAt: t0 + 9, Generation: 2},
	core.User{ID: gone, State: core.UserDeleted, DeletedAt: t0, Generation: 3},
	core.Head{
		ID: a, Revision: 3,
		Properties: core.Properties{Topic: funny, CreatedBy: ann, CreatedOn: t0, DeletedOn: t0 + 99, Metadata: map[string]string{"b": "2", "a": "1", "": funny}, RetentionDays: 60},
		Counters:   core.Counters{LastID: t0 + 30, LastSequence: 5, LastEvent: 9, LastPosition: 9, LastMessageOn: t0 + 20},
	},
	core.Head{ID: b, Revision: 1},
	core.ThreadMember{Thread: a, Member: core.Member{
		User: ann, DisplayName: "Ann", ShareHistory: t0 - 1, JoinedOn: t0, Order: 1, Intervals: []core.Interval{{From: 1, To: 5}, {From: 9}}, Metadata: map[string]string{"role": "host"},
		RoleIDs: []string{"host", funny},
	}},
	core.ThreadMember{Thread: a, Member: core.Member{User: bob, JoinedOn: t0, Order: 2, Left: &core.Left{
		On: t0 + 5, Sequence: 2, Topic: "lunch", Metadata: map[string]string{"a": "1"}, RetentionDays: 60,
	}}},
	core.ThreadMember{Thread: b, Member: core.Member{User: ann}},
	core.ThreadMessage{Thread: a, Message: core.Message{
		Sequence: 1, ID: t0, Version: t0, Kind: core.ParticipantAdded, CreatedOn: t0, Initiator: ann,
		Participants: []core.MessageParticipant{{User: ann, DisplayName: "Ann"}, {User: bob, ShareHistory: 5}},
	}},
	core.ThreadMessage{Thread: a, Message: core.Message{Sequence: 2, ID: t0 + 1, Version: t0 + 1, Kind: core.TopicUpdated, CreatedOn: t0, Initiator: ann, Content: "lunch"}},
	core.ThreadMessage{Thread: a, Message: core.Message{Sequence: 3, ID: t0 + 2, Version: t0 + 2, Kind: core.Text, CreatedOn: t0 + 2, Sender: ann, Content: funny, Fingerprint: core.Fingerprint([]byte("sixteen bytes >?"))}},
	core.ThreadMessage{Thread: a, Message: core.Message{
		Sequence: 4, ID: t0 + 3, Version: t0 + 8, Kind: core.HTML, CreatedOn: t0 + 3, EditedOn: t0 + 7, DeletedOn: t0 + 8, Sender: bob, SenderDisplayName: "Bob",
		Metadata: map[string]string{"tags": "sometag"},
	}},
	core.ThreadMessage{Thread: a, Message: core.Message{
		Sequence: 5, ID: t0 + 9, Version: t0 + 9, Kind: core.ParticipantRemoved, CreatedOn: t0 + 9, Initiator: ann, Participants: []core.MessageParticipant{{User: bob}},
	}},
	core.ThreadSuperseded{Thread: a, Superseded: core.Superseded{Until: 3, Message: core.Message{
		Sequence: 2, ID: t0 + 2, Version: t0 + 8, Kind: core.Text, CreatedOn: t0 + 2, DeletedOn: t0 + 8, Sender: ann,
	}}},
	core.ThreadSuperseded{Thread: a, Superseded: core.Superseded{Until: 4, Message: core.Message{
		Sequence: 1, ID: t0 + 3, Version: t0 + 3, Kind: core.HTML, CreatedOn: t0 + 3, EditedOn: t0 + 4, Sender: bob, SenderDisplayName: "Bob",
		Content: "<b>as it was</b>", Metadata: map[string]string{"tags": "sometag"},
	}}},
	core.ThreadSuperseded{Thread: a, Superseded: core.Superseded{Until: 4, Message: core.Message{
		Sequence: 3, ID: t0 + 3, Version: t0 + 5, Kind: core.HTML, CreatedOn: t0 + 3, EditedOn: t0 + 5, Sender: bob, SenderDisplayName: "Bob", Content: "later",
	}}},
	core.ThreadAnswer{Thread: a, CreateAnswer: core.CreateAnswer{
		Topic: "lunch", CreatedBy: ann, CreatedOn: t0, Metadata: map[string]string{"a": "1"}, RetentionDays: 60,
		Invalid: []core.InvalidParticipant{{User: gone, Code: "404", Message: "Not found"}},
	}},
	core.ThreadAnswer{Thread: b},
	core.SentToken{SendKey: core.SendKey{Thread: a, Caller: ann, Token: "4147a30f"}, MessageID: t0 + 2},
	core.ThreadReceipt{Thread: a, Receipt: core.Receipt{User: bob, MessageID: t0 + 2, ReadOn: t0 + 4}},
	event(1, core.ThreadCreated, 0), event(2, core.MessageReceived, t0+2), event(3, core.MessageEdited, t0+3), event(4, core.MessageDeleted, t0+3),
	event(5, core.ReceiptReceived, t0+2), event(6, core.ThreadUpdated, t0+1), event(7, core.ParticipantsAdded, t0), event(8, core.ParticipantsRemoved, t0+9),
	event(9, core.ThreadDeleted, 0),
	core.Event{Day: 19138, Number: 10, Position: 10, Kind: core.TokensRevoked, Version: t0 + 10, Actor: ann, At: t0 + 10},
	core.Audit{
		AuditKey: core.AuditKey{At: t0 + 10, Number: 1 << 62}, Who: "uid 1000", Kind: core.AuditSocket, Role: "operator", From: "socket",
		Operation: "end tokens", Target: ann, Outcome: core.AuditDone, Status: 200, RequestID: "GZ3T.0",
	},
	core.Audit{
		AuditKey: core.AuditKey{At: t0, Number: 7}, Refused: true, Kind: core.AuditNobody, From: "192.0.2.1", Operation: "unknown", Target: funny, Outcome: "bad-secret", Status: 401,
	},
	core.Audit{AuditKey: core.AuditKey{At: t0, Number: 8}, Refused: true, Kind: core.AuditNobody, Operation: core.AuditMany, Outcome: "refused", Attempts: 900},
}

func event(n uint64, kind core.EventKind, message int64) core.Event {
	return core.Event{Thread: a, Day: 19138, Number: n, Position: n, Kind: kind, MessageID: message, Version: message, Actor: ann, At: t0 + int64(n)}
}

func write(t testing.TB, o Options, records []core.Record) []byte {
	t.Helper()
	var file bytes.Buffer
	w := NewWriter(&file, o)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// readAll reads records until io.EOF or the first error.
func readAll(file []byte) (records []core.Record, s Summary, err error) {
	r := NewReader(bytes.NewReader(file))
	for {
		record, err := r.Next()
		if err == io.EOF {
			return records, r.Summary(), nil
		}
		if err != nil {
			return records, Summary{}, err
		}
		records = append(records, record)
	}
}

// TestGolden checks that the export format has not changed: a Writer writes the golden records as
// the bytes of the golden file, and a Reader reads the records from that file.
func TestGolden(t *testing.T) {
	name := filepath.Join("testdata", "format6.jsonl")
	got := write(t, Options{Made: made, Keys: true}, golden)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the written file has changed (-golden +now):\n%s", diff)
	}
	records, s, err := readAll(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, records); diff != "" {
		t.Errorf("the golden file reads otherwise (-want +got):\n%s", diff)
	}
	if rows := (core.Counts{Users: 3, Threads: 2, Members: 3, Messages: 5, Superseded: 3, Answers: 2, Tokens: 1, Receipts: 1, Events: 10, Audit: 3}); s.Rows != rows {
		t.Errorf("rows %+v, want %+v", s.Rows, rows)
	}
}

// TestReadsOlderFormats reads the golden files of earlier formats. Before format 6 there are no
// audit rows. Before format 5 users have no custom ids and no times of tokens, participants no role
// ids, and messages no fingerprints. Before format 4 there are no superseded messages. Before
// format 3 members who have left have no metadata and no retention policy. In format 1 events have
// no time and users have no events.
func TestReadsOlderFormats(t *testing.T) {
	for format := 1; format < Format; format++ {
		file, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("format%d.jsonl", format)))
		if err != nil {
			t.Fatal(err)
		}
		records, _, err := readAll(file)
		if err != nil {
			t.Fatal(err)
		}
		var want []core.Record
		for _, r := range golden {
			switch row := r.(type) {
			case core.ThreadMember:
				if row.Left != nil && format < 3 {
					row.Left = &core.Left{On: row.Left.On, Sequence: row.Left.Sequence, Topic: row.Left.Topic}
				}
				if format < 5 {
					row.RoleIDs = nil
				}
				r = row
			case core.User:
				if format < 5 {
					row.CustomID, row.TokenIssuedAt = "", 0
				}
				r = row
			case core.ThreadMessage:
				if format < 5 {
					row.Fingerprint = core.Fingerprint{}
				}
				r = row
			case core.Audit:
				continue
			case core.ThreadSuperseded:
				if format < 4 {
					continue
				}
			case core.Event:
				if format == 1 && row.Kind.OfUser() {
					continue
				}
				if format == 1 {
					row.At = 0
				}
				r = row
			}
			want = append(want, r)
		}
		if diff := cmp.Diff(want, records); diff != "" {
			t.Errorf("the file of format %d reads otherwise (-want +got):\n%s", format, diff)
		}
	}
}

// TestPriorityComesAlong exports a message of each priority, and a superseded version with priority
// High. It checks that a Reader returns the priorities, and that the line of a message with
// priority Normal has no member "priority", as in exports of older versions.
func TestPriorityComesAlong(t *testing.T) {
	const thread = "19:a@thread.v2"
	high := core.Message{Sequence: 3, ID: t0, Version: t0 + 9, Kind: core.Text, High: true, CreatedOn: t0, Sender: ann, Content: "now"}
	older, normal := high, high
	older.Sequence, older.Version = 2, t0
	normal.Sequence, normal.ID, normal.High = 4, t0+1, false
	records := []core.Record{
		core.Resource{ID: "a5ba7870-ef05-4e2b-9901-7751faa29e20"},
		core.ThreadMessage{Thread: thread, Message: high}, core.ThreadMessage{Thread: thread, Message: normal},
		core.ThreadSuperseded{Thread: thread, Superseded: core.Superseded{Until: 3, Message: older}},
	}
	file := write(t, Options{}, records)
	if n := strings.Count(string(file), `"priority":"High"`); n != 2 || strings.Count(string(file), "priority") != 2 {
		t.Errorf("%d lines have a priority, want 2:\n%s", n, file)
	}
	got, _, err := readAll(file)
	if diff := cmp.Diff(records, got); diff != "" || err != nil {
		t.Errorf("the file reads otherwise (-want +got): %v\n%s", err, diff)
	}
}

// TestCloudComesAlong exports a resource of each cloud. It checks that a Reader returns the cloud,
// and that the line of a resource of the public cloud has no member "cloud", as in exports of older
// versions.
func TestCloudComesAlong(t *testing.T) {
	for cloud, member := range map[communication.Cloud]string{
		communication.CloudPublic: "", communication.CloudGCCH: `"cloud":"gcch"`, communication.CloudDoD: `"cloud":"dod"`,
	} {
		resource := core.Resource{ID: "a5ba7870-ef05-4e2b-9901-7751faa29e20", Cloud: cloud}
		file := write(t, Options{}, []core.Record{resource})
		if !bytes.Contains(file, []byte(member)) || member == "" && bytes.Contains(file, []byte("cloud")) {
			t.Errorf("the export of a resource of %s is %s", cloud, file)
		}
		records, _, err := readAll(file)
		if diff := cmp.Diff([]core.Record{resource}, records); diff != "" || err != nil {
			t.Errorf("read back (-want +got):\n%s%v", diff, err)
		}
	}
}

func TestKeysStayAtHome(t *testing.T) {
	file := write(t, Options{}, golden)
	if bytes.Contains(file, []byte(`"keys"`)) || bytes.Contains(file, []byte(`"secret"`)) {
		t.Error("the export holds access keys that nobody asked for")
	}
	records, _, err := readAll(file)
	if err != nil || len(records) != len(golden) {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if r := records[0].(core.Resource); len(r.Keys[0].Secret)+len(r.Keys[1].Secret) > 0 {
		t.Error("keys came from nowhere")
	}
}

// TestAnyAlteredByteIsRefused changes, removes, repeats and inserts each byte of an export, and
// cuts the export off at each byte. It checks that the Reader refuses each altered file.
func TestAnyAlteredByteIsRefused(t *testing.T) {
	file := write(t, Options{Made: made, Keys: true}, golden)
	lines := bytes.Count(file, []byte("\n"))
	refused := func(what string, at int, file []byte) {
		t.Helper()
		_, _, err := readAll(file)
		var e *Error
		if !errors.As(err, &e) || e.Line < 1 || e.Line > lines+1 {
			t.Fatalf("%s at byte %d: error %v, want one that names a line", what, at, err)
		}
	}
	for i := 0; i < len(file); i += 3 {
		flipped := bytes.Clone(file)
		flipped[i] ^= 1 << (i % 8)
		refused("flipped", i, flipped)
		if i%4 != 0 { // FuzzReader covers the other bytes
			continue
		}
		refused("cut", i, file[:i])
		refused("removed", i, append(bytes.Clone(file[:i]), file[i+1:]...))
		refused("doubled", i, append(bytes.Clone(file[:i+1]), file[i:]...))
		refused("a blank", i, append(append(bytes.Clone(file[:i]), ' '), file[i:]...))
	}
	refused("more behind", len(file), append(bytes.Clone(file), '\n'))
	refused("twice", len(file), append(bytes.Clone(file), file...))
}

// TestAlteredIsFoundBetweenTwoSums changes a text in a large export. It checks that the Reader's
// error names two lines: the last checksum before the change, and the first checksum after the
// change.
func TestAlteredIsFoundBetweenTwoSums(t *testing.T) {
	records := []core.Record{golden[0]}
	for n := range 3*sumEvery + 5 {
		records = append(records, core.User{ID: ann + string(rune('a'+n/26/26/26%26)) + string(rune('a'+n/26/26%26)) + string(rune('a'+n/26%26)) + string(rune('a'+n%26)), State: core.UserLive})
	}
	file := write(t, Options{}, records)
	if got := bytes.Count(file, []byte(`{"kind":"sum"`)); got != 3 {
		t.Errorf("%d checksum lines, want 3", got)
	}
	if got, _, err := readAll(file); err != nil || len(got) != len(records) {
		t.Fatalf("%d records, %v", len(got), err)
	}
	lines := bytes.SplitAfter(file, []byte("\n"))
	lines[sumEvery+50] = bytes.Replace(lines[sumEvery+50], []byte(`"live"`), []byte(`"deleted"`), 1)
	got, _, err := readAll(bytes.Join(lines, nil))
	const says = "line 20004: the checksum or the count does not fit: the file was altered between line 10004 and here"
	if err == nil || err.Error() != says || len(got) != 2*sumEvery+1 {
		t.Errorf("error %v after %d records, want %q", err, len(got), says)
	}
}

// TestReaderRefuses checks that the Reader refuses files with correct checksums but
// invalid content.
func TestReaderRefuses(t *testing.T) {
	resource := golden[0]
	user := func(id string) core.Record { return core.User{ID: id, State: core.UserLive} }
	message := func(thread string, sequence uint64, id int64) core.Record {
		return core.ThreadMessage{Thread: thread, Message: core.Message{Sequence: sequence, ID: id, Kind: core.Text}}
	}
	for _, tc := range []struct {
		name    string
		records []core.Record
		says    string
	}{
		{"nothing", nil, "line 2: the export names no resource"},
		{"no resource first", []core.Record{user("8:a")}, "line 2: the resource has to come first"},
		{"two resources", []core.Record{resource, core.Resource{ID: "zz"}}, "line 3: the line stands in the wrong place, or comes twice"},
		{"users twice", []core.Record{resource, user("8:a"), user("8:a")}, "line 4: the line stands in the wrong place"},
		{"users out of order", []core.Record{resource, user("8:b"), user("8:a")}, "line 4: the line stands"},
		{"kinds out of order", []core.Record{resource, golden[4], user("8:a")}, "line 4: the line stands"},
		{"messages out of order", []core.Record{resource, message("19:a", 2, 5), message("19:a", 1, 6)}, "line 4: the line stands"},
		{"a message without a place", []core.Record{resource, message("19:a", 0, 5)}, "line 3: sequence is out of range"},
		{"a message without an id", []core.Record{resource, message("19:a", 1, 0)}, "line 3: id is out of range"},
		{"a place too great", []core.Record{resource, message("19:a", 1<<63, 1)}, "line 3: sequence is out of range"},
		{"an empty id", []core.Record{resource, user("")}, "line 3: an id is missing"},
		{"an id with a NUL", []core.Record{resource, user("8:\x00")}, "line 3: an id holds a NUL character"},
		{"an event's thread with a NUL", []core.Record{resource, core.Event{Thread: "\x00", Number: 1, Position: 1, Kind: core.ThreadCreated}}, "line 3: an id holds a NUL"},
		{"a thread's event without a thread", []core.Record{resource, core.Event{Number: 1, Position: 1, Kind: core.ThreadCreated, Actor: ann}}, `line 3: thread "" does not go with event "threadCreated"`},
		{"a user's event with a thread", []core.Record{resource, core.Event{Thread: a, Number: 1, Position: 1, Kind: core.TokensRevoked, Actor: ann}}, "line 3: thread "},
		{"audit rows out of order", []core.Record{resource, core.Audit{AuditKey: core.AuditKey{At: 2}}, core.Audit{AuditKey: core.AuditKey{At: 1, Number: 9}}}, "line 4: the line stands"},
		{"an audit row without a time", []core.Record{resource, core.Audit{}}, "line 3: at is out of range"},
		{"a gap between events", []core.Record{resource, event(1, core.ThreadCreated, 0), event(3, core.ThreadCreated, 0)}, "line 4: the event has position 3 instead of 2"},
	} {
		got, _, err := readAll(write(t, Options{Keys: true}, tc.records))
		if err == nil || !strings.HasPrefix(err.Error(), tc.says) {
			t.Errorf("%s: %d records, error %v; want %q", tc.name, len(got), err, tc.says)
		}
	}
	for _, tc := range []struct{ name, file, says string }{
		{"an empty file", "", "line 1: the file is cut off"},
		{"another file", "hello\n", "line 1: this is not an export of Confab"},
		{"other JSON", "{\"confab\":\"backup\",\"format\":1}\n", "line 1: this is not an export"},
		{"a newer format", "{\"confab\":\"export\",\"format\":7,\"made\":1}\n", "line 1: the export was written by a newer version of Confab: its format is 7"},
		{"no format", "{\"confab\":\"export\"}\n", "line 1: there is no format 0"},
		{"not UTF-8", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n\xff\n", "line 2: the line is not UTF-8 text"},
		{"a kind that is not known", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n{\"kind\":\"story\"}\n", `line 2: lines of kind "story" are not known`},
		{"a field that is not known", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n{\"kind\":\"resource\",\"id\":\"x\",\"colour\":1}\n", "line 2: the line cannot be read: json: unknown field"},
		{"a priority that is not known", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n{\"kind\":\"message\",\"thread\":\"x\",\"id\":1,\"sequence\":1,\"type\":\"text\",\"priority\":\"Low\"}\n", `line 2: priority "Low" is not known`},
		{"a short fingerprint", "{\"confab\":\"export\",\"format\":5,\"made\":1}\n{\"kind\":\"message\",\"thread\":\"19:b\",\"sequence\":1,\"id\":1,\"version\":1,\"type\":\"text\",\"fingerprint\":\"AAAA\"}\n", "line 2: fingerprint has 3 bytes instead of 16"},
		{"two values", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n{\"kind\":\"resource\",\"id\":\"x\"}{}\n", "line 2: the line has more than one value"},
		{"one key", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n{\"kind\":\"resource\",\"id\":\"x\",\"keys\":[{}]}\n", "line 2: there are 1 keys instead of 2"},
		{"a line without end", "{\"confab\":\"export\",\"format\":1,\"made\":1}\n" + strings.Repeat(" ", maxLine+1<<17), "line 2: the line is longer than"},
	} {
		_, _, err := readAll([]byte(tc.file))
		if err == nil || !strings.HasPrefix(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.says)
		}
	}
}

// TestWriterRefuses checks that the Writer refuses records of an unknown kind, and records with
// text that JSON would alter.
func TestWriterRefuses(t *testing.T) {
	for _, tc := range []struct {
		record core.Record
		says   string
	}{
		{core.Head{ID: "19:a", Properties: core.Properties{Topic: "\xff"}}, `"thread 19:a" holds text that is not UTF-8`},
		{core.Head{ID: "19:a", Properties: core.Properties{Metadata: map[string]string{"\xff": ""}}}, "not UTF-8"},
		{core.ThreadMessage{Thread: "19:a", Message: core.Message{ID: 5, Kind: 99}}, `"message 5 of thread 19:a" is of a kind`},
		{core.User{ID: "8:a", State: 9}, "is of a kind"},
	} {
		if err := NewWriter(io.Discard, Options{}).Write(tc.record); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: error %v, want %q", tc.record, err, tc.says)
		}
	}
	full := errors.New("the disk is full")
	w := NewWriter(failing{full}, Options{})
	for range 10_000 {
		w.Write(golden[4])
	}
	if _, err := w.Close(); !errors.Is(err, full) {
		t.Errorf("close after a failed write: %v, want %v", err, full)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzReader reads arbitrary bytes. It checks that the Reader does not panic, and that if it
// accepts a file, the Writer writes the same bytes for the file's records.
func FuzzReader(f *testing.F) {
	file := write(f, Options{Made: made, Keys: true}, golden)
	f.Add(file)
	for _, line := range bytes.SplitAfter(file, []byte("\n")) {
		f.Add(line)
	}
	f.Add(write(f, Options{}, golden[:2]))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, _, err := readAll(text); err == nil {
			// Go's fuzzer ends a run whose input takes ten seconds, so not every byte is altered here.
			alter(t, text, len(text)/100+1)
		}
		// Correct the checksums, so that the fuzzer gets past them and tests the other checks.
		repaired := repair(text)
		if _, _, err := readAll(repaired); err == nil && !bytes.HasSuffix(text, repaired) {
			if _, _, err := readAll(append(repaired, ' ')); err == nil {
				t.Error("a byte behind the end was accepted")
			}
		}
	})
}

// TestAlteredBytes makes copies of an export, each with one altered byte; it alters every seventh
// byte. It checks that the Reader refuses each copy.
func TestAlteredBytes(t *testing.T) {
	alter(t, write(t, Options{Made: made, Keys: true}, golden), 7)
}

// alter takes a file that the Reader has accepted, and makes copies with one altered byte each.
// It alters every byte whose index is a multiple of step, and checks that the Reader refuses each
// copy.
func alter(t *testing.T, text []byte, step int) {
	t.Helper()
	for i := 0; i < len(text); i += step {
		altered := bytes.Clone(text)
		altered[i] ^= 1
		if _, _, err := readAll(altered); err == nil {
			t.Fatalf("byte %d was altered and the file accepted", i)
		}
	}
}

// repair returns an export with the lines of text, in which the checksums are correct.
func repair(text []byte) []byte {
	var out bytes.Buffer
	w := NewWriter(&out, Options{})
	for line := range bytes.Lines(text) {
		kind, err := kindOf(line)
		if err != nil {
			continue
		}
		record, err := decode(kind, bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			continue
		}
		if w.Write(record) != nil {
			break
		}
	}
	w.Close()
	return out.Bytes()
}
