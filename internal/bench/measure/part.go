package measure

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/confab-chat/confab/internal/bench/load"
)

// part describes a part of `confab bench` that compares Confab with reference servers in a closed
// loop.
type part struct {
	name             string
	what             string // describes the requests; the report appends the size of a message
	threads, members int    // numbers of threads, and of members of each thread, of each server
	references       []string
	connections      []int // numbers of connections, with one cell of the table for each
	start            func(context.Context, part, *bench) (stage, error)
	// fixed lists the reference servers that are also compared at a fixed rate, which is half of
	// the rate that Confab reaches with the first number of connections.
	fixed []string
	bars  func(r *Report)
	calls bool // whether the system calls of a send are counted too
	fair  bool // whether the report says how evenly the connections were served
}

// stage holds the servers that a part has started.
type stage struct {
	subjects []subject   // Confab first
	messages *load.Sends // the messages that Confab has acknowledged, which are read back at the end
}

func (p part) run(ctx context.Context, o Options) (r Report, err error) {
	b := &bench{Options: o}
	defer b.close()
	if o.Threads > 0 {
		p.threads = o.Threads
	}
	if len(o.Connections) > 0 {
		p.connections = o.Connections
	}
	r = Report{
		Part: p.name, Rounds: o.Rounds, SpanSeconds: o.Span.Seconds(),
		What: fmt.Sprintf("%s%d bytes of ordinary words, threads: %d with %d members each", p.what, o.Size, p.threads, p.members),
	}
	if o.SlowSync > 0 {
		r.What += fmt.Sprintf(", each sync %v slower", o.SlowSync)
	}
	if o.Database != "" {
		r.What += ", PostgreSQL"
		r.Notes = append(r.Notes, "CPU, allocations and bytes are those of Confab's process, without the database's.")
	}
	b.say("%s: starting the server and its references", p.name)
	s, err := p.start(ctx, p, b)
	if err != nil {
		return r, err
	}
	if r.Cells, err = p.cells(ctx, b, s.subjects); err != nil {
		return r, err
	}
	found, err := s.messages.ReadBack(ctx, s.subjects[0].server)
	if err != nil {
		return r, err
	}
	r.ReadBack = &found
	if p.calls {
		r.SystemCalls = b.systemCalls(ctx)
	}
	if p.bars != nil {
		p.bars(&r)
	}
	if err := found.Err(); err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotRead, err)
	}
	return r, nil
}

// cells measures the servers in all rounds, and returns a Cell for each number of connections.
func (p part) cells(ctx context.Context, b *bench, subjects []subject) (cells []Cell, err error) {
	// Run a round without measuring it, so that work that is done only once, such as the first
	// check of each token, is not measured.
	if err := b.round(ctx, 0, subjects, load.Options{Connections: p.connections[0]}, samples{}); err != nil {
		return nil, err
	}
	all := make([]samples, len(p.connections))
	for i := range all {
		all[i] = samples{}
	}
	for n := range b.Rounds {
		for i, connections := range p.connections {
			if err := b.round(ctx, n, subjects, load.Options{Connections: connections}, all[i]); err != nil {
				return nil, err
			}
		}
		b.say("%s: round %d of %d is done", p.name, n+1, b.Rounds)
	}
	for i, connections := range p.connections {
		c := Cell{Connections: connections, Servers: figures(subjects, all[i])}
		if p.fair {
			c.Slowest = slowest(all[i][confab])
		}
		cells = append(cells, c)
	}
	if len(p.fixed) > 0 {
		c, err := p.atHalf(ctx, b, subjects, cells[0])
		if err != nil {
			return nil, err
		}
		cells = append(cells, c)
	}
	return cells, nil
}

// atHalf measures Confab and the reference servers in p.fixed at a fixed rate: half of the rate
// that Confab reached in the cell saturated.
func (p part) atHalf(ctx context.Context, b *bench, subjects []subject, saturated Cell) (Cell, error) {
	c := Cell{Connections: saturated.Connections, PerSecond: math.Round(saturated.Servers[0].PerSecond / 2)}
	measured := subjects[:1:1]
	for _, s := range subjects {
		if slices.Contains(p.fixed, s.name) {
			measured = append(measured, s)
		}
	}
	all := samples{}
	for n := range b.Rounds {
		if err := b.round(ctx, n, measured, load.Options{Connections: c.Connections, Rate: c.PerSecond}, all); err != nil {
			return c, err
		}
	}
	b.say("%s: rounds at %.0f requests a second are done", p.name, c.PerSecond)
	c.Servers = figures(measured, all)
	return c, nil
}

// p99 appends a Bar to r.Bars: the ratio of Confab's 99th percentile of latency to the 99th
// percentile of a reference server, both at the fixed rate.
func (r *Report) p99(reference string, bar, goal float64) {
	for _, c := range r.Cells {
		if x := c.find(reference); c.PerSecond > 0 && x != nil {
			r.Bars = append(r.Bars, newBar(fmt.Sprintf("p99 of a %s at half of saturation / %s's", r.Part, reference), x.P99, bar, goal))
		}
	}
}

// rate appends a Bar to r.Bars: the ratio of Confab's rate to the rate of a reference server. It
// appends nothing if the report has no such ratio.
func (r *Report) rate(reference string, connections int, bar, goal float64) {
	if x := r.ratio(reference, connections); x != nil {
		r.Bars = append(r.Bars, newBar(fmt.Sprintf("%s / %s, %d connections", r.Part, reference, connections), x.Rate, bar, goal))
	}
}

// ratio returns the ratio of Confab to a reference server in a closed loop with the given number of
// connections, or nil if this was not measured.
func (r *Report) ratio(reference string, connections int) *Ratio {
	for _, c := range r.Cells {
		if c.Connections == connections && c.PerSecond == 0 {
			return c.find(reference)
		}
	}
	return nil
}

// slowest returns the number of answers to the connection that got the fewest in all rounds,
// divided by the mean number of answers to a connection.
func slowest(ss []load.Sample) float64 {
	answers, sum := make([]int, len(ss[0].ByConnection)), 0
	for _, s := range ss {
		for i, n := range s.ByConnection {
			answers[i] += n
			sum += n
		}
	}
	return float64(slices.Min(answers)*len(answers)) / float64(max(sum, 1))
}
