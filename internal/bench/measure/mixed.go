package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confab-chat/confab/internal/bench/load"
)

// Seconds shows how evenly over time a server acknowledges sends.
type Seconds struct {
	Rates  []float64 `json:"rates"` // sends acknowledged in each second
	Median float64   `json:"median"`
	// the rate of the slowest second divided by the median; also 0 if the median is 0
	Slowest float64 `json:"slowestToMedian"`
}

// Memory is the physical memory of the server's process in bytes, or 0 if it is not known.
type Memory struct {
	Start float64 `json:"start"` // after all threads were created, before the load
	Half  float64 `json:"half"`  // after half of the time
	End   float64 `json:"end"`
}

const (
	mixedThreads     = 1000
	mixedMembers     = 10
	mixedConnections = 256
	// steady is the duration of the load for which the bars (limits) of Mixed are meant.
	steady = 10 * time.Minute

	mebibyte = 1 << 20
)

// Mixed sends requests of all operations to a server as fast as it answers them, for o.Span, at
// least two seconds, and reports how steady the server is. It ignores o.Rounds and uses only the
// first number of o.Connections. If o.Profile is not empty, it writes a CPU profile of the server
// to that file.
func Mixed(ctx context.Context, o Options) (r Report, err error) {
	b := &bench{Options: o}
	defer b.close()
	threads, connections := mixedThreads, mixedConnections
	if o.Threads > 0 {
		threads = o.Threads
	}
	if len(o.Connections) > 0 {
		connections = o.Connections[0]
	}
	// Each person is in about 20 threads. The number of people is not exactly half the number of
	// threads, because then the same ten people would be together in 20 threads.
	people := max(mixedMembers, threads/2+1)
	r = Report{
		Part: "mixed", Rounds: 1, SpanSeconds: o.Span.Seconds(),
		What: fmt.Sprintf("%s; %d bytes of ordinary words, threads: %d with %d members each, of %d people", load.MixText(), o.Size, threads, mixedMembers, people),
	}
	var flags []string
	if o.Profile != "" {
		flags = []string{"--pprof"}
	}
	b.say("mixed: starting the server")
	server, err := b.serve(ctx, b.Dir, nil, flags...)
	if err != nil {
		return r, err
	}
	world, err := load.PopulateShared(ctx, server, threads, mixedMembers, people)
	if err != nil {
		return r, fmt.Errorf("create threads: %w", err)
	}
	w := &watch{bench: b, server: server, load: load.NewMixed(server, world, b.Size, connections), last: int(o.Span / time.Second)}
	if w.memory.Start, err = w.resident(ctx); err != nil {
		return r, err
	}
	b.say("mixed: %v of load", o.Warm+o.Span)
	sample, err := w.run(ctx, connections)
	if err != nil {
		return r, err
	}
	r.Cells = []Cell{{Connections: connections, Servers: []Figure{medians(confab, []load.Sample{sample})}}}
	r.Seconds, r.Memory = secondsOf(w.rates), &w.memory
	b.say("mixed: reading back %d messages", w.load.Acknowledged())
	found, err := w.load.ReadBack(ctx, server)
	if err != nil {
		return r, err
	}
	r.ReadBack = &found
	r.Bars = steadyBars(*r.Seconds, *r.Memory)
	if o.Span < steady {
		r.Notes = append(r.Notes, fmt.Sprintf("The bars are for %v of load, with %d connections.", steady, mixedConnections))
	}
	if err := found.Err(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotRead, err)
	}
	return r, nil
}

// steadyBars returns the bars (limits) of Mixed. It leaves out the bars for memory if the size of
// the memory is not known.
func steadyBars(s Seconds, m Memory) []Bar {
	bars := []Bar{newBar("sends in the slowest second / in the median one", s.Slowest, 1./3, 0.5)}
	if m.Half > 0 {
		bars = append(bars, newBar("memory at the end, in MiB", m.End/mebibyte, 200, 150),
			newBar("memory at the end / after half of the time", m.End/m.Half, 1.1, 1))
	}
	return bars
}

