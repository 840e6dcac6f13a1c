package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// The shortest times between two reports of progress. On a terminal each report overwrites the last
// one. Elsewhere, as in a log, each report is a new line, so there are fewer reports.
const (
	progressOnTerminal = time.Second
	progressInLog      = 10 * time.Second
)

// progress counts rows and prints reports such as "exported 20480 rows, 2048 rows/s".
type progress struct {
	out      io.Writer
	verb     string // first word of a report, such as "exported"
	terminal bool
	now      func() time.Time

	rows        int
	began, last time.Time
}

func newProgress(out io.Writer, verb string) *progress {
	p := &progress{out: out, verb: verb, now: time.Now}
	if f, ok := out.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	p.began = p.now()
	p.last = p.began
	return p
}

// row counts one more row. It prints a report if enough time has passed since the last report.
func (p *progress) row() {
	if p.rows++; p.rows%1024 != 0 { // look at the clock only once in 1024 rows, because reading the clock takes time
		return
	}
	every := progressInLog
	if p.terminal {
		every = progressOnTerminal
	}
	now := p.now()
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	start, end := "", "\n"
	if p.terminal {
		start, end = "\r", "\x1b[K"
	}
	fmt.Fprintf(p.out, "%s%s %d rows, %.0f rows/s%s", start, p.verb, p.rows, float64(p.rows)/now.Sub(p.began).Seconds(), end)
}

// end removes the last progress report from a terminal. If the output is no terminal, end does
// nothing.
func (p *progress) end() {
	if p.terminal && p.last != p.began {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
