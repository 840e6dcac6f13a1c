package measure

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// Report is the result of one part of `confab bench`.
type Report struct {
	Part        string      `json:"part"`
	What        string      `json:"what"` // the load in words
	Rounds      int         `json:"rounds"`
	SpanSeconds float64     `json:"spanSeconds"`
	Cells       []Cell      `json:"cells"`
	SystemCalls *Calls      `json:"systemCalls,omitempty"`
	Seconds     *Seconds    `json:"seconds,omitempty"`
	Memory      *Memory     `json:"memoryBytes,omitempty"`
	Bars        []Bar       `json:"bars"`
	ReadBack    *load.Found `json:"readBack,omitempty"`
	Notes       []string    `json:"notes,omitempty"`
}

// Cell has the results of all servers for one number of connections or one fixed rate.
type Cell struct {
	Connections int      `json:"connections"`
	PerSecond   float64  `json:"fixedPerSecond,omitempty"` // 0: closed loop
	Servers     []Figure `json:"servers"`                  // Confab first
	// Slowest is the number of answers to the connection that got the fewest from Confab, divided
	// by the mean number of answers to a connection. It is 0 if the part does not report it.
	Slowest float64 `json:"slowestToMean,omitempty"`
}

// Figure holds the medians of a server over all rounds. CPU, Allocations, Allocated and Written are
// the amounts that the server's process used for each answer.
type Figure struct {
	Name        string  `json:"name"`
	PerSecond   float64 `json:"perSecond"`
	CPU         float64 `json:"cpuMicroseconds"`
	Allocations float64 `json:"allocations"`
	Allocated   float64 `json:"allocatedBytes"`
	// bytes that the embedded store has written for each answer; 0 for reference servers
	Written float64 `json:"writtenBytes"`
	P50     float64 `json:"p50Milliseconds"`
	P99     float64 `json:"p99Milliseconds"`
	P999    float64 `json:"p999Milliseconds"`
	// Ratio compares Confab with this server, round by round. It is nil in the Figure of Confab.
	Ratio *Ratio `json:"confabTo,omitempty"`
}

// Ratio holds ratios of Confab's figures to another server's. Rate, CPU and P99 are the medians of
// the ratios of all rounds. Least and Most are the smallest and the largest ratio of the rates: if
// they differ much, the median is not reliable.
type Ratio struct {
	Rate  float64 `json:"rate"`
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
	CPU   float64 `json:"cpu"`
	P99   float64 `json:"p99"`
}

// Bar compares a figure with a limit that is required of it.
type Bar struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Bar   float64 `json:"bar"`
	Goal  float64 `json:"goal"`
	Most  bool    `json:"most"` // true if the limit Bar is the largest allowed value, false if it is the smallest
	Met   bool    `json:"met"`
}

func newBar(name string, value, bar, goal float64) Bar {
	most := goal < bar
	return Bar{Name: name, Value: value, Bar: bar, Goal: goal, Most: most, Met: most && value <= bar || !most && value >= bar}
}

// figures returns the medians of each measured server, in the order of subjects. The first subject
// must be Confab.
func figures(subjects []subject, all samples) []Figure {
	var fs []Figure
	ours := all[subjects[0].name]
	for i, s := range subjects {
		f := medians(s.name, all[s.name])
		if i > 0 {
			f.Ratio = ratio(ours, all[s.name])
		}
		fs = append(fs, f)
	}
	return fs
}

func medians(name string, ss []load.Sample) Figure {
	of := func(f func(load.Sample) float64) float64 { return load.Median(each(ss, f)) }
	quantile := func(q float64) float64 {
		return of(func(s load.Sample) float64 { return float64(s.Latency.ValueAtQuantile(q)) / 1000 })
	}
	return Figure{
		Name:        name,
		PerSecond:   of(load.Sample.Rate),
		CPU:         of(func(s load.Sample) float64 { return float64(s.CPU()) / float64(time.Microsecond) }),
		Allocations: of(func(s load.Sample) float64 { return s.Usage.Allocations / float64(s.Answers) }),
		Allocated:   of(func(s load.Sample) float64 { return s.Usage.Allocated / float64(s.Answers) }),
		Written:     of(func(s load.Sample) float64 { return s.Usage.Written / float64(s.Answers) }),
		P50:         quantile(50), P99: quantile(99), P999: quantile(99.9),
	}
}

