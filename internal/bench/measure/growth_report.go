package measure

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// GrowthReport is the result of Growth. Its medians are computed from all rounds.
type GrowthReport struct {
	Part        string       `json:"part"`
	Rounds      int          `json:"rounds"`
	SpanSeconds float64      `json:"spanSeconds"`
	Connections int          `json:"connections"`
	Stores      []GrownStore `json:"stores"`
	IdleSeconds float64      `json:"idleSeconds"`
	// memory of a server with an empty data folder, after IdleSeconds without load
	Empty      ProcessMemory      `json:"empty"`
	Starts     []GrownStart       `json:"starts"`
	Operations []GrownOperation   `json:"operations"`
	Minutes    []GrownMinute      `json:"firstSendsOfAMinute"`
	Bars       []Bar              `json:"bars"`
	Phases     map[string]float64 `json:"phaseSeconds"`
}

// GrownStore has the figures of a store with the given number of messages.
type GrownStore struct {
	Messages int           `json:"messages"`
	Kept     float64       `json:"keptBytes"`    // in tables, for each message
	Written  float64       `json:"writtenBytes"` // to files, for each message
	Idle     ProcessMemory `json:"idle"`         // after IdleSeconds without load
	After    ProcessMemory `json:"after"`        // after all operations
}

// GrownStart is how long a server needs from its start to its first answer, in milliseconds.
type GrownStart struct {
	Kind     string  `json:"kind"`
	Messages int     `json:"messages"`
	Median   float64 `json:"medianMilliseconds"`
	Least    float64 `json:"leastMilliseconds"`
	Most     float64 `json:"mostMilliseconds"`
	// median of the server's CPU time until its first answer, to 10 ms; 0 if it is not known
	CPU float64 `json:"cpuMilliseconds"`
}

// GrownOperation has the figures of one operation on all stores.
type GrownOperation struct {
	Name  string      `json:"name"`
	Cells []GrownCell `json:"cells"`
	P50   float64     `json:"largestToSmallestP50"`
	// the largest CPU time divided by the smallest; 0 if it is not known
	CPU float64 `json:"largestToSmallestCPU"`
}

// GrownCell has the figures of an operation on one store. Figure.Name describes the threads on
// which it was measured.
type GrownCell struct {
	Messages int `json:"messages"`
	Figure
}

// GrownMinute has the figures of the first message of a minute to a large thread. Times are medians
// in milliseconds.
type GrownMinute struct {
	Messages int     `json:"messages"`
	Members  int     `json:"members"`
	Samples  int     `json:"samples"`
	Took     float64 `json:"tookMilliseconds"`
	// the longest time that other senders waited for an answer in the 100 ms before this message
	Before float64 `json:"othersBeforeMilliseconds"`
	// the longest time that other senders waited for an answer in the 100 ms after the begin of
	// this send
	During float64 `json:"othersDuringMilliseconds"`
	Extra  float64 `json:"othersExtraMilliseconds"` // how much longer other senders waited during this send than before it
}

// spread returns the largest value that f returns for the cells divided by the smallest one, or 0
// if the smallest is 0.
func spread(cells []GrownCell, f func(GrownCell) float64) float64 {
	least, most := math.Inf(1), 0.0
	for _, c := range cells {
		least, most = min(least, f(c)), max(most, f(c))
	}
	if least == 0 {
		return 0
	}
	return most / least
}

// atMost returns a Bar, a limit for a figure, that is met if value is at most bar. Its goal is the
// same as its limit.
func atMost(name string, value, bar float64) Bar {
	return Bar{Name: name, Value: value, Bar: bar, Goal: bar, Most: true, Met: value <= bar}
}

