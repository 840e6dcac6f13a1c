package tty

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// dots marks the place where text was cut off. It is not "…", which takes two columns on some
// terminals.
const dots = "..."

const (
	nonJoiner      = '\u200c' // separates letters in Persian words
	joiner         = '\u200d' // joins several emoji into one
	emojiVariation = '\ufe0f' // this character makes an emoji of the character before it
)

// maxMarks is the greatest number of combining marks (such as accents) on a character. A
// terminal would draw more of them over the lines above and below.
const maxMarks = 4

// Clean returns text of a client in a form that may be printed on a terminal. It replaces each
// kind of blank by " ", and every other character that is not printable by "?". These are
// control characters, which the terminal would obey, and marks that change the direction of
// writing.
func Clean(s string) string {
	var m marks
	return strings.Map(func(r rune) rune {
		switch {
		case m.tooMany(r):
			return -1
		case unicode.Is(unicode.Zs, r):
			return ' '
		case r == utf8.RuneError, !visible(r):
			return '?'
		}
		return r
	}, s)
}

// Quote returns text of a client in double quotes on one line, so that the reader sees where it
// begins and ends. It escapes, as Go does, quotes, backslashes and all characters that Clean
// replaces, except blanks.
func Quote(s string) string {
	var b strings.Builder
	var m marks
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case m.tooMany(r):
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case visible(r):
			b.WriteRune(r)
		default:
			escaped := strconv.QuoteRuneToASCII(r)
			b.WriteString(escaped[1 : len(escaped)-1])
		}
	}
	b.WriteByte('"')
	return b.String()
}

// visible reports whether a terminal prints a character instead of obeying it.
func visible(r rune) bool { return unicode.IsPrint(r) || r == joiner || r == nonJoiner }

// marks is the number of consecutive combining marks just read from a text.
type marks int

// tooMany counts r, the next character of a text, and reports whether r is a combining mark
// after maxMarks others and so must be left out.
func (m *marks) tooMany(r rune) bool {
	if !unicode.In(r, unicode.Mn, unicode.Me) {
		*m = 0
		return false
	}
	*m++
	return *m > maxMarks
}

// Width returns the number of columns that s takes on a terminal. The colour codes that Paint
// writes take no column.
func Width(s string) int {
	n := 0
	for s != "" {
		size, columns := character(s)
		n += columns
		s = s[size:]
	}
	return n
}

// Cut returns s if it takes at most the given number of columns. Otherwise it returns the
// beginning of s followed by "...", which together take at most that number.
func Cut(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	var b strings.Builder
	room, cut := max(columns, 0)-len(dots), false
	if room < 0 {
		return dots[:max(columns, 0)]
	}
	for s != "" {
		size, taken := character(s)
		if room -= taken; room < 0 && !cut {
			cut = true
			b.WriteString(dots)
		}
		if !cut || colourCode(s) > 0 { // colour codes after the cut are kept, so that the colour ends
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// CutMiddle returns s if it takes at most the given number of columns. Otherwise it returns the
// beginning and the end of s with "..." between them, which together take at most that number.
func CutMiddle(s string, columns int) string {
	if Width(s) <= columns || columns < len(dots)+2 {
		return Cut(s, columns)
	}
	tail := (columns - len(dots)) / 2
	end := s
	for Width(end) > tail {
		size, _ := character(end)
		end = end[size:]
	}
	return Cut(s, columns-Width(end)) + end
}

// Pad appends blanks to s until it takes the given number of columns.
func Pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-Width(s)))
}

// character returns the size in bytes and the number of columns of the first character of s,
// together with the combining marks after it. A colour code of Paint counts as a character.
func character(s string) (size, columns int) {
	if n := colourCode(s); n > 0 {
		return n, 0
	}
	r, size := utf8.DecodeRuneInString(s)
	columns = columnsOf(r)
	for size < len(s) {
		mark, n := utf8.DecodeRuneInString(s[size:])
		if columnsOf(mark) > 0 {
			break
		}
		if mark == emojiVariation && columns == 1 {
			columns = 2
		}
		size += n
	}
	return size, columns
}

// colourCode returns the length of the colour code (see Paint) at the beginning of s, or 0 if s
// does not begin with one.
func colourCode(s string) int {
	rest, ok := strings.CutPrefix(s, "\x1b[")
	if !ok {
		return 0
	}
	digits := strings.TrimLeft(rest, "0123456789")
	if !strings.HasPrefix(digits, "m") {
		return 0
	}
	return len(s) - len(digits) + 1
}

func columnsOf(r rune) int {
	switch {
	case r < 0x300: // includes control characters, which Clean replaces
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	// Vowels and finals of a decomposed Korean syllable take no columns.
	case 0x1160 <= r && r <= 0x11ff, 0xd7b0 <= r && r <= 0xd7ff:
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
