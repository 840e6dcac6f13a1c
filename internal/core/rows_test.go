package core

import (
	"fmt"
	"testing"
)

func TestWords(t *testing.T) {
	testWords(t, ParseMessageKind, Text, ParticipantRemoved)
	testWords(t, ParseEventKind, ThreadCreated, UserRemoved)
	testWords(t, ParseUserState, UserLive, UserDeleted)
}

// testWords checks that exactly the numbers from first to last have names, and that
// parse accepts exactly these names.
func testWords[K interface {
	~uint8
	fmt.Stringer
}](t *testing.T, parse func(string) (K, bool), first, last K) {
	t.Helper()
	for n := range 256 {
		k := K(n)
		got, ok := parse(k.String())
		if known := first <= k && k <= last; ok != known || known && got != k || !known && k.String() != "unknown" {
			t.Errorf("%T(%d) has the word %q, which parses as %d, %t", k, n, k.String(), got, ok)
		}
	}
	for _, s := range []string{"", "Live", "unknown", "text "} {
		if got, ok := parse(s); ok || got != 0 {
			t.Errorf("%q parses as %T(%d), %t", s, got, got, ok)
		}
	}
}
