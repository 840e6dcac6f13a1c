// Package measure has the parts of `confab bench`: each starts a Confab server and references in
// processes of their own, loads them in turn from this process, and compares them.
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
	Program     string // the confab to measure, which also runs the references
	Dir         string // an empty folder on the disk to measure
	Rounds      int
	Span        time.Duration // measured part of a round
	Warm        time.Duration // part of a round that is not measured
	Connections []int         // numbers of connections, one cell of the table each; nil: the default of the part
	Size        int           // bytes of a message
	Threads     int           // number of threads; 0: the default of the part
	Profile     string        // file for a CPU profile of the server, or empty; only Mixed uses it
	Database    string        // postgres:// URL of a database server for Confab, or empty: the embedded store
	SlowSync    time.Duration // added to each sync of the server's store and of the references' logs
	Out         io.Writer     // gets a line for each step
}

// subject is a server that is measured: Confab or a reference.
type subject struct {
	name   string
	server *load.Server
	load   load.Load
}

// MinSize is the smallest Options.Size.
const MinSize = load.MinSize

// confab is the name of the subject that is compared with the others.
const confab = "confab"

// bench has the servers of a part.
type bench struct {
	Options
	stops []func()
}

// close stops what has started, the last first.
func (b *bench) close() {
	for _, stop := range slices.Backward(b.stops) {
		stop()
	}
}

// startConfab starts a Confab server with default settings, except for its ports and for the
// limit of connections from one address, because all of them come from this machine. Its log
// goes to a file, as with most service managers. With Options.Database the server has an empty
// database, which is dropped at the end.
func (b *bench) startConfab(ctx context.Context, under ...string) (*load.Server, error) {
	dir, err := os.MkdirTemp(b.Dir, "confab-")
	if err != nil {
		return nil, err
	}
	return b.serve(ctx, dir, under)
}

// serve is startConfab for the data folder dir/data, which may exist, and with further flags.
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

// startReference starts a reference with a world of its own.
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

// samples holds the results of each subject, by its name: one for each round.
type samples map[string][]load.Sample

// round measures each subject once, in the order of the nth round (load.Order), and appends the
// results to all.
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

// ErrNotRead is the cause of errors that a server did not return what it had acknowledged.
var ErrNotRead = errors.New("what was acknowledged is not what is read back")
