package main

import (
	"io"

	"github.com/confab-chat/confab/internal/tty"
)

// table prints rows whose columns are aligned. All rows have the same number of cells. The zero
// value is an empty table.
type table struct{ rows [][]string }

// row adds a row. It replaces unprintable characters and shortens long cells, since they may
// come from a client.
func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i], 2000)
	}
	t.rows = append(t.rows, cells)
}

// print writes the rows to w. If w is a terminal, it fits them to the width of the terminal.
func (t *table) print(w io.Writer) error {
	_, err := io.WriteString(w, tty.Of(w).Table(t.rows))
	return err
}
