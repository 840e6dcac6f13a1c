package tty_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/tty"
)

// Texts in other scripts and with emoji or accents.
const (
	korean     = "안녕하세요"
	decomposed = "\u1112\u1161\u11ab" // 한
	family     = "👨\u200d👩\u200d👧"
	heart      = "❤\ufe0f"
	accents    = "cafe\u0301"
)

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "lunch": 5, korean: 10, decomposed: 2, "점심 🍜": 7, family: 6, heart: 2, accents: 4, "🇰🇷": 2, "1\ufe0f\u20e3": 2, "ｗ": 2, "é": 1, "…": 1,
		"\x1b[32m201\x1b[0m": 3, "\x1b[": 2, "\u2764\u0301": 1, "⌚\ufe0f": 2,
	} {
		if got := tty.Width(s); got != want {
			t.Errorf("Width(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s       string
		columns int
		want    string
	}{
		{"lunch", 5, "lunch"},
		{"lunches", 6, "lun..."},
		{korean, 10, korean},
		{korean, 9, "안녕하..."},
		{korean, 8, "안녕..."}, // a syllable takes two columns and does not fit into the one column that is left
		{accents + " latte", 7, accents + "..."},
		{"lunch", 3, "..."},
		{"lunch", 2, ".."},
		{"lunch", 0, ""},
		{"lunch", -1, ""},
		{"\x1b[31mbroken\x1b[0m", 5, "\x1b[31mbr...\x1b[0m"},
	} {
		if got := tty.Cut(c.s, c.columns); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.s, c.columns, got, c.want)
		}
	}
	if got, want := tty.CutMiddle("azsdk-python-communication-chat/1.2.0", 19), "azsdk-py...at/1.2.0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := tty.Pad(korean, 12), korean+"  "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNoLineIsTooLong cuts texts of all kinds of characters. It checks that no result takes more
// columns than allowed, and that a text that fits is not cut.
func TestNoLineIsTooLong(t *testing.T) {
	text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune(korean+decomposed+family+heart+accents))))
	rapid.Check(t, func(t *rapid.T) {
		s, columns := text.Draw(t, "text"), rapid.IntRange(0, 40).Draw(t, "columns")
		for name, shown := range map[string]string{"as it is": s, "clean": tty.Clean(s), "quoted": tty.Quote(s)} {
			for _, cut := range []string{tty.Cut(shown, columns), tty.CutMiddle(shown, columns)} {
				if w := tty.Width(cut); w > columns || tty.Width(shown) <= columns && cut != shown {
					t.Fatalf("%s: %q of %d columns was cut to %q of %d, of %d allowed", name, shown, tty.Width(shown), cut, w, columns)
				}
			}
		}
		for _, shown := range []string{tty.Clean(s), tty.Quote(s)} {
			for _, r := range shown {
				if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
					t.Fatalf("%q is shown with %U in it", s, r)
				}
			}
		}
	})
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"/\x1b[2J\r\n\a\u202e\xff":              "/?[2J?????",
		"점심\u3000🍜 " + family:                   "점심 🍜 " + family,
		"z" + strings.Repeat("\u0301", 100):     "z" + strings.Repeat("\u0301", 4),
		"\u009b31m \u2028 \u2066 \ufeff \ue000": "?31m ? ? ? ?",
	} {
		if got := tty.Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for s, want := range map[string]string{
		"":                     `""`,
		"lunch":                `"lunch"`,
		` two  blanks `:        `" two  blanks "`,
		`say "hi" \o/`:         `"say \"hi\" \\o/"`,
		"it's":                 `"it's"`,
		"a\nb\t\x1b[31m\u202e": `"a\nb\t\x1b[31m\u202e"`,
		"\xff\ufffd":           `"\xff` + "\ufffd" + `"`,
		korean + " " + family:  `"` + korean + " " + family + `"`,
		"점심\u3000🍜":            `"점심 🍜"`,
	} {
		if got := tty.Quote(s); got != want {
			t.Errorf("Quote(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestRow(t *testing.T) {
	s := tty.Screen{Columns: 20}
	for _, c := range []struct {
		last string
		want string
	}{
		{"", "21:04  ok\n"},
		{"short note", "21:04  ok  short note\n"[:0] + "21:04  ok\n  short note\n"},
		{"123456789", "21:04  ok  123456789\n"},
		{"a note that is too long for a line", "21:04  ok\n  a note that is ...\n"},
	} {
		if got := s.Row(2, c.last, "21:04", "ok"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.last, got, c.want)
		}
	}
	long := strings.Repeat("x", 300)
	if got, want := (tty.Screen{}).Row(2, long, "a", "b "), "a  b   "+long+"\n"; got != want {
		t.Errorf("without a width: got %q, want %q", got, want)
	}
	if got, want := s.Row(2, "", long), strings.Repeat("x", 17)+"...\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	s := tty.Screen{Columns: 20}
	for _, c := range [][2]string{
		{"short", "short"},
		{"raise it for a server: ulimit -n 65536", "raise it for a\n    server: ulimit\n    -n 65536"},
		{"a/path/that/is/longer/than/a/line stays whole", "a/path/that/is/longer/than/a/line\n    stays whole"},
		{korean + " " + korean, korean + "\n    " + korean},
	} {
		if got := s.Wrap(4, c[0]); got != c[1] {
			t.Errorf("got %q, want %q", got, c[1])
		}
	}
	if got, want := (tty.Screen{}).Wrap(4, strings.Repeat("x ", 100)), strings.Repeat("x ", 100); got != want {
		t.Errorf("without a width: got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	rows := func() [][]string {
		return [][]string{{"8:acs:1234567890", "live", ""}, {"8:acs:" + korean, "deleting", "a note that is too long"}}
	}
	for columns, want := range map[int]string{
		0:  "8:acs:1234567890  live\n8:acs:" + korean + "  deleting  a note that is too long\n",
		51: "8:acs:1234567890  live\n8:acs:" + korean + "  deleting  a note that is too long\n",
		50: "8:acs:1234567890\n    live\n8:acs:" + korean + "\n    deleting  a note that is too long\n",
		30: "8:acs:1234567890\n    live\n8:acs:" + korean + "\n    deleting  a note that i...\n",
		10: "8:acs:1234567890\n    live\n8:acs:" + korean + "\n    del...\n",
	} {
		if got := (tty.Screen{Columns: columns}).Table(rows()); got != want {
			t.Errorf("%d columns: got\n%s\nwant\n%s", columns, got, want)
		}
	}
	if got := (tty.Screen{Columns: 80}).Table(nil); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestAlign(t *testing.T) {
	rows := [][]string{{korean, "live", "x"}, {"a", "b", "long"}}
	tty.Align(rows)
	if got, want := strings.Join(rows[0], "|")+"\n"+strings.Join(rows[1], "|"), korean+"|live|x\na         |b   |long"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	tty.Align(nil)
}

// TestOfAFile checks that output to a file or a pipe is neither cut nor coloured, whatever
// COLUMNS and the other variables say, because another program may read it.
func TestOfAFile(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	t.Setenv("TERM", "xterm")
	if got := tty.Of(&bytes.Buffer{}); got != (tty.Screen{}) {
		t.Errorf("got %+v", got)
	}
}
