package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// How often progress is shown: on a terminal in one line that is written over,
// elsewhere as lines of a log.
const (
	progressOnTerminal = time.Second
	progressInLog      = 10 * time.Second
)

// progress counts the rows of something that takes long.
type progress struct {
	out      io.Writer
	verb     string
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

// row counts one.
func (p *progress) row() {
	if p.rows++; p.rows%1024 != 0 { // the clock costs more than the row
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

// end leaves the line that was written over.
func (p *progress) end() {
	if p.terminal && p.last != p.began {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
