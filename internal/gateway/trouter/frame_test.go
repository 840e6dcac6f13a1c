package trouter

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestParsePacket parses packets as docs/contract/realtime.md §5.1 describes them, and texts that
// are not packets.
func TestParsePacket(t *testing.T) {
	for text, want := range map[string]packet{
		"0::":                   {kind: '0'},
		"2::":                   {kind: '2'},
		`3:::{"id":1}`:          {kind: '3', data: `{"id":1}`},
		`5:12+::{"name":"a:b"}`: {kind: '5', id: "12", ack: true, data: `{"name":"a:b"}`},
		`5:12::{"name":"x"}`:    {kind: '5', id: "12", data: `{"name":"x"}`},
		"6:::7+[1]":             {kind: '6', data: "7+[1]"},
		"5:1:/x:":               {kind: '5', id: "1"},
	} {
		if got, err := parsePacket(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "5:", "9::", "x::", "5:a::", "5:+::x", "5:1++::x", "5:-1::x", "5:12345678901234567890::x", "55::", "5:::\xff"} {
		if got, err := parsePacket(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, got)
		}
	}
}

// TestPayload parses payloads of long polls. The lengths in them count UTF-16 code units.
func TestPayload(t *testing.T) {
	var b []byte
	packets := []string{"1::", "3:::안녕 😀 \ufffd", "", "8::"}
	for _, p := range packets {
		b = appendPayload(b, []byte(p), nil)
	}
	if got, err := parsePayload(string(b)); err != nil || !slices.Equal(got, packets) {
		t.Errorf("got %q, %v; want %q", got, err, packets)
	}
	if !strings.Contains(string(b), "\ufffd11\ufffd3:::안녕 😀") {
		t.Errorf("the length is not in UTF-16: %q", b)
	}
	if got, err := parsePayload("3:::x"); err != nil || !slices.Equal(got, []string{"3:::x"}) {
		t.Errorf("a single packet is %q, %v", got, err)
	}
	for _, text := range []string{"\ufffd", "\ufffd3", "\ufffd3\ufffd1:", "\ufffdx\ufffd1::", "\ufffd-1\ufffd1::", "\ufffd1\ufffd😀", "\ufffd1\ufffd1::", "\xff", "\ufffd99999999999\ufffd"} {
		if got, err := parsePayload(text); err == nil {
			t.Errorf("%q is %q, want an error", text, got)
		}
	}
}

// TestHeader checks the headers of WebSocket frames at the payload sizes where the encoding of
// the length changes.
func TestHeader(t *testing.T) {
	for n, want := range map[int][]byte{
		0: {0x81, 0}, 125: {0x81, 125}, 126: {0x81, 126, 0, 126}, 65535: {0x81, 126, 255, 255},
		65536: {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0},
	} {
		if got := appendHeader(nil, wholeText, n); !bytes.Equal(got, want) {
			t.Errorf("%d: % x, want % x", n, got, want)
		}
	}
}

// FuzzPacket parses any text as a packet. If parsePacket accepts the text, it checks that the text
// begins with the returned type and id, and ends with the returned data.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{"0::", `5:1+::{"name":"ping"}`, "3:::{}", "5:1:/x:a", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePacket(text)
		if err != nil {
			return
		}
		again := string(p.kind) + ":" + p.id
		if p.ack {
			again += "+"
		}
		if !strings.HasPrefix(text, again+":") || !strings.HasSuffix(text, p.data) {
			t.Errorf("%q is %+v", text, p)
		}
	})
}

// FuzzPayload splits any payload into its packets, joins the packets to a new payload, and checks
// that the new payload has the same packets. It skips texts that do not begin with the separator.
func FuzzPayload(f *testing.F) {
	f.Add("1::")
	f.Add(string(appendPayload(appendPayload(nil, []byte("1::"), nil), []byte("5:::"), []byte("😀"))))
	f.Fuzz(func(t *testing.T, text string) {
		packets, err := parsePayload(text)
		if err != nil || !strings.HasPrefix(text, separator) {
			return
		}
		var b []byte
		for _, p := range packets {
			b = appendPayload(b, []byte(p), nil)
		}
		again, err := parsePayload(string(b))
		if err != nil || !slices.Equal(again, packets) {
			t.Errorf("%q is %q, then %q, %v", text, packets, again, err)
		}
	})
}
