package wire

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clip"
)

// MaxDepth is the deepest nesting of lists and objects that Decode accepts.
const MaxDepth = 32

// Error says which field of a request body is wrong, and why.
type Error struct {
	// Path names the field: "participants[3].communicationIdentifier". It is
	// empty when the body as a whole is wrong.
	Path string
	// Reason says what is wrong with the field, to be written after Path: "must be a string".
	Reason string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "The request body " + e.Reason + "."
	}
	return e.Path + ": " + e.Reason
}

// Field returns Path or, if the body as a whole is wrong, words for the body.
func (e *Error) Field() string {
	if e.Path == "" {
		return "request body"
	}
	return e.Path
}

func errorf(format string, args ...any) error { return &Error{Reason: fmt.Sprintf(format, args...)} }

// inMember and inElement return err with a member name or an index put before the path of an
// *Error.
func inMember(err error, name string) error { return prefixPath(err, clip.Text(name, maxName)) }
func inElement(err error, i int) error      { return prefixPath(err, "["+strconv.Itoa(i)+"]") }

func prefixPath(err error, step string) error {
	if e, ok := err.(*Error); ok {
		if e.Path != "" && e.Path[0] != '[' {
			step += "."
		}
		e.Path = step + e.Path
	}
	return err
}

// maxName is the greatest length in bytes of a member name in the path of an error. Longer names,
// which a client chose, are cut.
const maxName = 64

// scanner reads JSON (RFC 8259) without extensions.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

// syntaxError returns the error for invalid JSON at the current position.
func (s *scanner) syntaxError() error {
	if s.pos >= len(s.data) {
		return errorf("is not valid JSON: it ends too early")
	}
	return errorf("is not valid JSON at byte %d", s.pos)
}

// peek skips white space and returns the next byte without consuming it, or 0 at the end of the
// input.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch b := s.data[s.pos]; b {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return b
		}
	}
	return 0
}

// literal consumes the given word if the input continues with it, and reports whether it did.
func (s *scanner) literal(word string) bool {
	if len(s.data)-s.pos >= len(word) && string(s.data[s.pos:s.pos+len(word)]) == word {
		s.pos += len(word)
		return true
	}
	return false
}

// null consumes the next JSON value if it is null, and reports whether it was.
func (s *scanner) null() bool { return s.peek() == 'n' && s.literal("null") }

// object reads a JSON object. It calls member for each member of the object, after it has read the
// name and the colon; the function member must read the value. The name is valid only until the
// function reads from the scanner.
func (s *scanner) object(member func(name []byte) error) error {
	return s.nested('{', '}', func() error {
		if s.peek() != '"' {
			return s.syntaxError()
		}
		name, err := s.text()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return s.syntaxError()
		}
		s.pos++
		return member(name)
	})
}

// list reads a JSON list. It calls element at the start of each element of the list, and the
// function element must read that element.
func (s *scanner) list(element func() error) error { return s.nested('[', ']', element) }

// nested reads a JSON list or object from begin to end, the opening and closing bracket. It calls
// item for each item; commas separate the items. It fails if lists and objects are nested deeper
// than MaxDepth.
func (s *scanner) nested(begin, end byte, item func() error) error {
	if s.peek() != begin {
		return s.syntaxError()
	}
	s.pos++
	if s.depth++; s.depth > MaxDepth {
		return errorf("is nested deeper than %d levels", MaxDepth)
	}
	defer func() { s.depth-- }()
	if s.peek() == end {
		s.pos++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case end:
			s.pos++
			return nil
		default:
			return s.syntaxError()
		}
	}
}

// text reads a JSON string and returns its value, which is valid UTF-8 without NUL. The value may
// share memory with the input.
func (s *scanner) text() ([]byte, error) {
	s.pos++ // the quote
	start := s.pos
	for s.pos < len(s.data) {
		switch b := s.data[s.pos]; {
		case b == '"':
			t := s.data[start:s.pos]
			s.pos++
			if !utf8.Valid(t) {
				return nil, errorf("is not valid UTF-8")
			}
			return t, nil
		case b == '\\':
			return s.escaped(start)
		case b < ' ':
			return nil, s.syntaxError()
		}
		s.pos++
	}
	return nil, s.syntaxError()
}

