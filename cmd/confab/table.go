package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows whose columns are aligned. The zero value is an empty table.
type table struct{ rows [][]string }

// row adds a row. It replaces unprintable characters and shortens long cells, since they may
// come from a client.
func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i], 2000)
	}
	t.rows = append(t.rows, cells)
}

// print writes the rows, with two blanks between their columns and none at the ends of lines.
func (t *table) print(w io.Writer) error {
	var widths []int
	for _, cells := range t.rows {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, cells := range t.rows {
		line := ""
		for i, cell := range cells {
			line += pad(cell, widths[i]+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
