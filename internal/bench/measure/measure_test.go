package measure

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bench/load"
)

// sampleOf returns a sample with the given number of answers per second and the given CPU time for
// each answer.
func sampleOf(rate int, cpu time.Duration) load.Sample {
	s := load.Sample{Answers: rate, Span: time.Second, Usage: load.Usage{CPU: cpu * time.Duration(rate)}, Latency: load.NewLatency()}
	_ = s.Latency.RecordValue(1000)
	return s
}

// TestRatiosArePairedByRound checks that the ratio is the median of the ratios of the rounds. The
// rates of the rounds differ so much that the ratio of the medians would be another value.
func TestRatiosArePairedByRound(t *testing.T) {
	subjects := []subject{{name: confab}, {name: "log"}}
	all := samples{
		confab: {sampleOf(100, 4*time.Microsecond), sampleOf(200, 4*time.Microsecond), sampleOf(300, 4*time.Microsecond)},
		"log":  {sampleOf(200, 2*time.Microsecond), sampleOf(400, 2*time.Microsecond), sampleOf(400, 2*time.Microsecond)},
	}
	got := figures(subjects, all)
	want := &Ratio{Rate: 0.5, Least: 0.5, Most: 0.75, CPU: 2, P99: 1}
	if diff := cmp.Diff(want, got[1].Ratio); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[0].Ratio != nil || got[0].PerSecond != 200 || got[0].CPU != 4 {
		t.Errorf("Confab: %+v", got[0])
	}
}

func TestBars(t *testing.T) {
	for _, tt := range []struct {
		value, bar, goal float64
		most, met        bool
	}{{0.7, 0.72, 0.85, false, false}, {0.72, 0.72, 0.85, false, true}, {1.7, 1.6, 1.35, true, false}, {1.5, 1.6, 1.35, true, true}} {
		if b := newBar("x", tt.value, tt.bar, tt.goal); b.Most != tt.most || b.Met != tt.met {
			t.Errorf("%+v, want most %v and met %v", b, tt.most, tt.met)
		}
	}
}

func TestSlowest(t *testing.T) {
	rounds := []load.Sample{{ByConnection: []int{4, 1, 4}}, {ByConnection: []int{4, 2, 3}}}
	// want 0.5, because the connection with the fewest answers has 3, and the mean is 6
	if got := slowest(rounds); got != 0.5 {
		t.Errorf("%v, want 0.5", got)
	}
}

const summary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.002000          10       200        20 read
 40.00    0.001000           5       100           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.003000           7       300        20 total
`

func TestSystemCalls(t *testing.T) {
	many, err := parseSummary(summary)
	if diff := cmp.Diff(map[string]int{"read": 200, "write": 100}, many); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	got := perSend(map[string]int{"read": 100}, many, 50)
	if diff := cmp.Diff(&Calls{PerSend: 4, Most: []Call{{"read", 2}, {"write", 2}}}, got, cmp.Transformer("sorted", func(cs []Call) map[string]float64 {
		all := map[string]float64{}
		for _, c := range cs {
			all[c.Name] = c.PerSend
		}
		return all
	})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := parseSummary("strace: no"); err == nil {
		t.Error("a message is a summary")
	}
	if text := (Calls{Not: "because strace is not installed"}).text(); !strings.Contains(text, "not counted, because strace is not installed") {
		t.Error(text)
	}
}

func TestSeconds(t *testing.T) {
	if s := secondsOf([]float64{0, 0, 5}); s.Median != 0 || s.Slowest != 0 {
		t.Errorf("no sends in most seconds: %+v", s)
	}
	s := secondsOf([]float64{100, 95, 105, 20, 101})
	if s.Median != 100 || s.Slowest != 0.2 {
		t.Errorf("%+v", s)
	}
	var out strings.Builder
	s.print(&out)
	const want = `sends acknowledged in each of 5 seconds: median 100, from 20 to 105; seconds by their part of the median:
 20 to  30 %     1 ############
 30 to  40 %     0
 40 to  50 %     0
 50 to  60 %     0
 60 to  70 %     0
 70 to  80 %     0
 80 to  90 %     0
 90 to 100 %     1 ############
100 to 110 %     3 ####################################
the slowest: 20 in second 4, 95 in second 2, 100 in second 1, 101 in second 5, 105 in second 3
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
