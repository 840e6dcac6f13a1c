// Package tty lays out text for people who read it on a terminal. It measures, cuts, pads and
// wraps text by the columns that it takes there, and makes text of strangers harmless.
//
// A Korean syllable and most emoji take two columns, a combining mark takes none. Terminals do
// not agree about emoji that are joined from several: their parts are added up, which is the most
// that any terminal takes, so that no line is longer than it was meant to be.
package tty

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Screen describes what a command writes to. The zero value stands for a file or a pipe: lines
// of any length, without colours.
type Screen struct {
	Columns int  // of a line; 0 means that lines are not cut
	Colour  bool // colours may be used
}

// Of returns the Screen of w. It is the zero value unless w is a terminal. The variable COLUMNS
// overrides the width of the terminal; no colours are used if the variable NO_COLOR is not empty or
// TERM is "dumb".
func Of(w io.Writer) Screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Screen{}
	}
	s := Screen{Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.Columns = n
	} else if n, _, err := term.GetSize(int(f.Fd())); err == nil {
		s.Columns = n
	}
	return s
}

// Colour is the colour of a text. Its value is a parameter of the terminal's colour code.
type Colour string

// The colours that can be read on dark and on light backgrounds.
const (
	Green  Colour = "32"
	Yellow Colour = "33"
	Red    Colour = "31"
)

// Paint returns text in a colour, or as it is on a screen without colours.
func (s Screen) Paint(c Colour, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Row returns a line with the cells, and then the text last, with two blanks between them. If the
// line would be longer than the screen is wide, last goes to a line of its own, which is
// indented by so many blanks and cut to the width. The text ends with a newline.
func (s Screen) Row(indent int, last string, cells ...string) string {
	line := strings.TrimRight(strings.Join(cells, "  "), " ")
	if last == "" {
		return s.cut(line) + "\n"
	}
	// The blanks of the last cell keep the texts behind it in one column.
	if one := strings.Join(cells, "  ") + "  " + last; s.Columns == 0 || Width(one) <= s.Columns {
		return one + "\n"
	}
	return s.cut(line) + "\n" + s.cut(strings.Repeat(" ", indent)+last) + "\n"
}

func (s Screen) cut(line string) string {
	if s.Columns == 0 {
		return line
	}
	return Cut(line, s.Columns)
}

// Wrap returns text in lines that fit the screen. It breaks lines at blanks, and indents all but
// the first by so many blanks; the first is taken to begin at that column. A word that is longer than a
// line stays whole, so that it can be copied.
func (s Screen) Wrap(indent int, text string) string {
	if s.Columns <= indent || indent+Width(text) <= s.Columns {
		return text
	}
	var b strings.Builder
	at := indent
	for i, word := range strings.Split(text, " ") {
		width := Width(word)
		switch {
		case i == 0:
		case at+1+width > s.Columns && at > indent:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += width
	}
	return b.String()
}

// listIndent is the number of blanks before the second line of a row of Table.
const listIndent = 4

// Table returns rows of cells in aligned columns, a line for each. If a line would be longer than
// the screen is wide, each row has two lines: the first cell, which is an id and is never cut, so that
// it can be copied, and below it the others, indented and cut.
func (s Screen) Table(rows [][]string) string {
	Align(rows)
	fits := true
	var lines []string
	for _, row := range rows {
		line := strings.TrimRight(strings.Join(row, "  "), " ")
		lines = append(lines, line+"\n")
		fits = fits && (s.Columns == 0 || Width(line) <= s.Columns)
	}
	if fits {
		return strings.Join(lines, "")
	}
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(strings.TrimRight(row[0], " ") + "\n")
		if rest := strings.TrimRight(strings.Join(row[1:], "  "), " "); rest != "" {
			b.WriteString(s.cut(strings.Repeat(" ", listIndent)+rest) + "\n")
		}
	}
	return b.String()
}

// Align pads the cells of each column but the last to the width of the widest. All rows must
// have the same number of cells.
func Align(rows [][]string) {
	if len(rows) == 0 {
		return
	}
	for c := range len(rows[0]) - 1 {
		widest := 0
		for _, row := range rows {
			widest = max(widest, Width(row[c]))
		}
		for _, row := range rows {
			row[c] = Pad(row[c], widest)
		}
	}
}
