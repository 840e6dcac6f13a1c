package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// table prints rows whose columns are aligned. Make one with newTable and call flush at the
// end.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

// row adds a row. It replaces unprintable characters and shortens long cells, since they may
// come from a client. Trailing cells that are empty leave no blanks.
func (t table) row(cells ...string) {
	for len(cells) > 1 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	for i := range cells {
		cells[i] = printable(cells[i], 2000)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t")) // reported by flush
}

// flush writes the rows. It fails if one could not be written.
func (t table) flush() error { return t.w.Flush() }
