package trouter

import "testing"

// usualAnswers are answers in the form of the browser build (docs/contract/realtime.md §5.3).
var usualAnswers = map[string]answer{
	`{"id":1001,"status":200,"headers":{"MS-CV":"abc.1.0","trouter-request":"{\"id\":\"r1\"}","trouter-client":"{\"cd\":2}"},"body":""}`: {1001, 200},
	`{"id":7,"status":404,"headers":{"Trouter-Responder":"ClientLib"},"body":""}`:                                                        {7, 404},
	`{"id":7,"status":504,"headers":{},"body":"a handler\\hung\n"}`:                                                                      {7, 504},
	`{"id":999999999,"status":200,"body":"Request has been handled"}`:                                                                    {999999999, 200},
	`{"id":1,"status":200}`: {1, 200},
}

// usualEvents are events in the form of the browser build (docs/contract/realtime.md §5.2).
var usualEvents = map[string]string{
	`{"name":"ping"}`: "ping",
	`{"name":"user.activity","args":[{"state":"active","cv":"Abc+/8.12"}]}`: "user.activity",
	`{"name":"x","args":[{}]}`: "x",
}

// otherAnswers maps texts that the browser build does not write to the answers that
// encoding/json reads from them. The zero answer means that the text is refused.
var otherAnswers = map[string]answer{
	`{"id":"98","status":200}`:                                    {98, 200},
	`{"status":200,"id":5}`:                                       {5, 200},
	` { "id" : 5 , "status" : 200 } `:                             {5, 200},
	`{"ID":5,"Status":200}`:                                       {5, 200},
	`{"id":5,"status":200,"headers":{"a":1},"body":{"b":[true]}}`: {5, 200},
	`{"id":5,"status":200,"body":"é"}`:                            {5, 200},
	`{"id":5,"status":200,"body":"","id":6}`:                      {6, 200},
	`{"id":5,"status":200,"body":"\u00e9"}`:                       {5, 200},
	`{"id":0,"status":200}`:                                       {0, 200},
	`{"id":18446744073709551615,"status":200}`:                    {18446744073709551615, 200},
	`{"id":18446744073709551616,"status":200}`:                    {},
	`{"id":05,"status":200}`:                                      {},
	`{"id":5,"status":0}`:                                         {},
	`{"id":5,"status":200.5}`:                                     {},
	`{"id":5,"status":99999999999999999999}`:                      {},
	`{"id":5,"status":200}}`:                                      {},
	`{"id":5,"status":200,}`:                                      {},
	`{"id":5,"status":200,"headers":{"a":"b",}}`:                  {},
	`{"id":5,"status":200,"headers":{"a":"b"}`:                    {},
	`{"id":5,"status":200,"body":"`:                               {},
	`{"id":5,"status":200,"body":"\`:                              {},
	`{"id":5,"status":200,"body":"\x"}`:                           {},
	"{\"id\":5,\"status\":200,\"body\":\"\t\"}":                   {},
	`{"id":-5,"status":200}`:                                      {},
	`{"id":,"status":200}`:                                        {},
	`{"id":5}`:                                                    {},
	`{"status":200}`:                                              {},
	``:                                                            {},
}

// TestUsualFrames parses the texts that the browser build writes, and checks that parsing allocates
// no memory. Allocations would mean that encoding/json has parsed them, for which each open socket
// would keep a larger stack.
func TestUsualFrames(t *testing.T) {
	for text, want := range usualAnswers {
		if got, ok := readAnswer(text); got != want || !ok {
			t.Errorf("%s is %+v, %v; want %+v", text, got, ok, want)
		}
		if n := testing.AllocsPerRun(10, func() { readAnswer(text) }); n > 0 {
			t.Errorf("reading %s allocates %v times; does encoding/json read it?", text, n)
		}
	}
	for text, want := range usualEvents {
		if got, ok := readName(text); got != want || !ok {
			t.Errorf("%s is %q, %v; want %q", text, got, ok, want)
		}
		if n := testing.AllocsPerRun(10, func() { readName(text) }); n > 0 {
			t.Errorf("reading %s allocates %v times; does encoding/json read it?", text, n)
		}
	}
}

// TestOtherFrames checks how texts in other forms than the browser build's are parsed, and that
// invalid texts are refused.
func TestOtherFrames(t *testing.T) {
	for text, want := range otherAnswers {
		if got, ok := readAnswer(text); ok != (want != answer{}) || ok && got != want {
			t.Errorf("%s is %+v, %v; want %+v", text, got, ok, want)
		}
	}
	for text, want := range map[string]string{
		`{}`: "", `{"args":[],"name":"ping"}`: "ping", `{"name":"p\u0069ng"}`: "ping", `{"name":"\/","args":[1]}`: "/",
		`{"NAME": "ping"}`: "ping", `{"name":"ping","args":[],"name":"pong"}`: "pong",
	} {
		if got, ok := readName(text); got != want || !ok {
			t.Errorf("%s is %q, %v; want %q", text, got, ok, want)
		}
	}
	for _, text := range []string{``, `x`, `{"name":1}`, `{"name":"ping"`, `{"name":"ping"}}`, `{"name":"ping","args":[{"a":"b"}}`, `{"name":"ping\"}`} {
		if got, ok := readName(text); ok {
			t.Errorf("%s is %q; want it refused", text, got)
		}
	}
}

// FuzzAnswer checks that encoding/json reads the same answer from every text that scanAnswer
// accepts.
func FuzzAnswer(f *testing.F) {
	for _, texts := range []map[string]answer{usualAnswers, otherAnswers} {
		for text := range texts {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := scanAnswer(text)
		if !ok {
			return
		}
		if want, ok := decodeAnswer(text); got != want || !ok {
			t.Errorf("%q is %+v; encoding/json reads %+v, %v", text, got, want, ok)
		}
	})
}

// FuzzName checks that encoding/json reads the same name from every text that scanName
// accepts.
func FuzzName(f *testing.F) {
	for text := range usualEvents {
		f.Add(text)
	}
	for _, text := range []string{`{"name":"p\u0069ng"}`, `{"name":"\\\""}`, `{"name":"a","args":[{"\/":"\t","b":""}]}`, `{"name":"ping"}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := scanName(text)
		if !ok {
			return
		}
		if want, ok := decodeName(text); got != want || !ok {
			t.Errorf("%q is %q; encoding/json reads %q, %v", text, got, want, ok)
		}
	})
}
