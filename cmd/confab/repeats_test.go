package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stacked is an error that adds a stack to its text, as Pebble's errors do.
type stacked struct{ error }

func (s stacked) Unwrap() error { return errors.Unwrap(s.error) }

func (s stacked) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, s.Error())
	if f.Flag('+') {
		fmt.Fprint(f, "\nstack trace")
	}
}

// TestRepeats logs 1,000 errors with one cause in ten seconds, and checks that eleven lines
// stand for all, without a stack, while other lines pass.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newRepeats(slog.NewTextHandler(&out, nil)))
		full := errors.New("no space")
		for i := range 1000 {
			log.Error("request refused", "request", i, "error", stacked{fmt.Errorf("write %d: %w", i, full)})
			time.Sleep(10 * time.Millisecond)
		}
		log.Error("request refused", "error", errors.New("another"))
		log.Info("request", "error", full)
		log.Info("request", "error", full)
		time.Sleep(2 * repeatEvery)
		synctest.Wait()
		lines, stand := 0, 0
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, "request refused") || strings.Contains(line, "another") {
				continue
			}
			lines++
			times := 1
			if _, n, ok := strings.Cut(strings.TrimSpace(line), "times="); ok {
				times, _ = strconv.Atoi(n)
			}
			stand += times
		}
		if lines != 11 || stand != 1000 {
			t.Errorf("%d lines stand for %d errors, want 11 for 1000\n%s", lines, stand, &out)
		}
		for text, want := range map[string]int{"stack trace": 0, "another": 1, "msg=request ": 2} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%d lines with %q, want %d\n%s", got, text, want, &out)
			}
		}
	})
}
