package measure

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bench/seed"
)

func cellOf(messages int, name string, p50, cpu float64) GrownCell {
	return GrownCell{Messages: messages, Figure: Figure{Name: name, P50: p50, CPU: cpu}}
}

func TestGrowthBars(t *testing.T) {
	r := GrowthReport{
		Stores: []GrownStore{{Messages: 10_000, Kept: 300, Written: 3000}, {Messages: 1_000_000, Kept: 160, Written: 1300}},
		Operations: []GrownOperation{
			{Name: "send", Cells: []GrownCell{cellOf(10_000, "2 members", 2, 10), cellOf(10_000, "100 members", 4, 12), cellOf(1_000_000, "2 members", 1, 30)}},
			{Name: "get", Cells: []GrownCell{cellOf(10_000, "2 members", 2, 0), cellOf(1_000_000, "2 members", 3, 0)}},
		},
		Minutes: []GrownMinute{{Messages: 10_000, Extra: 2.5}},
		Starts:  []GrownStart{{Kind: startEmpty, Median: 60}, {Kind: startKilled, Messages: 10_000, Median: 501}},
	}
	r.setBars()
	want := []Bar{
		{"send: largest p50 / smallest", 4, 1.5, 1.5, true, false},
		{"get: largest p50 / smallest", 1.5, 1.5, 1.5, true, true},
		{"others wait for a first send of a minute, 10k, ms", 2.5, 2, 2, true, false},
		{"start: empty folder, ms", 60, 60, 60, true, true},
		{"start: after a kill, 10k, ms", 501, 500, 500, true, false},
		{"bytes kept for a message, 1M", 160, 170, 140, true, true},
		{"bytes written for a message, 1M", 1300, 1200, 900, true, false},
	}
	if diff := cmp.Diff(want, r.Bars); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.Operations[0].CPU != 3 || r.Operations[1].CPU != 0 {
		t.Errorf("CPU: %v and %v times, want 3, and 0 because it is not known", r.Operations[0].CPU, r.Operations[1].CPU)
	}
	var out bytes.Buffer
	r.Print(&out)
	for _, line := range []string{"largest / smallest: p50 4.00, CPU 3.00\n", "largest / smallest: p50 1.50\n", "  1M messages, 2 members "} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in:\n%s", line, out.String())
		}
	}
}

func TestWaits(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(0, 0).Add(d) }
	w := &waits{}
	w.note(at(0), at(3*time.Millisecond))
	w.note(at(3*time.Millisecond), at(4*time.Millisecond))
	w.first = at(5 * time.Millisecond)
	w.note(at(4*time.Millisecond), at(24*time.Millisecond)) // in progress at its begin
	w.ended = true
	w.note(at(100*time.Millisecond), at(130*time.Millisecond)) // began within the time watched
	w.note(at(106*time.Millisecond), at(906*time.Millisecond))
	if w.before != 3*time.Millisecond || w.during != 30*time.Millisecond || w.answers != 2 {
		t.Errorf("%v before in %d answers, %v during, want 3ms in 2, 30ms", w.before, w.answers, w.during)
	}
}

func TestMemoryOf(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system has no /proc/self/status")
	}
	if m := memoryOf(os.Getpid()); m.Own <= 0 || m.Resident < m.Own {
		t.Errorf("%+v", m)
	}
	if m := memoryOf(-1); m != (ProcessMemory{}) {
		t.Errorf("a process that does not exist has %+v", m)
	}
}

// TestRequestsSpread checks that successive requests go to different threads.
func TestRequestsSpread(t *testing.T) {
	threads := []seed.Thread{
		{Thread: load.Thread{ID: "a", Bearers: []string{"a1", "a2"}}, Some: []int64{1, 2, 3}},
		{Thread: load.Thread{ID: "b", Bearers: []string{"b1", "b2"}}, Some: []int64{4, 5}},
	}
	got := perMember(threads, func(_ seed.Thread, bearer string) string { return bearer })
	if diff := cmp.Diff([]string{"a1", "b1", "a2", "b2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShort(t *testing.T) {
	for n, want := range map[int]string{100: "100", 1000: "1k", 10_000: "10k", 1500: "1.5k", 1_000_000: "1M", 2_500_000: "2.5M", 12_345: "12345"} {
		if got := short(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
