package wire

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/apiver"
)

// Encode appends the JSON form of v, a pointer to a struct of this package, to dst. It
// writes the fields that exist at the api-version, in the order of the struct, and
// escapes text like encoding/json without HTML escaping.
func Encode(dst []byte, v any, version apiver.Version) []byte {
	s := reflect.ValueOf(v).Elem()
	return planOf(s.Type(), version).encode(dst, s)
}

func (p *plan) encode(dst []byte, v reflect.Value) []byte {
	dst = append(dst, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		if f.omitZero && fv.IsZero() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.key...)
		dst = f.encode(dst, fv)
	}
	return append(dst, '}')
}

func encodePointer(elem encoder) encoder {
	return func(dst []byte, v reflect.Value) []byte {
		if v.IsNil() {
			return append(dst, "null"...)
		}
		return elem(dst, v.Elem())
	}
}

func encodeList(elem encoder) encoder {
	return func(dst []byte, v reflect.Value) []byte {
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = elem(dst, v.Index(i))
		}
		return append(dst, ']')
	}
}

func encodeString(dst []byte, v reflect.Value) []byte { return AppendString(dst, v.String()) }
func encodeBool(dst []byte, v reflect.Value) []byte   { return strconv.AppendBool(dst, v.Bool()) }
func encodeInt(dst []byte, v reflect.Value) []byte    { return strconv.AppendInt(dst, v.Int(), 10) }

func encodeDecimal(dst []byte, v reflect.Value) []byte {
	return append(strconv.AppendInt(append(dst, '"'), v.Int(), 10), '"')
}

// encodeDict encodes a map as an object whose members are sorted by name.
func encodeDict(dst []byte, v reflect.Value) []byte {
	m := *v.Addr().Interface().(*map[string]string)
	dst = append(dst, '{')
	var memory [8]string // enough for most maps
	keys := slices.AppendSeq(memory[:0], maps.Keys(m))
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, k)
		dst = append(dst, ':')
		dst = AppendString(dst, m[k])
	}
	return append(dst, '}')
}

func encodePatch(dst []byte, v reflect.Value) []byte {
	m := *v.Addr().Interface().(*Patch)
	dst = append(dst, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, k), ':')
		if m[k] == nil {
			dst = append(dst, "null"...)
		} else {
			dst = AppendString(dst, *m[k])
		}
	}
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// AppendString appends s to dst as a JSON string. It escapes the characters that JSON
// requires to be escaped, and U+2028 and U+2029. It replaces invalid UTF-8 by U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if i += plainBytes(s[i:]); i == len(s) {
			break
		}
		if b := s[i]; b < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, b)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + n
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			start = i + n
		}
		i += n
	}
	return append(append(dst, s[start:]...), '"')
}

// plainBytes returns the number of bytes at the start of s that are ASCII and need no escape in
// JSON. It tests eight bytes of s at a time.
func plainBytes(s string) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(s); n += 8 {
		b := binary.LittleEndian.Uint64([]byte(s[n : n+8]))
		// A subtraction in a byte of the word sets its high bit if the byte is less than the subtrahend.
		// It may also set the high bits of higher bytes, by a borrow. So only the lowest high bit is
		// certain, and only this bit is used.
		special := b | (b - ' '*ones) | ((b ^ '"'*ones) - ones) | ((b ^ '\\'*ones) - ones)
		if special &= high; special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(s) && s[n] >= ' ' && s[n] < utf8.RuneSelf && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}

// StringSize returns the number of bytes that AppendString appends for s, without the quotes.
// The result may be too small if s is not valid UTF-8.
func StringSize(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b >= ' ' && b != '"' && b != '\\' && b != 0xe2:
		case b == '"', b == '\\', b == '\b', b == '\f', b == '\n', b == '\r', b == '\t':
			n++
		case b < ' ':
			n += 5
		case i+2 < len(s) && s[i+1] == 0x80 && s[i+2]&^1 == 0xa8: // U+2028 and U+2029
			n += 3
		}
	}
	return n
}

func appendEscape(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xf])
}
