package main

import (
	"bytes"
	"testing"
	"time"
)

// TestProgress checks that progress overwrites one line every second on a terminal, and prints a
// new line every ten seconds to other outputs.
func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		terminal bool
		want     string
	}{
		{false, "exported 20480 rows, 2048 rows/s\n"},
		{true, "\rexported 2048 rows, 2048 rows/s\x1b[K\rexported 4096 rows, 2048 rows/s\x1b[K"},
	} {
		var out bytes.Buffer
		p := newProgress(&out, "exported")
		clock := p.began
		p.now, p.terminal = func() time.Time { return clock }, tc.terminal
		for out.Len() < len(tc.want) && p.rows < 1<<20 {
			if (p.rows+1)%1024 == 0 {
				clock = clock.Add(500 * time.Millisecond)
			}
			p.row()
		}
		if got := out.String(); got != tc.want {
			t.Errorf("terminal %v: %q, want %q", tc.terminal, got, tc.want)
		}
		out.Reset()
		p.end()
		if tc.terminal && out.String() != "\r\x1b[K" || !tc.terminal && out.Len() > 0 {
			t.Errorf("terminal %v: at the end %q", tc.terminal, out.String())
		}
	}
}
