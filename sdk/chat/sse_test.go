package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// readFrames reads a stream to its end. It returns all messages and the error that ended the
// reading.
func readFrames(r io.Reader) ([]frame, error) {
	var frames []frame
	for f := newFrameReader(r); ; {
		m, err := f.next()
		if err != nil {
			return frames, err
		}
		frames = append(frames, m)
	}
}

// TestFrameReader reads each stream as a whole and byte by byte, and compares the messages and the
// error with the expected messages and error.
func TestFrameReader(t *testing.T) {
	long := strings.Repeat("x", maxLine-len("data: "))
	for _, test := range []struct {
		name, stream string
		want         []frame
		broken       string // a part of the expected error text; "" expects the end of the stream
	}{
		{"nothing", "", nil, ""},
		{"message", "event: a\nid: 1\ndata: {}\n\n", []frame{{"a", "1", []byte("{}")}}, ""},
		{"no space after the colon", "event:a\nid:1\ndata:{}\n\n", []frame{{"a", "1", []byte("{}")}}, ""},
		{"two spaces", "event: a\ndata:  x\n\n", []frame{{"a", "", []byte(" x")}}, ""},
		{"CRLF and byte order mark", "\ufeffevent: a\r\nid: 1\r\ndata: {}\r\n\r\n", []frame{{"a", "1", []byte("{}")}}, ""},
		{"heartbeats", ": x\n\nid: 1\n\n:\n", []frame{{"", "1", nil}}, ""},
		{"several lines of data", "data: [1,\ndata\ndata: 2]\nevent: a\n\n", []frame{{"a", "", []byte("[1,\n\n2]")}}, ""},
		{"retry", "retry: 10\n\nevent: a\ndata: x\n\n", []frame{{"a", "", []byte("x")}}, ""},
		{"id is not kept", "id: 1\n\nevent: a\ndata: x\n\n", []frame{{"", "1", nil}, {"a", "", []byte("x")}}, ""},
		{"no end", "event: a\ndata: {}\n", nil, ""},
		{"no end of the line", "id: 1\n\nevent: a\ndata: {}\n\nid: 2", []frame{{"", "1", nil}, {"a", "", []byte("{}")}}, ""},
		{"longest line", "event: a\ndata: " + long + "\n\n", []frame{{"a", "", []byte(long)}}, ""},
		{"line too long", "id: 1\n\nevent: a\ndata: " + long + "x\n\n", []frame{{"", "1", nil}}, "a line has more than 8388608 bytes"},
		{"line without an end", "data: " + long + long, nil, "a line has more than 8388608 bytes"},
		{"too many lines", "event: a\ndata: " + long + "\ndata: xxxxxxx\n\n", nil, "a message has more than 8388608 bytes"},
		{"id too long", "id: " + strings.Repeat("1", maxID+1) + "\n\n", nil, "an id has 4097 bytes"},
		{"unknown field", "events: a\ndata: {}\n\n", nil, "a line of 9 bytes is none"},
		{"no data", "event: a\n\n", nil, "a name and no data"},
		{"no name", "data: {}\n\n", nil, "data and no name"},
		{"no text", "data: \xff\n\n", nil, "no text"},
		{"zero byte", "id: 1\x00\n\n", nil, "no text"},
		{"carriage return", "id: 1\rid: 2\n\n", nil, "no text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			readers := []io.Reader{strings.NewReader(test.stream)}
			if len(test.stream) < 1<<20 {
				readers = append(readers, iotest.OneByteReader(strings.NewReader(test.stream)))
			}
			for _, r := range readers {
				got, err := readFrames(r)
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("got %.200q, want %.200q", got, test.want)
				}
				var broken brokenError
				switch {
				case test.broken == "" && err != io.EOF:
					t.Errorf("got error %v, want the end of the stream", err)
				case test.broken != "" && (!errors.As(err, &broken) || !strings.Contains(err.Error(), test.broken)):
					t.Errorf("got error %v, want %s", err, test.broken)
				}
			}
		})
	}
}

// FuzzFrameReader reads arbitrary streams as a whole and byte by byte. Both must give the same
// messages and error. Decoding a message must not panic, and a message that is written and read
// again must not change.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte("event: hello\nid: c1\ndata: {\"user\":\"8:acs:a_b\"}\n\n: heartbeat\n\nid: c2\n\n"))
	f.Add([]byte("event: chatMessageReceived\r\nid: c1\r\ndata: {\"threadId\":\"t\",\"number\":1,\"createdOn\":\"2026-01-15T03:04:05.678Z\"}\r\n\r\n"))
	f.Add([]byte("event: participantsAdded\ndata: {\"threadId\":\"t\",\ndata: \"participantsAdded\":[{\"id\":\"8:acs:a_b\"}]}\n\n"))
	f.Add([]byte("event: bye\ndata: {\"reason\":\"draining\",\"delay\":1e9}\n\nevent: gap\ndata: {\"reason\":\"lost\"}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames, err := readFrames(bytes.NewReader(stream))
		again, errAgain := readFrames(iotest.OneByteReader(bytes.NewReader(stream)))
		if !reflect.DeepEqual(frames, again) || err.Error() != errAgain.Error() {
			t.Fatalf("got %q, %v in whole and %q, %v byte by byte", frames, err, again, errAgain)
		}
		var text strings.Builder
		for _, m := range frames {
			if event, err := decodeEvent(m, "cursor"); (event == nil) == (err == nil) {
				t.Fatalf("%q becomes %v, %v", m, event, err)
			}
			if decodeBye(m) == nil {
				t.Fatalf("bye of %q is no error", m)
			}
			if m.event != "" {
				fmt.Fprintf(&text, "event: %s\ndata: %s\n", m.event, bytes.ReplaceAll(m.data, []byte("\n"), []byte("\ndata: ")))
			}
			fmt.Fprintf(&text, "id: %s\n\n", m.id)
		}
		written, _ := readFrames(strings.NewReader(text.String()))
		if !reflect.DeepEqual(frames, written) {
			t.Fatalf("%q became %q", frames, written)
		}
	})
}
