package row

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

var update = flag.Bool("update", false, "write missing golden values: only for a format that no release has written yet")

const (
	thread = "19:aWuNSmqHe3jJOGl36l6DBhxQDcimoCzk5-N6HxAeDWI1@thread.v2"
	ann    = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425"
	bob    = "8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b426"
)

// sample is an example of a row of one kind, encoded in one format of that kind.
type sample struct {
	kind, name string
	format     byte
	newest     byte   // the newest format of the kind
	value      []byte // the row as this version encodes it
	read       func(value []byte) (any, error)
	again      func(value []byte) ([]byte, error) // decodes a value and encodes the row again
	want       any
}

// of returns a sample of a kind in this format. want is the row that decoding must return; the
// fields of its key are empty, because the encoded value does not contain them.
func of[T any](k *Kind[T], name string, format byte, want T) sample {
	return sample{
		kind: k.Name, name: name, format: format, newest: k.format, value: k.Encode(nil, &want), want: want,
		read: func(value []byte) (any, error) {
			var key T
			return k.Decode(value, key)
		},
		again: func(value []byte) ([]byte, error) {
			var key T
			r, err := k.Decode(value, key)
			return k.Encode(nil, &r), err
		},
	}
}

// samples has at least one sample for each format of each kind of row.
var samples = []sample{
	of(User, "user", 1, core.User{State: core.UserDeleted, DeletedAt: 1653551999999, Generation: 2}),
	of(User, "user", 2, core.User{State: core.UserDeleting, DeletedAt: 1653551999999, Generation: 2, ErasedTo: thread}),
	of(User, "user", 3, core.User{State: core.UserLive, Generation: 2, CustomID: "staff/ünal", TokenIssuedAt: 1653551999999}),
	of(Head, "head", 1, core.Head{
		Revision:   3,
		Properties: core.Properties{Topic: "lünch", CreatedBy: ann, CreatedOn: 1653551970948, DeletedOn: 1653551999999, Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 60},
		Counters:   core.Counters{LastID: 1653551972669, LastSequence: 4, LastEvent: 2, LastPosition: 900, LastMessageOn: 1653551972600},
	}),
	of(Head, "head", 2, core.Head{Revision: 3, Properties: core.Properties{Topic: "lünch", CreatedBy: ann, CreatedOn: 1653551970948}}),
	of(Member, "member", 1, core.Member{
		DisplayName: "Ann", ShareHistory: 1653551970000, JoinedOn: 1653551970948, Order: 1,
		Intervals: []core.Interval{{From: 1, To: 5}, {From: 9}}, Metadata: map[string]string{"role": "host"},
	}),
	of(Member, "member-left", 1, core.Member{Intervals: []core.Interval{}, Left: &core.Left{On: 1653551972600, Sequence: 4, Topic: "lünch"}}),
	of(Member, "member-left", 2, core.Member{
		Intervals: []core.Interval{},
		Left:      &core.Left{On: 1653551972600, Sequence: 4, Topic: "lünch", Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 60},
	}),
	of(Member, "member", 2, core.Member{DisplayName: "Ann", JoinedOn: 1653551970948, Order: 1, Intervals: []core.Interval{{From: 1}}}),
	of(Member, "member-roles", 2, core.Member{
		DisplayName: "Ann", JoinedOn: 1653551970948, Order: 1, Intervals: []core.Interval{{From: 1}},
		Metadata: map[string]string{"role": "host"}, RoleIDs: []string{"host", "guide"},
	}),
	of(Member, "member-role", 2, core.Member{Intervals: []core.Interval{}, RoleIDs: []string{"host"}}),
	of(Message, "message", 1, core.Message{
		ID: 1653551972669, Version: 1653551972700, Kind: core.HTML, CreatedOn: 1653551972668, EditedOn: 1653551972690, DeletedOn: 1653551972699,
		Sender: ann, SenderDisplayName: "Ann", Content: "<b>content</b>", Metadata: map[string]string{"tags": "sometag"},
	}),
	of(Message, "message", 2, core.Message{
		ID: 1653551972669, Version: 1653551972700, Kind: core.HTML, CreatedOn: 1653551972668, EditedOn: 1653551972690,
		Fingerprint: core.Fingerprint([]byte("sixteen bytes >?")), Sender: ann, SenderDisplayName: "Ann", Content: "<b>content</b>",
	}),
	of(Message, "message", 3, core.Message{
		ID: 1653551972669, Version: 1653551972700, Kind: core.HTML, CreatedOn: 1653551972668, EditedOn: 1653551972690,
		Fingerprint: core.Fingerprint([]byte("sixteen bytes >?")), Sender: ann, SenderDisplayName: "Ann", Content: "<b>content</b>",
	}),
	of(Message, "message-stranger", 3, core.Message{ID: 1653551972669, Version: 1653551972669, Kind: core.Text, CreatedOn: 1653551972669, Sender: "4:+15551234567", Content: "content"}),
	of(Message, "message-plain", 2, core.Message{ID: 1653551972669, Version: 1653551972669, Kind: core.Text, CreatedOn: 1653551972669, Sender: ann, Content: "content"}),
	of(Message, "message-system", 1, core.Message{
		ID: 1653551970948, Version: 1653551970948, Kind: core.ParticipantAdded, CreatedOn: 1653551970948, Initiator: ann,
		Participants: []core.MessageParticipant{{User: ann, DisplayName: "Ann"}, {User: bob, ShareHistory: -5}},
	}),
	of(Message, "message-high", 1, core.Message{
		ID: 1653551972669, Version: 1653551972669, Kind: core.Text, High: true, CreatedOn: 1653551972669, Sender: ann, Content: "content",
	}),
	of(ThreadSuperseded, "superseded", 1, core.ThreadSuperseded{Superseded: core.Superseded{Until: 9, Message: core.Message{
		Version: 1653551972700, Kind: core.HTML, CreatedOn: 1653551972668, EditedOn: 1653551972690, DeletedOn: 1653551972699,
		Sender: ann, SenderDisplayName: "Ann", Content: "<b>content</b>", Metadata: map[string]string{"tags": "sometag"},
	}}}),
	of(SupersededAt, "superseded-at", 1, core.ThreadSuperseded{Superseded: core.Superseded{Until: 9, Message: core.Message{ID: 1653551972669}}}),
	of(Answer, "answer", 1, core.CreateAnswer{
		Topic: "lünch", CreatedBy: ann, CreatedOn: 1653551970948, Metadata: map[string]string{"a": "1"}, RetentionDays: 60,
		Invalid: []core.InvalidParticipant{{User: bob, Code: "404", Message: "Not found"}},
	}),
	of(SentToken, "send-token", 1, core.SentToken{MessageID: 1653551972669}),
	of(Receipt, "receipt", 1, core.Receipt{MessageID: 1653551972669, ReadOn: 1653551980000}),
	of(Event, "event", 1, core.Event{Position: 900, Kind: core.MessageReceived, MessageID: 1653551972669, Version: 1653551972669, Actor: ann}),
	of(Event, "event", 2, core.Event{Position: 900, Kind: core.MessageReceived, MessageID: 1653551972669, Version: 1653551972669, Actor: ann, At: 1653551972600, Check: 4_000_000_000}),
	of(Event, "event", 3, core.Event{Position: 900, Kind: core.MessageReceived, MessageID: 1653551972669, Version: 1653551972669, Actor: ann, At: 1653551972600, Check: 4_000_000_000}),
	of(Endpoint, "endpoint", 1, core.Endpoint{At: core.Cursor{Epoch: "7d9a", Position: 900, Check: 4_000_000_000}, Seen: 1653551999999}),
	of(Endpoint, "endpoint", 2, core.Endpoint{
		At: core.Cursor{Epoch: "7d9a", Position: 900, Check: 4_000_000_000}, Seen: 1653551999999, Answered: []uint64{902, 1 << 40}, Owner: "b1", Open: true,
	}),
	of(Audit, "audit", 1, core.Audit{
		Who: "uid 1000", Kind: core.AuditSocket, Role: "operator", From: "socket", Operation: "rotate key", Target: "primary",
		Outcome: "configured", Status: 409, RequestID: "GZ3T.0", Attempts: 3,
	}),
	of(ListEntry, "list-entry", 1, core.ListMove{}),
	of(Relisting, "relisting", 1, core.Relisting{From: 27559199, To: 27559200, Through: ann}),
	of(Position, "position", 1, core.Event{Thread: thread, Number: 2}),
	of(Position, "position", 2, core.Event{Thread: thread, Number: 2}),
	of(Position, "position-random", 2, core.Event{Thread: "19:0123456789abcdef0123456789abcdef@thread.v2", Number: 2}),
	of(AccessKey, "access-key", 1, core.AccessKeyRow{Serial: 7, Secret: []byte("a secret of the golden rows only")}),
	of(Floor, "floor", 1, core.Cursor{Position: 900, Check: 4_000_000_000}),
	of(Number, "number", 1, 1653551972669),
	of(Text, "text", 1, "a5ba7870-ef05-4e2b-9901-7751faa29e20"),
	of(MessageID, "number", 1, core.ThreadMessage{Message: core.Message{Sequence: 1653551972669}}),
	of(Deleting, "entry", 1, core.User{}),
	of(CustomID, "custom-id", 1, core.User{ID: ann}),
	of(Expiry, "entry", 1, core.Expiry{}),
}

