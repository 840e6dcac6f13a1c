package row

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// TestPackedIDs encodes ids of each form, and texts that differ a little from such an id. Decoding
// must return the same text, and only ids of the three packed forms may be packed.
func TestPackedIDs(t *testing.T) {
	random := "19:0123456789abcdef0123456789abcdef@thread.v2"
	for _, tc := range []struct {
		id     string
		length int // length of the packed id in bytes; 0 means that the text is not packed
	}{
		{ann, 33}, {thread, 33}, {random, 17},
		{"", 0}, {"8:acs:", 0}, {"4:+15551234567", 0}, {"28:" + ann[6:], 0},
		{strings.ToUpper(ann), 0}, {strings.Replace(ann, "a", "A", 2), 0}, {strings.Replace(ann, "-", "0", 1), 0}, {strings.Replace(ann, "_", "-", 1), 0},
		{strings.Replace(ann, "8:acs", "8:dod", 1), 0}, {ann + "0", 0}, {ann[:len(ann)-1], 0},
		{strings.Replace(random, "f", "F", 1), 0}, {strings.Replace(random, "f", "g", 1), 0}, {strings.Replace(random, "@", "_", 1), 0},
		{strings.Replace(thread, "WI1@", "WJ1@", 1), 0}, // not packed: the last base64 digit has bits that do not belong to the 32 bytes
		{strings.Replace(thread, "-", "+", 1), 0}, {strings.Replace(thread, "6", "\n", 1), 0}, {strings.Replace(thread, "1@", "2@", 1), 0},
	} {
		b := putID(nil, tc.id)
		if want := max(tc.length, len(tc.id)*(1-min(tc.length, 1))); len(b) != want+1 || isPacked(b[1:]) != (tc.length > 0) {
			t.Errorf("%q is stored as %x, want %d bytes behind the length", tc.id, b, want)
		}
		r := reader{b: b}
		if got := r.id(); got != tc.id || r.bad || len(r.b) != 0 {
			t.Errorf("%q is read as %q", tc.id, got)
		}
	}
}

// TestIDWithOneByteChangedReadsTheSame replaces each byte of a user's id by each other byte. Each
// text must be decoded as it was.
func TestIDWithOneByteChangedReadsTheSame(t *testing.T) {
	for at := range len(ann) {
		for b := range 256 {
			id := ann[:at] + string([]byte{byte(b)}) + ann[at+1:]
			r := reader{b: putID(nil, id)}
			if got := r.id(); got != id || r.bad || len(r.b) != 0 {
				t.Errorf("%q is read as %q", id, got)
			}
		}
	}
}

// TestAnyIDReadsTheSame encodes texts that look like ids, with some bytes changed. Each text must
// be decoded as it was.
func TestAnyIDReadsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := []byte(rapid.SampledFrom([]string{ann, thread, "19:0123456789abcdef0123456789abcdef@thread.v2"}).Draw(t, "id"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			id[rapid.IntRange(0, len(id)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		r := reader{b: putID(nil, string(id))}
		if got := r.id(); got != string(id) || r.bad || len(r.b) != 0 {
			t.Fatalf("%q is read as %q", id, got)
		}
	})
}

// TestWrongPackedIDsAreErrors checks that decoding fails for packed ids with a wrong length or an
// unknown form.
func TestWrongPackedIDsAreErrors(t *testing.T) {
	for _, b := range [][]byte{{0x80}, bytes.Repeat([]byte{0x80}, 32), bytes.Repeat([]byte{0x81}, 18), bytes.Repeat([]byte{0x82}, 17), {0x83}, []byte("\x83text"), bytes.Repeat([]byte{0x84}, 33)} {
		value := append(putText([]byte{2}, b), 7)
		if e, err := Position.Decode(value, core.Event{}); err == nil {
			t.Errorf("%x is read as %q", b, e.Thread)
		}
	}
}

// TestEarliestFormatIsNotPacked checks that EncodeEarliest does not pack the ids of rows in the
// formats of older backups. The checksums in these backups must stay right.
func TestEarliestFormatIsNotPacked(t *testing.T) {
	for _, s := range []struct {
		name string
		got  []byte
	}{
		{"position.1", Position.EncodeEarliest(nil, 1, &core.Event{Thread: thread, Number: 2})},
		{"event.2", Event.EncodeEarliest(nil, 2, &core.Event{Position: 900, Kind: core.MessageReceived, MessageID: 1653551972669, Version: 1653551972669, Actor: ann, At: 1653551972600, Check: 4_000_000_000})},
	} {
		golden, err := os.ReadFile(filepath.Join("testdata", "values", s.name+".hex"))
		if got := fmt.Sprintln(hex.EncodeToString(s.got)); err != nil || got != string(golden) {
			t.Errorf("%s: %s, want %s (%v)", s.name, got, golden, err)
		}
	}
}

func BenchmarkPutID(b *testing.B) {
	buf := make([]byte, 0, 100)
	for b.Loop() {
		buf = putID(buf[:0], ann)
	}
}

func BenchmarkReadID(b *testing.B) {
	value := putID(nil, ann)
	for b.Loop() {
		r := reader{b: value}
		_ = r.id()
	}
}
