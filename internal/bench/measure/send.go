package measure

import (
	"context"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/internal/bench/load"
)

// sends describes a part that measures sends.
type sends struct {
	part             string
	threads, members int
	references       []string
	connections      []int
	bars             func(r *Report)
	calls            bool // count system calls too
	fair             bool // report how evenly the connections were served
}

// Send measures sends to many threads of two members.
func Send(ctx context.Context, o Options) (Report, error) {
	return sends{
		part: "send", threads: 400, members: 2, references: []string{"front", "log", "null"}, connections: []int{64, 256, 16}, calls: true,
		bars: func(r *Report) {
			r.rate("log", 64, 0.72, 0.85)
			r.rate("log", 256, 0.72, 0.85)
			r.rate("log", 16, 0.60, 0.75)
			for _, n := range []int{64, 256} {
				r.rate("null", n, 0.48, 0.55)
			}
			r.rate("front", 64, 0.85, 0.92)
			if x := r.ratio("log", 64); x != nil {
				r.Bars = append(r.Bars, newBar("CPU of the server for a send / log's", x.CPU, 1.6, 1.35))
			}
			if r.SystemCalls != nil && r.SystemCalls.PerSend > 0 {
				r.Bars = append(r.Bars, newBar("system calls of a send", r.SystemCalls.PerSend, 3.3, 3))
			}
		},
	}.run(ctx, o)
}

// Hot measures sends to one thread of 200 members.
func Hot(ctx context.Context, o Options) (Report, error) {
	o.Threads = 1
	return sends{
		part: "hot", threads: 1, members: 200, references: []string{"log"}, connections: []int{64, 256}, fair: true,
		bars: func(r *Report) {
			r.rate("log", 64, 0.80, 0.95)
			r.rate("log", 256, 0.80, 0.95)
			for _, c := range r.Cells {
				r.Bars = append(r.Bars, newBar(fmt.Sprintf("slowest writer / mean, %d connections", c.Connections), c.Slowest, 0.5, 0.8))
			}
		},
	}.run(ctx, o)
}

// Rooms measures sends to threads of ten members.
func Rooms(ctx context.Context, o Options) (Report, error) {
	return sends{
		part: "rooms", threads: 200, members: 10, references: []string{"log"}, connections: []int{64, 256},
		bars: func(r *Report) {
			r.rate("log", 64, 0.77, 0.87)
			r.rate("log", 256, 0.77, 0.87)
		},
	}.run(ctx, o)
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

func (p sends) run(ctx context.Context, o Options) (r Report, err error) {
	b := &bench{Options: o}
	defer b.close()
	if o.Threads > 0 {
		p.threads = o.Threads
	}
	if len(o.Connections) > 0 {
		p.connections = o.Connections
	}
	r = Report{
		Part: p.part, Rounds: o.Rounds, SpanSeconds: o.Span.Seconds(),
		What: fmt.Sprintf("%d bytes of ordinary words, threads: %d with %d members each", o.Size, p.threads, p.members),
	}
	b.say("%s: starting the server and %d references", p.part, len(p.references))
	subjects, messages, err := p.start(ctx, b)
	if err != nil {
		return r, err
	}
	// What happens once, such as the check of each token, is not measured.
	if err := b.round(ctx, 0, subjects, load.Options{Connections: p.connections[0]}, samples{}); err != nil {
		return r, err
	}
	all := make([]samples, len(p.connections))
	for n := range o.Rounds {
		for i, connections := range p.connections {
			if n == 0 {
				all[i] = samples{}
			}
			if err := b.round(ctx, n, subjects, load.Options{Connections: connections}, all[i]); err != nil {
				return r, err
			}
		}
		b.say("%s: round %d of %d is done", p.part, n+1, o.Rounds)
	}
	for i, connections := range p.connections {
		c := Cell{Connections: connections, Servers: figures(subjects, all[i])}
		if p.fair {
			c.Slowest = slowest(all[i][confab])
		}
		r.Cells = append(r.Cells, c)
	}
	found, err := messages.ReadBack(ctx, subjects[0].server)
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

// start starts all servers. It returns the subjects, Confab first, and what is sent to Confab.
func (p sends) start(ctx context.Context, b *bench) (subjects []subject, messages *load.Sends, err error) {
	most := slices.Max(p.connections)
	server, err := b.startConfab(ctx)
	if err != nil {
		return nil, nil, err
	}
	world, err := load.Populate(ctx, server, p.threads, p.members)
	if err != nil {
		return nil, nil, fmt.Errorf("create threads: %w", err)
	}
	messages = load.NewSends(server, world, b.Size, most)
	subjects = []subject{{confab, server, messages.Load()}}
	for _, kind := range p.references {
		server, world, err := b.startReference(ctx, kind, p.threads, p.members)
		if err != nil {
			return nil, nil, err
		}
		subjects = append(subjects, subject{kind, server, load.NewSends(server, world, b.Size, most).Load()})
	}
	return subjects, messages, nil
}