// TestGoldenValues compares each sample with the bytes in its golden file. Decoding these bytes
// must return the row. If the format is the kind's newest, encoding the row must return the
// same bytes.
func TestGoldenValues(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			file := filepath.Join("testdata", "values", fmt.Sprintf("%s.%d.hex", s.name, s.format))
			if _, err := os.Stat(file); *update && errors.Is(err, os.ErrNotExist) {
				if err := os.WriteFile(file, []byte(hex.EncodeToString(s.value)+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			digits, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden, err := hex.DecodeString(strings.TrimSpace(string(digits)))
			if err != nil {
				t.Fatal(err)
			}
			if golden[0] != s.format {
				t.Errorf("the golden value has format %d, want %d", golden[0], s.format)
			}
			got, err := s.read(golden)
			if err != nil {
				t.Fatalf("read the golden value: %v", err)
			}
			if diff := cmp.Diff(s.want, got); diff != "" {
				t.Errorf("the golden value reads otherwise (-want +got):\n%s", diff)
			}
			if s.format == s.newest && !bytes.Equal(s.value, golden) {
				t.Errorf("the row is written as %x, want %x", s.value, golden)
			}
		})
	}
}

func TestEveryFormatHasAGoldenValue(t *testing.T) {
	source, err := os.ReadFile("kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`newKind(?:\[.*\])?\("(.*?)"`).FindAllSubmatch(source, -1)
	if len(kinds) == 0 {
		t.Fatal("no kinds found")
	}
	has, newest := map[string]bool{}, map[string]byte{}
	for _, s := range samples {
		has[fmt.Sprint(s.kind, s.format)] = true
		newest[s.kind] = s.newest
	}
	var formats uint64
	for _, format := range newest {
		formats += uint64(format - 1)
	}
	if got := Formats(); got != formats {
		t.Errorf("Formats() = %d, want %d, as the samples have", got, formats)
	}
	for _, k := range kinds {
		for f := byte(1); f <= max(newest[string(k[1])], 1); f++ {
			if !has[fmt.Sprint(string(k[1]), f)] {
				t.Errorf("format %d of kind %s has no sample", f, k[1])
			}
		}
	}
}

// TestDamagedValuesAreErrors decodes each sample's value shortened, lengthened and with another
// format number. Decoding must fail.
func TestDamagedValuesAreErrors(t *testing.T) {
	for _, s := range samples {
		for n := range s.value {
			if _, err := s.read(s.value[:n]); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), s.kind) {
				t.Errorf("%s: the first %d of %d bytes: error %v, want %v", s.name, n, len(s.value), err, ErrDamaged)
			}
		}
		if _, err := s.read(append(bytes.Clone(s.value), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: a byte too many: error %v, want %v", s.name, err, ErrDamaged)
		}
		later := bytes.Clone(s.value)
		later[0] = s.newest + 1
		if _, err := s.read(later); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), s.kind) {
			t.Errorf("%s: a later format: error %v, want %v", s.name, err, ErrNewer)
		}
		later[0] = 0
		if _, err := s.read(later); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: format 0: error %v, want %v", s.name, err, ErrDamaged)
		}
	}
}

