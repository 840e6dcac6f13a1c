package logs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestOutput checks the lines that an output writes while its level and its format change. One of
// the loggers has fields and a group, and one has its own level.
func TestOutput(t *testing.T) {
	var out bytes.Buffer
	o := NewOutput(&out)
	log := slog.New(o.Handler())
	inner := log.With("a", 1).WithGroup("g")
	audit := slog.New(o.HandlerFrom(slog.LevelInfo))
	lines := func(what string, want ...string) {
		t.Helper()
		out.Reset()
		log.Debug("debug")
		log.Info("info")
		inner.Warn("warn", "b", 2)
		audit.Info("audit")
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(got) != len(want) {
			t.Fatalf("%s: %q, want lines with %q", what, got, want)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("%s: line %q, want one with %q", what, got[i], want[i])
			}
		}
	}
	lines("at first", "level=INFO msg=info", "msg=warn a=1 g.b=2", "msg=audit")
	o.Set(slog.LevelDebug, true)
	lines("debug, JSON", `"msg":"debug"`, `"msg":"info"`, `"msg":"warn","a":1,"g":{"b":2}`, `"msg":"audit"`)
	o.Set(slog.LevelError, false)
	lines("errors, text", "level=INFO msg=audit")
}
