package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestRefusalsAreBounded checks that at most maxRefusals refused requests are logged in a
// second, that the others are counted, and that requests which succeed are always logged.
func TestRefusalsAreBounded(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var f refusals
	now := time.Unix(1_800_000_000, 0)
	logged := 0
	for i := range 5 * maxRefusals {
		if f.mayLog(log, []int{401, 429, 503, 0}[i%4], now.Add(time.Duration(i)*time.Microsecond)) {
			logged++
		}
		if !f.mayLog(log, 201, now) {
			t.Fatal("a request that succeeded is not logged")
		}
	}
	if logged != maxRefusals || out.Len() > 0 {
		t.Errorf("%d lines in a second, want %d; the log says %q", logged, maxRefusals, &out)
	}
	if !f.mayLog(log, 401, now.Add(time.Second)) || !strings.Contains(out.String(), "times=400") {
		t.Errorf("in the next second the log says %q, want the number of those before", &out)
	}
}
