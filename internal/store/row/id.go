package row

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Ids of threads and users are texts of 45 to 80 bytes, most of them hexadecimal or base64 digits.
// Ids of three forms are packed: the first byte names the form, and the other bytes are the decoded
// digits. No UTF-8 text begins with such a first byte, so a packed id cannot be taken for another
// text. If an id is not UTF-8 and begins with such a byte, the byte named unpacked is stored before
// it. All other ids are stored unchanged. A packed id can be decoded without other rows.
const (
	packedUser   = 0x80 // first byte of a packed id 8:acs:GUID_GUID, which takes 33 bytes
	packedThread = 0x81 // first byte of a packed id 19:…@thread.v2 with 32 hexadecimal digits, which takes 17 bytes
	packedCreate = 0x82 // first byte of a packed id 19:…1@thread.v2 with 43 digits of base64 for 32 bytes, which takes 33 bytes
	unpacked     = 0x83 // stored before an id that itself begins with a byte from 0x80 to 0xbf
)

const (
	userPrefix   = "8:acs:"
	guidLength   = 36
	userLength   = len(userPrefix) + guidLength + len("_") + guidLength
	threadPrefix = "19:"
	threadSuffix = "@thread.v2"
	createSuffix = "1@thread.v2"
	threadLength = len(threadPrefix) + 32 + len(threadSuffix)
	createLength = len(threadPrefix) + 43 + len(createSuffix)
	digits       = "0123456789abcdef"
)

// base64ID encodes 32 bytes as in the ids of threads that were created with an idempotency token.
// It is strict: it does not decode a text that would be encoded differently, so that each packed id
// is decoded to the same text.
var base64ID = base64.RawURLEncoding.Strict()

// packID appends the packed form of an id to b, and reports whether the id has one.
func packID(b []byte, id string) ([]byte, bool) {
	switch {
	case len(id) == userLength && strings.HasPrefix(id, userPrefix) && id[len(userPrefix)+guidLength] == '_':
		var p [33]byte
		p[0] = packedUser
		ok := packGUID(p[1:17], id[len(userPrefix):]) && packGUID(p[17:], id[userLength-guidLength:])
		return append(b, p[:]...), ok
	case len(id) == threadLength && strings.HasPrefix(id, threadPrefix) && strings.HasSuffix(id, threadSuffix):
		var p [17]byte
		p[0] = packedThread
		ok := packHex(p[1:], id[len(threadPrefix):])
		return append(b, p[:]...), ok
	case len(id) == createLength && strings.HasPrefix(id, threadPrefix) && strings.HasSuffix(id, createSuffix):
		var p [33]byte
		p[0] = packedCreate
		var text [43]byte
		copy(text[:], id[len(threadPrefix):])
		n, err := base64ID.Decode(p[1:], text[:])
		return append(b, p[:]...), err == nil && n == 32
	}
	return b, false
}

// isPacked reports whether a text begins with a byte that marks packed ids.
func isPacked[T ~string | ~[]byte](b T) bool { return len(b) > 0 && b[0] >= 0x80 && b[0] < 0xc0 }

// unpackID appends the id with the packed form p to b. It returns false if p is not a packed id.
func unpackID(b, p []byte) ([]byte, bool) {
	switch {
	case p[0] == packedUser && len(p) == 33:
		b = append(b, userPrefix...)
		b = append(appendGUID(b, p[1:17]), '_')
		return appendGUID(b, p[17:]), true
	case p[0] == packedThread && len(p) == 17:
		b = hex.AppendEncode(append(b, threadPrefix...), p[1:])
		return append(b, threadSuffix...), true
	case p[0] == packedCreate && len(p) == 33:
		b = base64ID.AppendEncode(append(b, threadPrefix...), p[1:])
		return append(b, createSuffix...), true
	case p[0] == unpacked && isPacked(p[1:]):
		return append(b, p[1:]...), true
	}
	return b, false
}

// guidDigits has, for each of the 16 bytes of a GUID, the offset of its first digit in the text of
// the GUID. The text has hyphens between its five parts.
var guidDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// packGUID decodes the GUID at the start of s into the 16 bytes of to. It returns false if s does
// not begin with a GUID in lower case.
func packGUID(to []byte, s string) bool {
	bad := (s[8] ^ '-') | (s[13] ^ '-') | (s[18] ^ '-') | (s[23] ^ '-')
	for i, at := range guidDigits {
		high, low := values[s[at]], values[s[at+1]]
		to[i] = high<<4 | low
		bad |= (high | low) &^ 15
	}
	return bad == 0
}

// appendGUID appends the text of the GUID with these 16 bytes to b.
func appendGUID(b, from []byte) []byte {
	var s [guidLength]byte
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	for i, at := range guidDigits {
		s[at], s[at+1] = digits[from[i]>>4], digits[from[i]&15]
	}
	return append(b, s[:]...)
}

// packHex decodes the hexadecimal digits at the start of s and fills to with the bytes. It returns
// false if one of the digits is not a hexadecimal digit in lower case.
func packHex(to []byte, s string) bool {
	bad := byte(0)
	for i := range to {
		high, low := values[s[2*i]], values[s[2*i+1]]
		to[i] = high<<4 | low
		bad |= (high | low) &^ 15
	}
	return bad == 0
}

// values maps each hexadecimal digit in lower case to its value, and every other byte to 0xff.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(digits) {
		v[digits[i]] = byte(i)
	}
	return v
}()
