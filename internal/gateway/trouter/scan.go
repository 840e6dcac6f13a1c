package trouter

import (
	"encoding/json"
	"strconv"
	"strings"
)

// answer is a client's answer to a request of the server: the id of the request and a status.
type answer struct {
	id     uint64 // id of the request of the server that the client answers
	status int    // status of the answer; not 0
}

// readAnswer parses a client's answer, in any form that JSON allows. It returns false if the
// text is not JSON, or if the id or the status is missing.
func readAnswer(text string) (answer, bool) {
	if a, ok := scanAnswer(text); ok {
		return a, true
	}
	return decodeAnswer(text)
}

// decodeAnswer parses any answer with encoding/json, for readAnswer. It is called only for
// texts that scanAnswer cannot read, and is not inlined, because encoding/json makes the
// goroutine's stack grow, and the goroutine that reads a socket keeps that stack while the
// socket is open.
//
//go:noinline
func decodeAnswer(text string) (answer, bool) {
	var a struct {
		ID     json.RawMessage `json:"id"`
		Status int             `json:"status"`
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return answer{}, false
	}
	id, err := strconv.ParseUint(strings.Trim(string(a.ID), `"`), 10, 64)
	return answer{id, a.Status}, err == nil && a.Status != 0
}

// readName parses an event of a client and returns its name, or "" if it has none. It returns
// false if the text is not JSON or the name is not a string.
func readName(text string) (name string, ok bool) {
	if name, ok = scanName(text); ok {
		return name, true
	}
	return decodeName(text)
}

// decodeName parses any event with encoding/json, for readName. Like decodeAnswer it is called
// only for unusual texts and is not inlined, because encoding/json makes the stack grow.
//
//go:noinline
func decodeName(text string) (name string, ok bool) {
	var e struct {
		Name string `json:"name"`
	}
	err := json.Unmarshal([]byte(text), &e)
	return e.Name, err == nil
}

// scanAnswer parses an answer in the form in which the browser build writes it:
// {"id":1,"status":200,"headers":{"MS-CV":"a.0"},"body":""}, in which headers and body may be
// missing. It returns false for every other text; the caller must then use decodeAnswer.
func scanAnswer(text string) (a answer, ok bool) {
	s := scanner{rest: text}
	s.must(`{"id":`)
	a.id = s.number()
	s.must(`,"status":`)
	a.status = int(s.number())
	if s.found(`,"headers":`) {
		s.object()
	}
	if s.found(`,"body":`) {
		s.text()
	}
	s.must("}")
	return a, s.ended()
}

// scanName parses an event in the form in which the browser build writes pings and user
// activity: {"name":"ping"} and
// {"name":"user.activity","args":[{"state":"active","cv":"a.1"}]}. It returns false for every
// other text; the caller must then use decodeName.
func scanName(text string) (name string, ok bool) {
	s := scanner{rest: text}
	s.must(`{"name":`)
	name = s.text()
	if s.found(`,"args":[`) {
		s.object()
		s.must("]")
	}
	s.must("}")
	return name, s.ended() && !strings.Contains(name, `\`)
}

// scanner reads a JSON text without spaces, from left to right. If the text does not continue with
// the value that a method must read, the scanner fails: it discards the rest, and ended returns
// false.
type scanner struct {
	rest   string // the part of the text that the scanner has not read yet
	failed bool
}

func (s *scanner) fail() { s.rest, s.failed = "", true }

// ended reports whether the whole text was read without a failure.
func (s *scanner) ended() bool { return s.rest == "" && !s.failed }

// found reports whether the rest of the text begins with the given word. If so, the scanner moves
// past the word.
func (s *scanner) found(word string) bool {
	rest, ok := strings.CutPrefix(s.rest, word)
	s.rest = rest
	return ok
}

// must moves the scanner past the given word. The scanner fails if the rest of the text does not
// begin with this word.
func (s *scanner) must(word string) {
	if !s.found(word) {
		s.fail()
	}
}

// number reads a number from 1 to 999,999,999. The scanner fails if the rest of the text does not
// begin with such a number.
func (s *scanner) number() (n uint64) {
	digits := 0
	for digits < len(s.rest) && '0' <= s.rest[digits] && s.rest[digits] <= '9' {
		n = 10*n + uint64(s.rest[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 9 || s.rest[0] == '0' {
		s.fail()
		return 0
	}
	s.rest = s.rest[digits:]
	return n
}

// text reads a JSON string of ASCII characters. It returns the characters between the quotes,
// with escapes as they are written.
func (s *scanner) text() (written string) {
	if !s.found(`"`) {
		s.fail()
		return ""
	}
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			written, s.rest = s.rest[:i], s.rest[i+1:]
			return written
		case c == '\\':
			i++
			if i == len(s.rest) || strings.IndexByte(`"\/bfnrt`, s.rest[i]) < 0 {
				s.fail()
			}
		case c < ' ' || c > '~':
			s.fail()
		}
	}
	s.fail()
	return ""
}

// object reads a JSON object whose values are strings.
func (s *scanner) object() {
	s.must("{")
	if s.found("}") {
		return
	}
	for more := true; more; more = s.found(",") {
		s.text()
		s.must(":")
		s.text()
	}
	s.must("}")
}
