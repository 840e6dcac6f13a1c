package row

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// Ids of threads and users are texts of 45 to 80 bytes, most of them digits. Three forms are
// packed: their values have a first byte, which says the form, and the bytes that the digits stand
// for. The first byte is one with which no UTF-8 text begins, so a packed id cannot be taken for
// another text. An id that is no UTF-8 and begins with such a byte is stored after the byte
// unpacked. All other ids are stored as they are. A packed id has all of the id, so a row can still
// be read without any other.
const (
	packedUser   = 0x80 // 8:acs:GUID_GUID, in 33 bytes
	packedThread = 0x81 // 19:32 hexadecimal digits@thread.v2, in 17 bytes
	packedCreate = 0x82 // 19:43 digits of base64 for 32 bytes, then 1@thread.v2, in 33 bytes
	unpacked     = 0x83 // an id that begins with a byte from 0x80 to 0xbf
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

// base64ID is the encoding of ids of threads that were created with an idempotency token. It is
// strict, so that each text has only one packed form.
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

// isPacked reports whether the bytes of a text begin as those of a packed id do.
func isPacked[T ~string | ~[]byte](b T) bool { return len(b) > 0 && b[0] >= 0x80 && b[0] < 0xc0 }

// unpackID appends the id with the packed form p to b. It returns false if there is none.
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

// guidDigits has the offset of the first digit of each byte in a GUID, which has hyphens between its
// five parts.
var guidDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// packGUID fills to with the bytes of the GUID with which s begins. It reports whether s begins with
// one in lower case.
func packGUID(to []byte, s string) bool {
	bad := (s[8] ^ '-') | (s[13] ^ '-') | (s[18] ^ '-') | (s[23] ^ '-')
	for i, at := range guidDigits {
		high, low := values[s[at]], values[s[at+1]]
		to[i] = high<<4 | low
		bad |= (high | low) &^ 15
	}
	return bad == 0
}

// appendGUID appends the GUID with these 16 bytes to b.
func appendGUID(b, from []byte) []byte {
	var s [guidLength]byte
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	for i, at := range guidDigits {
		s[at], s[at+1] = digits[from[i]>>4], digits[from[i]&15]
	}
	return append(b, s[:]...)
}

// packHex fills to with the bytes that the hexadecimal digits with which s begins stand for. It
// reports whether they are digits in lower case.
func packHex(to []byte, s string) bool {
	bad := byte(0)
	for i := range to {
		high, low := values[s[2*i]], values[s[2*i+1]]
		to[i] = high<<4 | low
		bad |= (high | low) &^ 15
	}
	return bad == 0
}

// values has the value of each hexadecimal digit in lower case, and 0xff for other bytes.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(digits) {
		v[digits[i]] = byte(i)
	}
	return v
}()
