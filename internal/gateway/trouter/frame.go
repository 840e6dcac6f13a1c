package trouter

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Packet types of socket.io 0.9 that this package reads or writes
// (docs/contract/realtime.md §5.1).
const (
	disconnect = '0'
	heartbeat  = '2'
	message    = '3'
	event      = '5'
	noop       = '8'
)

// maxFrame is the maximum number of bytes that a client may send in one frame, or in one request of
// a long poll.
const maxFrame = 16 << 10

// packet holds the parts of a socket.io packet that a client has sent.
type packet struct {
	kind byte
	id   string // digits, or empty
	ack  bool   // the packet's id ends in a plus, which asks for data in the answer
	data string
}

// errPacket is the error for a text that is not a packet of socket.io.
var errPacket = errors.New("not a packet of socket.io")

// parsePacket parses a packet of socket.io: a type, an id that may end in a plus, an endpoint
// and data, separated by colons. It fails with errPacket.
func parsePacket(text string) (packet, error) {
	if len(text) < 2 || text[0] < '0' || text[0] > '8' || text[1] != ':' || !utf8.ValidString(text) {
		return packet{}, errPacket
	}
	id, rest, ok := strings.Cut(text[2:], ":")
	if !ok {
		return packet{}, errPacket
	}
	p := packet{kind: text[0]}
	p.id, p.ack = strings.CutSuffix(id, "+")
	if len(p.id) > 19 || strings.Trim(p.id, "0123456789") != "" || p.ack && p.id == "" {
		return packet{}, errPacket
	}
	_, p.data, _ = strings.Cut(rest, ":") // the endpoint is always empty
	return p, nil
}

// separator is written before and after the length of each packet in a payload of a long poll.
const separator = "\ufffd"

// appendPayload appends a packet with its length to the payload of a long poll
// (docs/contract/realtime.md §9). The packet is head followed by tail.
func appendPayload(b, head, tail []byte) []byte {
	b = append(strconv.AppendInt(append(b, separator...), int64(units(head)+units(tail)), 10), separator...)
	return append(append(b, head...), tail...)
}

// units returns the number of UTF-16 code units of a text in UTF-8.
func units(text []byte) (n int) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		n += utf16.RuneLen(r)
		i += size
	}
	return n
}

// parsePayload splits the payload of a long poll into its packets. A payload that does not
// begin with the separator is a single packet. It fails with errPacket.
func parsePayload(text string) (packets []string, err error) {
	if !utf8.ValidString(text) {
		return nil, errPacket
	}
	if !strings.HasPrefix(text, separator) {
		return []string{text}, nil
	}
	for text != "" {
		rest, ok := strings.CutPrefix(text, separator)
		length, rest, ok2 := strings.Cut(rest, separator)
		units, err := strconv.ParseUint(length, 10, 31)
		if !ok || !ok2 || err != nil {
			return nil, errPacket
		}
		n := 0
		for left := int(units); left > 0; {
			r, size := utf8.DecodeRuneInString(rest[n:])
			if size == 0 || utf16.RuneLen(r) > left {
				return nil, errPacket
			}
			left, n = left-utf16.RuneLen(r), n+size
		}
		packets, text = append(packets, rest[:n]), rest[n:]
	}
	return packets, nil
}

// First bytes of WebSocket frames: an opcode, and the bit that says that the message has one
// frame only.
const (
	wholeText  = 0x81
	wholeClose = 0x88
	wholePong  = 0x8a
)

// closeFrame is a WebSocket frame that closes the connection normally.
var closeFrame = []byte{wholeClose, 2, 1000 >> 8, 1000 & 255}

// appendHeader appends the header of an unmasked WebSocket frame with n bytes of payload.
func appendHeader(b []byte, opcode byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, opcode, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, opcode, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, opcode, 127), uint64(n))
}
