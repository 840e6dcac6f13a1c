package trouter

import (
	"encoding/json"
	"strconv"
	"strings"
)

// answer is what a client says to a request.
type answer struct {
	id     uint64 // of the request
	status int    // not 0
}

// readAnswer reads an answer, in any form that JSON allows. It returns false if the text is
// not JSON, or if it has no id or no status.
func readAnswer(text string) (answer, bool) {
	if a, ok := scanAnswer(text); ok {
		return a, true
	}
	return decodeAnswer(text)
}

// decodeAnswer is readAnswer for all texts. encoding/json grows the goroutine's stack, and
// the goroutine that reads a socket keeps it as long as the socket is open; so the usual texts
// do not come here, and the function is not inlined.
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

// readName reads the name of an event. It returns "" if there is none, and false if the text
// is not JSON or the name is not a string.
func readName(text string) (name string, ok bool) {
	if name, ok = scanName(text); ok {
		return name, true
	}
	return decodeName(text)
}

// decodeName is readName for all texts. See decodeAnswer.
//
//go:noinline
func decodeName(text string) (name string, ok bool) {
	var e struct {
		Name string `json:"name"`
	}
	err := json.Unmarshal([]byte(text), &e)
	return e.Name, err == nil
}

// scanAnswer reads an answer as the browser build writes it:
// {"id":1,"status":200,"headers":{"MS-CV":"a.0"},"body":""}, without headers or body too. It
// returns false for every other text, which decodeAnswer must read then.
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

// scanName reads an event as the browser build writes its pings and its activity:
// {"name":"ping"} and {"name":"user.activity","args":[{"state":"active","cv":"a.1"}]}. It
// returns false for every other text, which decodeName must read then.
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

// scanner reads a JSON text without spaces from its beginning. When it meets something else
// than what it is asked for, it drops the rest, and ended returns false.
type scanner struct {
	rest   string // not read yet
	failed bool
}

func (s *scanner) fail() { s.rest, s.failed = "", true }

// ended reports whether the whole text was read.
func (s *scanner) ended() bool { return s.rest == "" && !s.failed }

// found reports whether the rest begins with a word, and reads it then.
func (s *scanner) found(word string) bool {
	rest, ok := strings.CutPrefix(s.rest, word)
	s.rest = rest
	return ok
}

// must reads a word.
func (s *scanner) must(word string) {
	if !s.found(word) {
		s.fail()
	}
}

// number reads a number from 1 to 999,999,999, which fits any type of integer.
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

// text reads a string of ASCII, and returns it as it is written between its quotes.
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

// object reads an object whose values are strings.
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