// FuzzDecode decodes arbitrary bytes as a row of every kind. Decode must not panic. A row that
// it accepts must be equal after it is encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, s := range samples {
			row, err := s.read(value)
			if err != nil {
				continue
			}
			again, err := s.again(value)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.read(again); err != nil || !cmp.Equal(row, got) {
				t.Errorf("%s: %x reads as %+v, written and read again as %+v (%v)", s.name, value, row, got, err)
			}
		}
	})
}

type toy struct {
	Name  string
	Mood  string
	Score uint64
}

// TestFormatsOfOneKind defines a kind of row whose second format has one more field. A value of
// format 1 must decode with a zero value in that field, one of format 2 must decode to the row
// that was encoded, and one of format 3 must be refused.
func TestFormatsOfOneKind(t *testing.T) {
	name := text("name", func(r *toy) *string { return &r.Name })
	mood := text("mood", func(r *toy) *string { return &r.Mood })
	score := unsigned("score", func(r *toy) *uint64 { return &r.Score })
	first := newKind("toy", nil, name, score)
	third := newKind("toy", nil, name, score, mood.from(3))
	second := newKind("toy", nil, name, score, mood.from(2))
	full := toy{"duck", "calm", 7}

	for _, tc := range []struct {
		written, read *Kind[toy]
		format        byte
		want          toy
		err           error
	}{
		{first, first, 1, toy{Name: "duck", Score: 7}, nil},
		{first, second, 1, toy{Name: "duck", Score: 7}, nil},
		{second, second, 2, full, nil},
		{second, first, 2, toy{}, ErrNewer},
		{third, second, 3, toy{}, ErrNewer},
	} {
		value := tc.written.Encode(nil, &full)
		if value[0] != tc.format {
			t.Errorf("a kind of format %d writes format %d", tc.format, value[0])
		}
		got, err := tc.read.Decode(value, toy{})
		if !errors.Is(err, tc.err) || got != tc.want {
			t.Errorf("format %d read by %d: %+v, %v; want %+v, %v", tc.format, tc.read.format, got, err, tc.want, tc.err)
		}
		if tc.err != nil && err != nil && !strings.Contains(err.Error(), "toy") {
			t.Errorf("the error does not name the kind: %v", err)
		}
	}
}

