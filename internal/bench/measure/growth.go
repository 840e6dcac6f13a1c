package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/internal/bench/seed"
)

// GrowthOptions configures Growth. Options.Connections must have one number. Options.Size and
// Options.Threads have no effect.
type GrowthOptions struct {
	Options
	Sizes   []int // numbers of messages of the stores, in ascending order
	Members int   // of large threads
	// maximum number of threads of one user; a smaller store uses a tenth of its number of messages
	Lists  int
	Starts int           // of each kind
	Logged int           // number of messages that a server reads from the log when it starts after a kill
	Idle   time.Duration // how long a server has no load before its memory is read
}

// stillPerRound is the number of large threads of each store to which a round sends the first
// message of a minute.
const stillPerRound = 2

// growth is the state of one call of Growth.
type growth struct {
	*bench
	o      GrowthOptions
	report GrowthReport
	stores []*grown
	empty  *load.Server // on a folder without messages
}

// grown is a store with a given number of messages, and the server that uses it.
type grown struct {
	messages int
	dir      string // the folder of the server; its data folder is dir/data
	killed   string // the folder with a copy of the store as a killed server would leave it
	world    seed.World
	server   *load.Server
}

// Growth writes stores of different sizes and measures the same operations on each, the start of a
// server, its memory, and the bytes that a message takes. All servers run at the same time, but
// only the measured server has requests.
func Growth(ctx context.Context, o GrowthOptions) (GrowthReport, error) {
	g := &growth{bench: &bench{Options: o.Options}, o: o, report: GrowthReport{
		Part: "growth", Rounds: o.Rounds, SpanSeconds: o.Span.Seconds(), Connections: o.Connections[0], Phases: map[string]float64{},
	}}
	defer g.close()
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{{"seed", g.seed}, {"starts", g.starts}, {"idle", g.idle}, {"operations", g.operations}, {"minutes", g.minutes}} {
		began := time.Now()
		if err := phase.run(ctx); err != nil {
			return g.report, fmt.Errorf("%s: %w", phase.name, err)
		}
		took := time.Since(began)
		g.report.Phases[phase.name] = took.Seconds()
		g.say("growth: %s took %v", phase.name, took.Round(100*time.Millisecond))
	}
	for i, s := range g.stores {
		g.report.Stores[i].After = memoryOf(s.server.PID)
	}
	g.report.setBars()
	return g.report, nil
}

// seed writes the stores.
func (g *growth) seed(ctx context.Context) error {
	for _, n := range g.o.Sizes {
		s := &grown{messages: n, dir: filepath.Join(g.Dir, strconv.Itoa(n)), killed: filepath.Join(g.Dir, strconv.Itoa(n)+"-killed")}
		began := time.Now()
		size := seed.Size{Messages: n, Members: g.o.Members, Threads: g.lists(n), Still: stillPerRound * g.Rounds, Logged: g.o.Logged}
		r, err := seed.Write(ctx, filepath.Join(s.dir, "data", "store"), s.killed, size)
		if err != nil {
			return err
		}
		s.world = r.World
		g.stores = append(g.stores, s)
		g.report.Stores = append(g.report.Stores, GrownStore{Messages: n, Kept: r.Kept, Written: r.Written})
		g.say("growth: %d messages are written in %v", n, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

// lists returns the number of threads of a user with many threads, in a store with the given number
// of messages.
func (g *growth) lists(messages int) int { return min(messages/10, g.o.Lists) }

// idle starts all servers and reads their memory after a time without requests.
func (g *growth) idle(ctx context.Context) (err error) {
	if g.empty, err = g.startConfab(ctx); err != nil {
		return err
	}
	for _, s := range g.stores {
		// Turn the rate limits off, because one user sends all requests.
		if s.server, err = g.serve(ctx, s.dir, nil, "--limits", "off"); err != nil {
			return err
		}
	}
	select {
	case <-time.After(g.o.Idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	g.report.IdleSeconds, g.report.Empty = g.o.Idle.Seconds(), memoryOf(g.empty.PID)
	for i, s := range g.stores {
		g.report.Stores[i].Idle = memoryOf(s.server.PID)
	}
	return nil
}

// operations measures each operation on each store.
func (g *growth) operations(ctx context.Context) error {
	type measured struct {
		cell     growthCell
		subjects []subject
		all      samples
	}
	var cells []measured
	for _, c := range growthCells() {
		m := measured{cell: c, all: samples{}}
		for _, s := range g.stores {
			l, err := c.load(ctx, g, s)
			if err != nil {
				return fmt.Errorf("prepare %s at %d messages: %w", c.operation, s.messages, err)
			}
			m.subjects = append(m.subjects, subject{strconv.Itoa(s.messages), s.server, l})
		}
		cells = append(cells, m)
	}
	for n := -1; n < g.Rounds; n++ { // the round -1 only warms caches and is not counted
		for _, m := range cells {
			all := m.all
			if n < 0 {
				all = samples{}
			}
			connections := g.o.Connections[0]
			if m.cell.alone {
				connections = 1
			}
			if err := g.round(ctx, max(n, 0), m.subjects, load.Options{Connections: connections}, all); err != nil {
				return fmt.Errorf("%s: %w", m.cell.operation, err)
			}
		}
		if n >= 0 {
			g.say("growth: round %d of %d is done", n+1, g.Rounds)
		}
	}
	for _, m := range cells {
		i := slices.IndexFunc(g.report.Operations, func(o GrownOperation) bool { return o.Name == m.cell.operation })
		if i < 0 {
			i = len(g.report.Operations)
			g.report.Operations = append(g.report.Operations, GrownOperation{Name: m.cell.operation})
		}
		for j, s := range g.stores {
			f := medians(m.cell.what(g, s.messages), m.all[m.subjects[j].name])
			g.report.Operations[i].Cells = append(g.report.Operations[i].Cells, GrownCell{Messages: s.messages, Figure: f})
		}
	}
	return nil
}

// fresh returns a new folder below g.Dir. Its data folder has a copy of the store in the folder
// store, and copies of the other files in the data folder like.
func (g *growth) fresh(store, like string) (dir string, err error) {
	if dir, err = os.MkdirTemp(g.Dir, "start-"); err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	err = os.Mkdir(data, 0o700)
	entries, readErr := os.ReadDir(like)
	err = errors.Join(err, readErr)
	for _, e := range entries {
		if e.Name() != "store" {
			err = errors.Join(err, seed.Copy(filepath.Join(like, e.Name()), filepath.Join(data, e.Name())))
		}
	}
	return dir, errors.Join(err, seed.Copy(store, filepath.Join(data, "store")))
}