// escaped reads the rest of a string that contains an escape. The string began at
// start, and the scanner is at the first escape. It returns the whole string.
func (s *scanner) escaped(start int) ([]byte, error) {
	t := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		b := s.data[s.pos]
		switch {
		case b == '"':
			s.pos++
			if !utf8.Valid(t) {
				return nil, errorf("is not valid UTF-8")
			}
			return t, nil
		case b == '\\':
			var err error
			if t, err = s.escape(t); err != nil {
				return nil, err
			}
			continue
		case b < ' ':
			return nil, s.syntaxError()
		}
		t = append(t, b)
		s.pos++
	}
	return nil, s.syntaxError()
}

// escapes holds pairs of characters: the one after a backslash in a JSON string, and the one that
// this escape sequence stands for.
const escapes = `""\\//b` + "\b" + `f` + "\f" + `n` + "\n" + `r` + "\r" + `t` + "\t"

// escape reads one escape sequence and appends its character to t.
func (s *scanner) escape(t []byte) ([]byte, error) {
	if s.pos+1 >= len(s.data) {
		s.pos++
		return nil, s.syntaxError()
	}
	b := s.data[s.pos+1]
	for i := 0; i < len(escapes); i += 2 {
		if escapes[i] == b {
			s.pos += 2
			return append(t, escapes[i+1]), nil
		}
	}
	if b != 'u' {
		return nil, s.syntaxError()
	}
	r, ok := s.codeUnit()
	if !ok {
		return nil, s.syntaxError()
	}
	if utf16.IsSurrogate(r) {
		low, _ := s.codeUnit()
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return nil, errorf("has half of a surrogate pair and so is not valid Unicode")
		}
	}
	if r == 0 {
		return nil, errorf("must not contain the NUL character")
	}
	return utf8.AppendRune(t, r), nil
}

// codeUnit reads \uXXXX, one UTF-16 code unit. ok is false if the input is anything else.
func (s *scanner) codeUnit() (rune, bool) {
	if len(s.data)-s.pos < 6 || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, b := range s.data[s.pos+2 : s.pos+6] {
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b >= 'a' && b <= 'f':
			b -= 'a' - 10
		case b >= 'A' && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(b)
	}
	s.pos += 6
	return r, true
}

// number reads a number and returns its text.
func (s *scanner) number() ([]byte, error) {
	start := s.pos
	s.accept("-")
	if !s.accept("0") && s.digits() == 0 {
		return nil, s.syntaxError()
	}
	if s.accept(".") && s.digits() == 0 {
		return nil, s.syntaxError()
	}
	if s.accept("eE") {
		s.accept("+-")
		if s.digits() == 0 {
			return nil, s.syntaxError()
		}
	}
	return s.data[start:s.pos], nil
}

// accept consumes the next byte if it is one of the given characters, and reports whether it did.
func (s *scanner) accept(any string) bool {
	if s.pos < len(s.data) && strings.IndexByte(any, s.data[s.pos]) >= 0 {
		s.pos++
		return true
	}
	return false
}

// digits consumes decimal digits and returns their number.
func (s *scanner) digits() (n int) {
	for s.accept("0123456789") {
		n++
	}
	return n
}

// skip consumes a value. It fails if the value is not valid JSON.
func (s *scanner) skip() error {
	switch b := s.peek(); {
	case b == '{':
		return s.object(func(name []byte) error {
			if err := s.skip(); err != nil {
				return inMember(err, string(name))
			}
			return nil
		})
	case b == '[':
		i := -1
		return s.list(func() error {
			i++
			if err := s.skip(); err != nil {
				return inElement(err, i)
			}
			return nil
		})
	case b == '"':
		_, err := s.text()
		return err
	case b == '-' || b >= '0' && b <= '9':
		_, err := s.number()
		return err
	case s.literal("true"), s.literal("false"), s.literal("null"):
		return nil
	}
	return s.syntaxError()
}