// TestPackedColumns checks that maps and lists have the same bytes in PostgreSQL columns as in
// released versions.
func TestPackedColumns(t *testing.T) {
	check(t, Message, "metadata", core.Message{Metadata: map[string]string{"b": "2", "a": "\x00\xff"}}, "01020161"+"0200ff"+"01620132")
	check(t, Message, "metadata", core.Message{}, "")
	check(t, Message, "participants", core.Message{Participants: []core.MessageParticipant{{User: "8:a", DisplayName: "Änn", ShareHistory: -1}}}, "010103383a6104c3846e6e01")
	check(t, Message, "participants", core.Message{}, "")
	check(t, Member, "intervals", core.Member{Intervals: []core.Interval{{From: 1, To: 300}, {From: 301}}}, "010201ac02ad0200")
	check(t, Member, "intervals", core.Member{Intervals: []core.Interval{}}, "0100")
	check(t, Answer, "invalid", core.CreateAnswer{Invalid: []core.InvalidParticipant{{User: "8:b", Code: "404", Message: "Not found"}}}, "010103383a6203343034094e6f7420666f756e64")
}

// check encodes the column with this name of a row, compares the bytes with the hexadecimal digits,
// and decodes them again. It fails the test if the bytes or the decoded rows differ.
func check[T any](t *testing.T, k *Kind[T], name string, row T, digits string) {
	t.Helper()
	for _, c := range k.Columns() {
		if c.Name != name {
			continue
		}
		value := c.Value(&row).([]byte)
		if got := hex.EncodeToString(value); got != digits {
			t.Errorf("%s is %s, want %s", name, got, digits)
		}
		if (value == nil) != (digits == "") {
			t.Errorf("%s: NULL is %v", name, value == nil)
		}
		scan := func(value []byte) (T, error) {
			var back T
			err := c.Target(&back).(interface{ ScanBytes([]byte) error }).ScanBytes(value)
			return back, err
		}
		back, err := scan(value)
		if diff := cmp.Diff(row, back); diff != "" || err != nil {
			t.Errorf("%s read back: %v (-want +got):\n%s", name, err, diff)
		}
		if value == nil {
			return
		}
		for n := range value {
			if _, err := scan(append([]byte{}, value[:n]...)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if _, err := scan(append(bytes.Clone(value), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a byte too many: %v", name, err)
		}
		if _, err := scan(append([]byte{9}, value[1:]...)); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s in another format: %v", name, err)
		}
		return
	}
	t.Errorf("no column %s", name)
}

// TestFingerprintColumn writes and reads the column of a message's fingerprint. A message without a
// fingerprint must have NULL, and a column of 15 bytes must be refused.
func TestFingerprintColumn(t *testing.T) {
	columns := Message.Columns()
	c := columns[slices.IndexFunc(columns, func(c Column[core.Message]) bool { return c.Name == "fingerprint" })]
	for _, want := range []core.Message{{}, {Fingerprint: core.Fingerprint{0: 1, 15: 16}}} {
		value := c.Value(&want).([]byte)
		if (value == nil) != want.Fingerprint.IsZero() {
			t.Errorf("fingerprint %v is written as %v", want.Fingerprint, value)
		}
		got := core.Message{Fingerprint: core.Fingerprint{9}}
		if err := c.Target(&got).(bytesTarget)(value); err != nil || got.Fingerprint != want.Fingerprint {
			t.Errorf("fingerprint %v is read as %v, %v", want.Fingerprint, got.Fingerprint, err)
		}
	}
	if err := c.Target(&core.Message{}).(bytesTarget)(make([]byte, 15)); !errors.Is(err, ErrDamaged) {
		t.Errorf("15 bytes: %v", err)
	}
}

// TestMessageHeader decodes the first fields of a message whose later fields are damaged. These
// fields must be right.
func TestMessageHeader(t *testing.T) {
	want := core.Message{ID: 1653551972669, Version: 1653551972700, Kind: core.Text, CreatedOn: 1653551972668, Fingerprint: core.Fingerprint{0: 1, 15: 16}}
	value := Message.Encode(nil, &want)
	var got core.Message
	if err := Message.FillFirst(MessageHeader, value[:len(value)-3], &got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("the header reads as %+v, %v; want %+v", got, err, want)
	}
	// The fields up to the sender include a text, which must be read although later fields are
	// damaged.
	want.DeletedOn, want.Sender = 5, "8:acs:ann"
	long := want
	long.Content = "not read"
	value, got = Message.Encode(nil, &long), core.Message{}
	if err := Message.FillFirst(MessageSender, value[:len(value)-3], &got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("the fields up to the sender read as %+v, %v; want %+v", got, err, want)
	}
}

// TestLeftColumns decodes, in several orders, the columns that say when and where a member left its
// thread. The decoded member must be the same in each order.
func TestLeftColumns(t *testing.T) {
	var columns []Column[core.Member]
	for _, c := range Member.Columns() {
		if strings.HasPrefix(c.Name, "left_") {
			columns = append(columns, c)
		}
	}
	for _, want := range []core.Member{{}, {Left: &core.Left{}}, {Left: &core.Left{On: 5, Sequence: 6, Topic: "lunch", Metadata: map[string]string{"a": "1"}, RetentionDays: 60}}} {
		for _, order := range [][]int{{0, 1, 2, 3, 4}, {2, 1, 0, 4, 3}, {3, 1, 0, 2, 4}, {4, 3, 2, 1, 0}} {
			var got core.Member
			for _, i := range order {
				value := columns[i].Value(&want)
				if on, ok := value.(*int64); ok { // scan the integer, not the pointer, as the database driver does
					if value = nil; on != nil {
						value = *on
					}
				}
				var err error
				switch target := columns[i].Target(&got).(type) {
				case bytesTarget:
					err = target.ScanBytes(value.([]byte))
				case anyTarget:
					err = target.Scan(value)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("order %v (-want +got):\n%s", order, diff)
			}
		}
	}
	if err := columns[0].Target(&core.Member{}).(interface{ Scan(any) error }).Scan("five"); err == nil {
		t.Error("a text as a time is scanned without an error")
	}
}

// TestEncodeDoesNotAllocate checks that encoding the rows which every send writes allocates no
// memory.
func TestEncodeDoesNotAllocate(t *testing.T) {
	b := make([]byte, 0, 1024)
	message := core.Message{ID: 1653551972669, Kind: core.Text, Sender: ann, Content: "hello"}
	head := core.Head{Revision: 3, Properties: core.Properties{Topic: "lunch"}}
	event := core.Event{Thread: thread, Number: 2, Position: 900, Actor: ann}
	if n := testing.AllocsPerRun(100, func() {
		Message.Encode(b, &message)
		Head.Encode(b, &head)
		Event.Encode(b, &event)
		Position.Encode(b, &event)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestDecoderKeepsEarlierRows decodes many values with one Decoder, a damaged one among them. Later
// values must not change the texts of rows that were decoded before.
func TestDecoderKeepsEarlierRows(t *testing.T) {
	var d Decoder
	var want, got []core.Message
	for i := range 200 {
		m := core.Message{ID: int64(i + 1), Kind: core.Text, Sender: ann, Content: strings.Repeat(string(rune('a'+i%26)), i*i%997)}
		if i%3 == 0 {
			m.Sender, m.SenderDisplayName = "8:acs:someone", "Ann"
		}
		value := Message.Encode(nil, &m)
		var damaged core.Message
		if err := Message.FillWith(&d, value[:len(value)-1], &damaged); !errors.Is(err, ErrDamaged) {
			t.Fatalf("a value without its last byte: %v", err)
		}
		var read core.Message
		if err := Message.FillWith(&d, value, &read); err != nil {
			t.Fatal(err)
		}
		clear(value) // overwrite the value, because the engine reuses this memory
		want, got = append(want, m), append(got, read)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func BenchmarkMessage(b *testing.B) {
	message := core.Message{ID: 1653551972669, Version: 1653551972669, Kind: core.Text, CreatedOn: 1653551972668, Sender: ann, SenderDisplayName: "Ann", Content: "hello"}
	value := Message.Encode(nil, &message)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			value = Message.Encode(value[:0], &message)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Message.Decode(value, core.Message{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
