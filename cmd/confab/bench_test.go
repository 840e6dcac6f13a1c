package main

import (
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bench"
)

func TestBenchAdvice(t *testing.T) {
	result := func(median, p99 time.Duration) benchResult {
		l := bench.Latency{Median: median, P99: p99}
		return benchResult{
			flushed: l, Flush: latencyOf(l), Bytes: benchBytes{Content: 128, Kept: 231, Written: 1100},
			Sends: []benchSends{{Senders: 1, PerSecond: 1523}, {Senders: 64, PerSecond: 31_234}, {Senders: 256, PerSecond: 29_000}},
		}
	}
	for _, tt := range []struct {
		name        string
		median, p99 time.Duration
		want        []string // texts that the advice of bench disk must contain
		not         string
	}{
		{"memory", 5 * time.Microsecond, 9 * time.Microsecond, []string{"No disk flushes in 0.005 ms", "A power cut may lose messages"}, "1 flush of 100"},
		{"SSD", 600 * time.Microsecond, 2 * time.Millisecond, []string{"A flush takes 0.600 ms, as on a local SSD: good", "A single sender, who waits for each answer, gets 1,520 messages a second. Up to 31,200 a second were written for 64 senders at a time: as many as 312,000 people write",
			"A million messages like these take 220 MiB"}, "1 flush of 100"},
		{"network", 5 * time.Millisecond, 9 * time.Millisecond, []string{"5.00 ms, as on an SSD behind a network"}, "1 flush of 100"},
		{"hard disk", 12 * time.Millisecond, 30 * time.Millisecond, []string{"12.0 ms, as on a hard disk"}, "1 flush of 100"},
		{"too slow", 120 * time.Millisecond, 200 * time.Millisecond, []string{"120 ms: too slow for a data folder"}, "1 flush of 100"},
		{"uneven", time.Millisecond, 80 * time.Millisecond, []string{"1 flush of 100 takes 80.0 ms or longer"}, ""},
	} {
		got := strings.Join(result(tt.median, tt.p99).advice(), "\n")
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: the advice lacks %q:\n%s", tt.name, want, got)
			}
		}
		if tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: the advice has %q:\n%s", tt.name, tt.not, got)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 0.4: "0", 7: "7", 999: "999", 1000: "1,000", 1523: "1,520", 31_234: "31,200", 312_340: "312,000", 1_999_999: "2,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%v) = %q, want %q", n, got, want)
		}
	}
}
