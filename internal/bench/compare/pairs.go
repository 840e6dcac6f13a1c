package main

import (
	"fmt"
	"io"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// names holds the names of the two builds that are compared. Its index is 0 for the first build and
// 1 for the second.
var names = [2]string{"A", "B"}

// sample is the result of measuring one server once.
type sample struct {
	rate float64       // answered requests per second
	cpu  time.Duration // the server's user and system time per request; 0 if it is not known
}

// pair holds the results of two measurements in succession, one of each build.
type pair [2]sample

// rate returns the requests per second of build B divided by the requests per second of build A.
func (p pair) rate() float64 { return p[1].rate / p[0].rate }

// cpu returns the CPU time per request of build B divided by the CPU time per request of build A,
// or 0 if one of them is not known.
func (p pair) cpu() float64 {
	if p[0].cpu == 0 || p[1].cpu == 0 {
		return 0
	}
	return float64(p[1].cpu) / float64(p[0].cpu)
}

// maxSpread is the maximum accepted difference between the ratios of the pairs (see spread). If
// they differ more, compare measures twice as many pairs.
const maxSpread = 0.06

// spread returns how far the ratios of the two builds' rates differ between the pairs. It ignores
// CPU times. It also ignores the rates themselves, because they change with the load of the
// machine.
func spread(pairs []pair) float64 { return load.Spread(ratios(pairs, pair.rate)) }

func ratios(pairs []pair, of func(pair) float64) []float64 {
	rs := make([]float64, len(pairs))
	for i, p := range pairs {
		rs[i] = of(p)
	}
	return rs
}

// compare measures n pairs, or 2n pairs if the results of the first n pairs differ too much, and
// prints each pair and the medians. It returns the first error of measure.
func compare(out io.Writer, n int, measure func(side int) (sample, error)) error {
	fmt.Fprintf(out, "%4s %5s | %11s %9s | %11s %9s | %8s %7s\n", "pair", "order", "A sends/s", "CPU", "B sends/s", "CPU", "B/A rate", "CPU")
	var pairs []pair
	more := func() error {
		var p pair
		sides := load.Order(len(pairs), 2)
		for _, side := range sides {
			var err error
			if p[side], err = measure(side); err != nil {
				return fmt.Errorf("pair %d, %s: %w", len(pairs)+1, names[side], err)
			}
		}
		pairs = append(pairs, p)
		fmt.Fprintf(out, "%4d %5s | %11.0f %9s | %11.0f %9s | %8.3f %7s\n", len(pairs), names[sides[0]]+" "+names[sides[1]],
			p[0].rate, micros(p[0].cpu), p[1].rate, micros(p[1].cpu), p.rate(), ratio(p.cpu()))
		return nil
	}
	for len(pairs) < n {
		if err := more(); err != nil {
			return err
		}
	}
	if s := spread(pairs); s > maxSpread {
		fmt.Fprintf(out, "the pairs spread by %.1f %%: %d more\n", 100*s, n)
		for len(pairs) < 2*n {
			if err := more(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "\nB / A: rate %.3f, CPU per send %s (median of %d pairs; spread %.1f %%)\n",
		load.Median(ratios(pairs, pair.rate)), ratio(load.Median(ratios(pairs, pair.cpu))), len(pairs), 100*spread(pairs))
	return nil
}

const notKnown = "not known"

func micros(d time.Duration) string {
	if d == 0 {
		return notKnown
	}
	return fmt.Sprintf("%.1fµs", float64(d)/float64(time.Microsecond))
}

func ratio(r float64) string {
	if r == 0 {
		return notKnown
	}
	return fmt.Sprintf("%.3f", r)
}