func each(ss []load.Sample, f func(load.Sample) float64) []float64 {
	xs := make([]float64, len(ss))
	for i, s := range ss {
		xs[i] = f(s)
	}
	return xs
}

// ratio divides the rate, the CPU time and the 99th percentile of latency of one server (ours) by
// the same figures of another (theirs), round by round. It returns the median of each ratio, and
// the smallest and the largest ratio of the rates.
func ratio(ours, theirs []load.Sample) *Ratio {
	rates := make([]float64, len(ours))
	cpus, p99s := make([]float64, len(ours)), make([]float64, len(ours))
	for i, a := range ours {
		b := theirs[i]
		rates[i] = a.Rate() / b.Rate()
		p99s[i] = float64(a.Latency.ValueAtQuantile(99)) / float64(b.Latency.ValueAtQuantile(99))
		if b.CPU() > 0 {
			cpus[i] = float64(a.CPU()) / float64(b.CPU())
		}
	}
	r := &Ratio{Rate: load.Median(rates), CPU: load.Median(cpus), P99: load.Median(p99s), Least: math.Inf(1)}
	for _, x := range rates {
		r.Least, r.Most = min(r.Least, x), max(r.Most, x)
	}
	return r
}

// find returns the ratio of Confab to the named server in the cell, or nil if the cell has none.
func (c Cell) find(name string) *Ratio {
	for _, f := range c.Servers {
		if f.Name == name {
			return f.Ratio
		}
	}
	return nil
}

// Print writes the report as tables.
func (r Report) Print(out io.Writer) {
	rounds := fmt.Sprintf("%d rounds of %gs, medians", r.Rounds, r.SpanSeconds)
	if r.Rounds == 1 {
		rounds = fmt.Sprintf("one round of %gs", r.SpanSeconds)
	}
	fmt.Fprintf(out, "\n%s: %s, %s\n", r.Part, r.What, rounds)
	for _, c := range r.Cells {
		title := fmt.Sprint(c.Connections, " connections")
		if c.PerSecond > 0 {
			title = fmt.Sprintf("%.0f/s on %d conns", c.PerSecond, c.Connections)
		}
		fmt.Fprintf(out, "\n%-20s %9s %9s %7s %8s %8s %8s %8s | confab to it: rate (from, to) %5s %5s\n", title,
			"answers/s", "CPU", "allocs", "bytes", "written", "p50 ms", "p99 ms", "CPU", "p99")
		for _, f := range c.Servers {
			fmt.Fprintf(out, "%20s %9.0f %9s %7.1f %8.0f %8.0f %8.2f %8.2f |", f.Name, f.PerSecond, fmt.Sprintf("%.1fµs", f.CPU), f.Allocations, f.Allocated, f.Written, f.P50, f.P99)
			if x := f.Ratio; x != nil {
				fmt.Fprintf(out, " %18.2f (%.2f, %.2f) %5.2f %5.2f", x.Rate, x.Least, x.Most, x.CPU, x.P99)
			}
			fmt.Fprintln(out)
		}
	}
	fmt.Fprintln(out)
	if c := r.SystemCalls; c != nil {
		fmt.Fprintln(out, c.text())
	}
	if r.Seconds != nil {
		r.Seconds.print(out)
	}
	if r.Memory != nil {
		fmt.Fprintln(out, r.Memory.text())
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, n)
	}
	if r.ReadBack != nil {
		f := *r.ReadBack
		fmt.Fprintf(out, "read back: %d acknowledged, %d lost, %d doubled, %d reordered, %d changed\n", f.Acknowledged, f.Lost, f.Doubled, f.Reordered, f.Wrong)
	}
	printBars(out, r.Bars)
}

// printBars writes a line for each bar, which is a figure with its limit.
func printBars(out io.Writer, bars []Bar) {
	if len(bars) > 0 {
		fmt.Fprintf(out, "\n%-52s %8s %8s %8s\n", "", "value", "bar", "goal")
	}
	for _, b := range bars {
		met := "met"
		if !b.Met {
			met = "bar missed"
		}
		sign := "≥"
		if b.Most {
			sign = "≤"
		}
		fmt.Fprintf(out, "%-52s %8.2f %8s %8s  %s\n", b.Name, b.Value, sign+trim(b.Bar), sign+trim(b.Goal), met)
	}
}

// trim formats x without zeros at its end: "0.8".
func trim(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", x), "0"), ".")
}
