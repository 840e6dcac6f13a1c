// Package measure implements the parts of the command `confab bench`. Each part starts a Confab
// server and reference servers in their own processes, sends requests to each in turn, and compares
// their figures.
package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// Options configures the parts.
type Options struct {
	Program string // path of the built confab program that is measured; it also runs the reference servers
	Dir     string // an empty folder on the disk that is measured
	Rounds  int
	Span    time.Duration // measured part of a round
	Warm    time.Duration // how long the load of a round runs before the measurement
	// numbers of connections, with one cell of the table for each; nil means the default of the
	// part
	Connections []int
	Size        int    // bytes of a message
	Threads     int    // number of threads; 0 means the default of the part
	Profile     string // file to which a CPU profile of the server is written, or empty; only Mixed uses it
	Database    string // postgres:// URL of a database server for Confab; empty means the embedded store
	// time that is added to each sync of the server's store and of the reference servers' logs
	SlowSync time.Duration
	Out      io.Writer // receives a line of text for each step
}

// subject is a server that is measured: Confab or a reference.
type subject struct {
	name   string
	server *load.Server
	load   load.Load
}

// MinSize is the smallest Options.Size.
const MinSize = load.MinSize

// confab is the name of the measured Confab server in tables.
const confab = "confab"

// bench holds the servers that a part has started.
type bench struct {
	Options
	stops []func()
}

// close stops all servers that were started, the last one first.
func (b *bench) close() {
	for _, stop := range slices.Backward(b.stops) {
		stop()
	}
}

// startConfab starts a Confab server with default settings, except for its ports, and without a
// limit of connections from one address, because all connections come from this machine. Its log
// goes to a file, as with most service managers. With Options.Database the server has an empty
// database, which is dropped at the end.
func (b *bench) startConfab(ctx context.Context, under ...string) (*load.Server, error) {
	dir, err := os.MkdirTemp(b.Dir, "confab-")
	if err != nil {
		return nil, err
	}
	return b.serve(ctx, dir, under)
}

// serve starts a Confab server like startConfab, but with the data folder dir/data, which may exist
// already, and with further flags.
func (b *bench) serve(ctx context.Context, dir string, under []string, flags ...string) (*load.Server, error) {
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	database := ""
	if b.Database != "" {
		var drop func() error
		if database, drop, err = load.FreshDatabase(ctx, b.Database, filepath.Base(dir)); err != nil {
			return nil, fmt.Errorf("create a database: %w", err)
		}
		b.stops = append(b.stops, func() {
			if err := drop(); err != nil {
				b.say("drop the database: %v", err)
			}
		})
	}
	args := append([]string{"--listen-ops", "localhost:0", "--connections-per-address", "0"}, flags...)
	s, err := load.Serve(ctx, load.Command{Program: b.Program, Args: args, Dir: dir, Stderr: log, SlowSync: b.SlowSync, Under: under}, database)
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start confab: %w: %s", err, text[max(0, len(text)-1000):])
	}
	b.stops = append(b.stops, s.Kill)
	return s, nil
}

// startReference starts a reference server, which makes up its own threads and members.
func (b *bench) startReference(ctx context.Context, kind string, threads, members int, args ...string) (*load.Server, load.World, error) {
	dir, err := os.MkdirTemp(b.Dir, kind+"-")
	if err != nil {
		return nil, load.World{}, err
	}
	args = append([]string{"bench", "reference", kind, "--dir", dir, "--threads", strconv.Itoa(threads), "--members", strconv.Itoa(members), "--slow-sync", b.SlowSync.String()}, args...)
	s, w, err := load.Refer(ctx, load.Command{Program: b.Program, Args: args, Dir: dir, Stderr: os.Stderr})
	if err != nil {
		return nil, w, fmt.Errorf("start reference %s: %w", kind, err)
	}
	b.stops = append(b.stops, s.Kill)
	return s, w, nil
}

// say prints a line about the present step.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.Out, format+"\n", args...) }

// samples holds the results of each server by its name, with one result for each round.
type samples map[string][]load.Sample

// round measures each server once, in the order that load.Order returns for the nth round, and
// appends the results to all.
func (b *bench) round(ctx context.Context, n int, subjects []subject, o load.Options, all samples) error {
	o.Warm, o.Span = b.Warm, b.Span
	for _, i := range load.Order(n, len(subjects)) {
		s := subjects[i]
		sample, err := load.Round(ctx, s.server, s.load, o)
		if err != nil {
			return fmt.Errorf("%s, %d connections: %w", s.name, o.Connections, err)
		}
		all[s.name] = append(all[s.name], sample)
	}
	return nil
}

// ErrNotRead is the error if a server did not return exactly the messages that it has acknowledged.
var ErrNotRead = errors.New("what was acknowledged is not what is read back")