// watch observes a server during the single round of Mixed.
type watch struct {
	*bench
	server *load.Server
	load   *load.Mixed
	last   int // number of whole seconds of the measured span

	memory Memory
	rates  []float64 // of sends in each second
	sent   uint64    // until the last second
	at     time.Time // when it ended
}

func (w *watch) run(ctx context.Context, connections int) (sample load.Sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	profiling, within := errgroup.WithContext(ctx)
	sample, err = load.Round(ctx, w.server, w.load.Load(), load.Options{
		Connections: connections, Warm: w.Warm, Span: w.Span,
		EachSecond: func(second int) error {
			if second == 0 && w.Profile != "" {
				profiling.Go(func() error { return profile(within, w.server, w.last, w.Profile) })
			}
			return w.second(ctx, second)
		},
	})
	if err != nil {
		cancel() // the profile is not needed
	}
	return sample, cmp.Or(err, profiling.Wait())
}

// second records the number of sends since the last call. After half of the span and at its end it
// also records the memory.
func (w *watch) second(ctx context.Context, second int) (err error) {
	sent, now := w.load.Sent(), time.Now()
	if second > 0 {
		w.rates = append(w.rates, float64(sent-w.sent)/now.Sub(w.at).Seconds())
	}
	w.sent, w.at = sent, now
	if second == w.last/2 {
		w.memory.Half, err = w.resident(ctx)
	}
	if second == w.last && err == nil {
		w.memory.End, err = w.resident(ctx)
	}
	return err
}

func (w *watch) resident(ctx context.Context) (float64, error) {
	u, err := w.server.Usage(ctx)
	return u.Resident, err
}

// profile writes to a file a CPU profile that the server records during the next seconds.
func profile(ctx context.Context, s *load.Server, seconds int, file string) (err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", s.Ops, seconds), nil)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("profile of the server: status %d", res.StatusCode)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, res.Body)
	return errors.Join(err, f.Close())
}

func secondsOf(rates []float64) *Seconds {
	s := &Seconds{Rates: rates, Median: load.Median(rates)}
	if s.Median > 0 {
		s.Slowest = slices.Min(rates) / s.Median
	}
	return s
}

// print writes a histogram of the seconds by their rate, as a part of the median rate in steps of a
// tenth. It also writes which seconds were the slowest.
func (s Seconds) print(out io.Writer) {
	counts := map[int]int{}
	lowest, highest := math.MaxInt, 0
	for _, r := range s.Rates {
		step := int(10 * r / max(s.Median, 1))
		counts[step]++
		lowest, highest = min(lowest, step), max(highest, step)
	}
	fmt.Fprintf(out, "sends acknowledged in each of %d seconds: median %.0f, from %.0f to %.0f; seconds by their part of the median:\n", len(s.Rates), s.Median, slices.Min(s.Rates), slices.Max(s.Rates))
	for step := lowest; step <= highest; step++ {
		bar := strings.Repeat("#", (counts[step]*60+len(s.Rates)-1)/len(s.Rates))
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%3d to %3d %% %5d %s", 10*step, 10*step+10, counts[step], bar), " "))
	}
	order := make([]int, len(s.Rates))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s.Rates[a], s.Rates[b]) })
	var slow []string
	for _, i := range order[:min(5, len(order))] {
		slow = append(slow, fmt.Sprintf("%.0f in second %d", s.Rates[i], i+1))
	}
	fmt.Fprintln(out, "the slowest: "+strings.Join(slow, ", "))
}

func (m Memory) text() string {
	return fmt.Sprintf("memory of the server's process (resident): %.0f MiB before the load, %.0f after half of it, %.0f at the end", m.Start/mebibyte, m.Half/mebibyte, m.End/mebibyte)
}
