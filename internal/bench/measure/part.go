package measure

import (
	"context"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/internal/bench/load"
)

// part describes a part that compares Confab with references in a closed loop.
type part struct {
	name             string
	what             string // the requests in words
	threads, members int    // of the World of each server
	references       []string
	connections      []int // a cell of the table each
	start            func(context.Context, part, *bench) (stage, error)
	bars             func(r *Report)
	calls            bool // count the system calls of a send too
	fair             bool // report how evenly the connections were served
}

// stage is what a part has started.
type stage struct {
	subjects []subject   // Confab first
	messages *load.Sends // what Confab acknowledges; it is read back at the end
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
	b.say("%s: starting the server and its references", p.name)
	s, err := p.start(ctx, p, b)
	if err != nil {
		return r, err
	}
	// What happens once, such as the check of each token, is not measured.
	if err := b.round(ctx, 0, s.subjects, load.Options{Connections: p.connections[0]}, samples{}); err != nil {
		return r, err
	}
	all := make([]samples, len(p.connections))
	for n := range o.Rounds {
		for i, connections := range p.connections {
			if n == 0 {
				all[i] = samples{}
			}
			if err := b.round(ctx, n, s.subjects, load.Options{Connections: connections}, all[i]); err != nil {
				return r, err
			}
		}
		b.say("%s: round %d of %d is done", p.name, n+1, o.Rounds)
	}
	for i, connections := range p.connections {
		c := Cell{Connections: connections, Servers: figures(s.subjects, all[i])}
		if p.fair {
			c.Slowest = slowest(all[i][confab])
		}
		r.Cells = append(r.Cells, c)
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

// rate appends to Bars how the rate of the server compares with that of a reference. It appends nothing if the
// report has no ratio to that reference.
func (r *Report) rate(reference string, connections int, bar, goal float64) {
	if x := r.ratio(reference, connections); x != nil {
		r.Bars = append(r.Bars, newBar(fmt.Sprintf("%s / %s, %d connections", r.Part, reference, connections), x.Rate, bar, goal))
	}
}

// ratio returns the ratio to a reference in the closed loop with so many connections, or nil.
func (r *Report) ratio(reference string, connections int) *Ratio {
	for _, c := range r.Cells {
		if c.Connections == connections && c.PerSecond == 0 {
			return c.find(reference)
		}
	}
	return nil
}

// slowest returns the answers of the connection that got the fewest in all rounds, divided by
// the mean of all connections.
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
