package clip_test

import (
	"testing"

	"github.com/confab-chat/confab/internal/clip"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		s    string
		max  int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc…"},
		{"aé", 2, "a…"},
		{"a\xffbcd", 3, "ab…"},
	} {
		if got := clip.Text(c.s, c.max); got != c.want {
			t.Errorf("Text(%q, %d) = %q, want %q", c.s, c.max, got, c.want)
		}
	}
}
