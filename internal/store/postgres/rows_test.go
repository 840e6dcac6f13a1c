package postgres

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

// TestLists holds the bytes of maps and lists fast: databases hold them.
func TestLists(t *testing.T) {
	m := map[string]string{"b": "2", "a": "\x00\xff"}
	is := []core.Interval{{From: 1, To: 300}, {From: 301}}
	ps := []core.MessageParticipant{{User: "8:a", DisplayName: "Änn", ShareHistory: -1}}
	bad := []core.InvalidParticipant{{User: "8:b", Code: "404", Message: "Not found"}}
	for _, c := range []struct {
		name   string
		value  []byte
		hex    string
		decode func([]byte) (any, error)
		want   any
	}{
		{"map", encodeMap(m), "01020161" + "0200ff" + "01620132", func(b []byte) (any, error) { return decodeMap(b) }, m},
		{"empty map", encodeMap(map[string]string{}), "", func(b []byte) (any, error) { return decodeMap(b) }, map[string]string(nil)},
		{"intervals", encodeIntervals(is), "010201ac02ad0200", func(b []byte) (any, error) { return decodeIntervals(b) }, is},
		{"no intervals", encodeIntervals(nil), "0100", func(b []byte) (any, error) { return decodeIntervals(b) }, []core.Interval{}},
		{"participants", encodeParticipants(ps), "010103383a6104c3846e6e01", func(b []byte) (any, error) { return decodeParticipants(b) }, ps},
		{"invalid", encodeInvalid(bad), "010103383a6203343034094e6f7420666f756e64", func(b []byte) (any, error) { return decodeInvalid(b) }, bad},
	} {
		if got := hex.EncodeToString(c.value); got != c.hex {
			t.Errorf("%s is %s, want %s", c.name, got, c.hex)
		}
		got, err := c.decode(c.value)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s read back: %v (-want +got):\n%s", c.name, err, diff)
		}
		for n := range len(c.value) {
			if _, err := c.decode(append([]byte{}, c.value[:n]...)); err == nil {
				t.Errorf("%s cut to %d bytes is read without an error", c.name, n)
			}
		}
		if len(c.value) > 0 {
			if _, err := c.decode(append(append([]byte{}, c.value...), 0)); !errors.Is(err, errShort) {
				t.Errorf("%s with a byte too many: %v", c.name, err)
			}
			if _, err := c.decode(append([]byte{9}, c.value[1:]...)); !errors.Is(err, errFormat) {
				t.Errorf("%s in another format: %v", c.name, err)
			}
		}
	}
}
