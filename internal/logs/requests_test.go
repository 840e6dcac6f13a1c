package logs

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/cputime"
)

// TestRequestLinesAreThoseOfSlog makes random records and checks that the handler for lines about
// requests writes the same bytes as slog's handlers, as text and as JSON.
func TestRequestLinesAreThoseOfSlog(t *testing.T) {
	hostile := []string{
		"", " ", "a", "a b", "a=b", `"`, `\`, `a\b`, `a"b`, "a\nb", "a\rb", "a\tb", "\x00", "\x1b[31m", "\x7f", "\u0085", "é", "日本", "\u00a0", "\u2028\u2029", "\ufeff",
		"\xff", "a\xc3", "\xed\xa0\x80", "\ufffd", "<b>&'", "time=x level=ERROR msg=forged", "azsdk-python-communication-chat/1.2.0 Python/3.11 (Linux)", "8:acs:1_2", "19:a@thread.v2",
	}
	word := rapid.OneOf(rapid.SampledFrom(hostile), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	value := rapid.OneOf(
		rapid.Map(word, slog.StringValue),
		rapid.Map(rapid.Int64(), slog.Int64Value),
		rapid.Map(rapid.Float64(), slog.Float64Value),
		rapid.Map(rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 0.001, 1e-6, 1e-7, 12.345, 1e20, 1e21, 123456789.125, -1}), slog.Float64Value),
		rapid.Map(rapid.Uint64(), slog.Uint64Value), rapid.Map(rapid.Bool(), slog.BoolValue),
		rapid.Map(rapid.Int64(), func(n int64) slog.Value { return slog.DurationValue(time.Duration(n)) }),
		rapid.Map(word, func(s string) slog.Value { return slog.AnyValue([]string{s}) }),
		rapid.Map(word, func(s string) slog.Value { return slog.GroupValue(slog.String("in", s)) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		if rapid.Bool().Draw(t, "zone") {
			at = at.In(time.FixedZone("x", int(rapid.Int64Range(-12*60, 14*60).Draw(t, "minutes"))*60))
		}
		r := slog.NewRecord(at, slog.Level(rapid.IntRange(0, 9).Draw(t, "level")), word.Draw(t, "message"), 0)
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			r.AddAttrs(slog.Attr{Key: rapid.OneOf(rapid.Just("status"), word).Draw(t, "key"), Value: value.Draw(t, "value")})
		}
		var got, want bytes.Buffer
		o := NewOutput(&got)
		for _, json := range []bool{false, true} {
			got.Reset()
			want.Reset()
			o.Set(slog.LevelInfo, json)
			var judge slog.Handler = slog.NewTextHandler(&want, nil)
			if json {
				judge = slog.NewJSONHandler(&want, nil)
			}
			if err := o.RequestHandler().Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if err := judge.Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Fatalf("JSON %v (-slog +got):\n%s", json, diff)
			}
		}
	})
}

// TestUsualRequestLinesAreFast checks that the line of a usual request takes the fast path, as text
// and as JSON. Otherwise TestRequestLinesAreThoseOfSlog would only compare slog with itself.
func TestUsualRequestLinesAreFast(t *testing.T) {
	for _, json := range []bool{false, true} {
		if line, ok := appendLine(nil, usualRequest(), json); !ok {
			t.Errorf("JSON %v: no line, but %q", json, line)
		}
	}
}

// usualRequest returns the log record that a server writes for an SDK's request to send a message.
func usualRequest() slog.Record {
	r := slog.NewRecord(time.Unix(1_800_000_000, 123_456_789), slog.LevelInfo, "request", 0)
	r.AddAttrs(slog.Int("status", 201), slog.String("operation", "send message"), slog.Float64("ms", 1.532),
		slog.String("method", "POST"), slog.String("path", "/chat/threads/19:f00dbeefcafe4b1e9a6b0c2d4e6f8a1b@thread.v2/messages"),
		slog.String("thread", "19:f00dbeefcafe4b1e9a6b0c2d4e6f8a1b@thread.v2"),
		slog.String("user", "8:acs:11111111-2222-4333-8444-555555555555_0000002a-1c5b-6f3e-88f7-08482200b426"),
		slog.String("note", ""), slog.String("reason", ""), slog.String("code", ""), slog.String("why", ""), slog.String("client", "127.0.0.1"),
		slog.String("agent", "azsdk-js-communication-chat/1.6.0 core-rest-pipeline/1.19.1 Node/22.11.0 OS/(x64-Linux-6.8.0)"),
		slog.String("request", "ABCDEFGHIJKLMNOPQRSTUVWXYZ.0"), slog.String("client_request", "6b0c2d4e-1c5b-4f3e-88f7-08482200b426"))
	return r
}

// BenchmarkRequestLine measures the line of a usual request that is written to a file: "each" with
// a call of write for each line, "buffered" with slog's handler, and "fast" as a server does it.
func BenchmarkRequestLine(b *testing.B) {
	for _, json := range []bool{false, true} {
		for _, way := range []string{"each", "buffered", "fast"} {
			b.Run(map[bool]string{false: "text", true: "JSON"}[json]+"/"+way, func(b *testing.B) {
				file, err := os.Create(filepath.Join(b.TempDir(), "log"))
				if err != nil {
					b.Fatal(err)
				}
				defer file.Close()
				o := NewOutput(file)
				if way != "each" {
					o = NewBufferedOutput(file)
					defer o.Close()
				}
				o.Set(slog.LevelInfo, json)
				h := NewClip(NewRepeats(o.Handler()))
				switch way {
				case "buffered":
					h = NewClip(o.handler(o.requests, &o.level))
				case "fast":
					h = NewClip(o.RequestHandler())
				}
				before := cputime.Self()
				b.ReportAllocs()
				for b.Loop() {
					if err := h.Handle(context.Background(), usualRequest()); err != nil && way == "each" {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cputime.Self()-before)/float64(b.N), "CPU-ns/op")
				b.ReportMetric(float64(o.Dropped())/float64(b.N), "dropped/op")
			})
		}
	}
}
