package measure

import (
	"context"
	"fmt"
	"slices"

	"github.com/confab-chat/confab/internal/bench/load"
)

// Send measures sends to many threads of two members.
func Send(ctx context.Context, o Options) (Report, error) {
	p := part{name: "send", threads: 400, members: 2, start: startSends}
	if o.Database != "" {
		p.references, p.connections = []string{"log"}, []int{64, 256}
		p.bars = func(r *Report) {
			r.rate("log", 64, 0.40, 0.55)
			r.rate("log", 256, 0.50, 0.55)
		}
		return p.run(ctx, o)
	}
	p.references, p.connections = []string{"front", "log", "null"}, []int{64, 256, 16}
	p.fixed, p.calls = []string{"log"}, true
	p.bars = func(r *Report) {
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
		r.p99("log", 3, 2)
		if r.SystemCalls != nil && r.SystemCalls.PerSend > 0 {
			r.Bars = append(r.Bars, newBar("system calls of a send", r.SystemCalls.PerSend, 3.3, 3))
		}
	}
	return p.run(ctx, o)
}

// Hot measures sends to one thread of 200 members.
func Hot(ctx context.Context, o Options) (Report, error) {
	o.Threads = 1
	return part{
		name: "hot", threads: 1, members: 200, references: []string{"log"}, connections: []int{64, 256}, start: startSends, fair: true,
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
	return part{
		name: "rooms", threads: 200, members: 10, references: []string{"log"}, connections: []int{64, 256}, start: startSends,
		bars: func(r *Report) {
			r.rate("log", 64, 0.77, 0.87)
			r.rate("log", 256, 0.77, 0.87)
		},
	}.run(ctx, o)
}

// startSends starts all servers of the part. Each of them is measured with sends.
func startSends(ctx context.Context, p part, b *bench) (s stage, err error) {
	most := slices.Max(p.connections)
	server, err := b.startConfab(ctx)
	if err != nil {
		return s, err
	}
	world, err := load.Populate(ctx, server, p.threads, p.members)
	if err != nil {
		return s, fmt.Errorf("create threads: %w", err)
	}
	s.messages = load.NewSends(server, world, b.Size, most)
	s.subjects = []subject{{confab, server, s.messages.Load()}}
	for _, kind := range p.references {
		server, world, err := b.startReference(ctx, kind, p.threads, p.members)
		if err != nil {
			return s, err
		}
		s.subjects = append(s.subjects, subject{kind, server, load.NewSends(server, world, b.Size, most).Load()})
	}
	return s, nil
}
