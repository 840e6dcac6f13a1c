package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWatched reports results of database checks. It tests when the database counts as
// unreachable, with which reason, and what is logged. While a check is running, only the time
// since the last successful check counts.
func TestWatched(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Now()
	w := newWatched(now)
	refused := errors.Join(errors.New("dial"), syscall.ECONNREFUSED)
	at := func(seconds float64) time.Time { return now.Add(time.Duration(seconds * float64(time.Second))) }
	check := func(seconds float64, want string, lines int) {
		t.Helper()
		if got := w.away(at(seconds)); got != want {
			t.Errorf("after %v s: %q, want %q", seconds, got, want)
		}
		if got := strings.Count(out.String(), "\n"); got != lines {
			t.Errorf("after %v s: %d lines in the log, want %d:\n%s", seconds, got, lines, out.String())
		}
	}
	check(5.9, "", 0)
	check(6, "it does not answer", 0) // no check has ended since the start, so the reason is the silence
	w.note(nil, at(7), log)
	check(12.9, "", 1)
	w.note(refused, at(8), log)
	check(8, "", 1) // a single failure does not make the database unreachable
	w.note(refused, at(9), log)
	check(9, "it refuses connections", 2)
	w.note(refused, at(10), log)
	check(30, "it refuses connections", 2)
	w.note(nil, at(31), log)
	check(31, "", 3)
	if text := out.String(); !strings.Contains(text, "the database is away") || !strings.Contains(text, "it refuses connections") || strings.Count(text, "the database is back") != 2 {
		t.Errorf("the log says\n%s", text)
	}
}