// setBars computes the ratios between the stores for each operation, and the report's bars, which
// are limits for its figures.
func (r *GrowthReport) setBars() {
	for i := range r.Operations {
		o := &r.Operations[i]
		o.P50 = spread(o.Cells, func(c GrownCell) float64 { return c.P50 })
		o.CPU = spread(o.Cells, func(c GrownCell) float64 { return c.CPU })
		r.Bars = append(r.Bars, atMost(o.Name+": largest p50 / smallest", o.P50, 1.5))
	}
	for _, m := range r.Minutes {
		r.Bars = append(r.Bars, atMost(fmt.Sprintf("others wait for a first send of a minute, %s, ms", short(m.Messages)), m.Extra, 2))
	}
	most := map[string]float64{startEmpty: 60, startAgain: 30, startClean: 100, startKilled: 500}
	for _, s := range r.Starts {
		name := "start: " + s.Kind
		if s.Messages > 0 {
			name += ", " + short(s.Messages)
		}
		r.Bars = append(r.Bars, atMost(name+", ms", s.Median, most[s.Kind]))
	}
	// only for a large store, because a smaller one is hardly compacted
	if last := r.Stores[len(r.Stores)-1]; last.Messages >= 1_000_000 {
		name := " for a message, " + short(last.Messages)
		r.Bars = append(r.Bars, newBar("bytes kept"+name, last.Kept, 170, 140), newBar("bytes written"+name, last.Written, 1200, 900))
	}
	if r.Empty.Own > 0 {
		r.Bars = append(r.Bars, atMost(fmt.Sprintf("memory of its own, idle for %gs, no messages, MB", r.IdleSeconds), r.Empty.Own/1e6, 10))
	}
}

// short formats a number of messages in short, such as "10k" or "5M".
func short(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return fmt.Sprintf("%gM", float64(n)/1e6)
	case n >= 1000 && n%100 == 0:
		return fmt.Sprintf("%gk", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

// Print writes the report as tables.
func (r GrowthReport) Print(out io.Writer) {
	fmt.Fprintf(out, "\ngrowth: %d rounds of %gs, %d connections, medians\n", r.Rounds, r.SpanSeconds, r.Connections)
	for _, o := range r.Operations {
		ratio := fmt.Sprintf("p50 %.2f", o.P50)
		if o.CPU > 0 {
			ratio += fmt.Sprintf(", CPU %.2f", o.CPU)
		}
		fmt.Fprintf(out, "\n%-32s %9s %9s %8s %8s %8s %8s   largest / smallest: %s\n", o.Name, "answers/s", "CPU", "allocs", "written", "p50 ms", "p99 ms", ratio)
		for _, c := range o.Cells {
			fmt.Fprintf(out, "%9s messages, %-13s %9.0f %9s %8.1f %8.0f %8.3f %8.2f\n", short(c.Messages), c.Name, c.PerSecond, fmt.Sprintf("%.1fµs", c.CPU), c.Allocations, c.Written, c.P50, c.P99)
		}
	}
	if len(r.Minutes) > 0 {
		fmt.Fprintf(out, "\n%-32s %9s %14s %14s %9s   longest wait of others, and samples\n", "first send of a minute", "took ms", "before ms", "meanwhile ms", "more ms")
	}
	for _, m := range r.Minutes {
		fmt.Fprintf(out, "%9s messages, %-13s %9.2f %14.2f %14.2f %9.2f   %d\n", short(m.Messages), fmt.Sprint(m.Members, " members"), m.Took, m.Before, m.During, m.Extra, m.Samples)
	}
	fmt.Fprintf(out, "\n%-38s %9s %9s %9s %9s\n", "start to the first answer", "median ms", "least", "most", "CPU ms")
	for _, s := range r.Starts {
		on := s.Kind
		if s.Messages > 0 {
			on = fmt.Sprintf("%9s messages, %s", short(s.Messages), s.Kind)
		}
		fmt.Fprintf(out, "%-38s %9.1f %9.1f %9.1f %9.0f\n", on, s.Median, s.Least, s.Most, s.CPU)
	}
	fmt.Fprintf(out, "\n%-18s %14s %14s %20s %20s\n", "", "kept bytes", "written bytes", "idle MB (resident)", "after MB (resident)")
	memory := func(m ProcessMemory) string { return fmt.Sprintf("%.0f (%.0f)", m.Own/1e6, m.Resident/1e6) }
	fmt.Fprintf(out, "%-18s %14s %14s %20s\n", "       no messages", "", "", memory(r.Empty))
	for _, s := range r.Stores {
		fmt.Fprintf(out, "%9s messages %14.0f %14.0f %20s %20s\n", short(s.Messages), s.Kept, s.Written, memory(s.Idle), memory(s.After))
	}
	printBars(out, r.Bars)
	var phases []string
	for name, seconds := range r.Phases {
		phases = append(phases, fmt.Sprintf("%s %.0fs", name, seconds))
	}
	slices.Sort(phases)
	fmt.Fprintf(out, "\ntime: %v\n", phases)
}
