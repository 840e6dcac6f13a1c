// Package tty lays out text for people who read it on a terminal. It measures, cuts, pads and
// wraps text by the number of columns that the text takes on a terminal, and makes text of
// strangers harmless.
//
// A Korean syllable and most emoji take two columns; a combining mark takes none. Terminals do
// not agree about emoji that are joined from several. The package adds up the columns of their
// parts, which is the most that any terminal takes, so that no line becomes too long.
package tty

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Screen describes the output of a command. The zero value stands for a file or a pipe: lines
// of any length, without colours.
type Screen struct {
	Columns int  // greatest number of columns of a line; 0 means that lines are not cut
	Colour  bool // colours may be used
}

// Of returns the Screen of w, or the zero Screen if w is not a terminal. The environment variable
// COLUMNS overrides the width of the terminal. The Screen has no colours if the variable NO_COLOR
// is not empty or TERM is "dumb".
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

// Colours that can be read on dark and on light backgrounds.
const (
	Green  Colour = "32"
	Yellow Colour = "33"
	Red    Colour = "31"
)

// Paint returns text in a colour. On a screen without colours it returns text unchanged.
func (s Screen) Paint(c Colour, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Row returns the cells and the text last as one line, with two blanks between them. If the
// line would be longer than the screen is wide, last gets a line of its own, indented by the
// given number of blanks and cut to the width. The result ends with a newline.
func (s Screen) Row(indent int, last string, cells ...string) string {
	line := strings.TrimRight(strings.Join(cells, "  "), " ")
	if last == "" {
		return s.cut(line) + "\n"
	}
	// Keep the blanks at the end of the last cell, so that the texts after it align in one
	// column.
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

// Wrap breaks text at blanks into lines that fit the screen. It indents all lines but the first
// by the given number of blanks, and assumes that the first begins at that column. It does not
// break a word that is longer than a line, so that the word can be copied.
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

// listIndent is the number of blanks before the second line of a row in a Table.
const listIndent = 4

// Table returns rows of cells in aligned columns, one line per row. If a line would be longer
// than the screen is wide, each row takes two lines. The first has the first cell, which is an
// id and is never cut, so that it can be copied. The second has the other cells, indented and
// cut.
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

// Align pads the cells of each column except the last to the width of the widest cell in the
// column. All rows must have the same number of cells.
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
