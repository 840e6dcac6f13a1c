// Command compare measures two builds of Confab, A and B, against each other. Each build runs
// as a server in its own process with a new data folder. The command measures the builds in
// pairs and alternates the order: A B, B A, A B and so on. So if the machine slows down during
// the run, both builds are affected. The result is the median of the ratios B/A of the pairs;
// the absolute figures depend on the machine.
//
//	make bench-compare A=8a46270             # B is the working tree
//	go run ./internal/bench/compare 8a46270 HEAD
//	go run ./internal/bench/compare -pairs 3 -span 10s ./dist/confab ../other
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// options holds the flags and arguments of the command line.
type options struct {
	builds      [2]string // A and B; see build
	pairs       int
	span, warm  time.Duration // durations of the measured part of a round, and of the unmeasured part before it
	connections int
	threads     int
	size        int     // of a message, in bytes
	dir         string  // parent of the temporary folder; empty means the system's default
	database    string  // URL of a PostgreSQL server's database; empty means the embedded store
	listen      [2]bool // whether a client receives live events from build A, and from build B
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		os.Exit(2)
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		stop()
		os.Exit(1)
	}
}

// parse parses the command line. On an error it prints the usage to stderr.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "usage: compare [flags] A [B]\n"+
			"A and B are git revisions, or paths (./... or absolute) of source folders or built programs.\n"+
			"Without B, A is compared with the working tree.\n")
		flags.PrintDefaults()
	}
	flags.IntVar(&o.pairs, "pairs", 5, fmt.Sprintf("`number` of pairs; doubled if they spread by more than %.0f %%", 100*maxSpread))
	flags.DurationVar(&o.span, "span", 3*time.Second, "`duration` of each measured round")
	flags.DurationVar(&o.warm, "warm", time.Second, "`duration` of the load before each measured round")
	flags.IntVar(&o.connections, "connections", 64, "`number` of connections, each with one request at a time")
	flags.IntVar(&o.threads, "threads", 200, "`number` of threads to send to")
	flags.IntVar(&o.size, "size", 128, "`bytes` of a message")
	flags.StringVar(&o.dir, "dir", "", "`folder` on the disk to measure (default the system's for temporary files)")
	listen := flags.String("listen", "", "`builds` (a, b or ab) from which somebody receives live events during all rounds: a user in none of the threads")
	flags.StringVar(&o.database, "database", "", "`URL` of a PostgreSQL on which each build gets a fresh database (default the embedded store)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() < 1 || flags.NArg() > 2:
		err = fmt.Errorf("want one or two builds, not %d", flags.NArg())
	case min(o.pairs, o.connections, o.threads, o.size) < 1 || o.span <= 0 || o.warm < 0:
		err = errors.New("numbers and durations must be positive")
	case o.size < load.MinSize:
		err = fmt.Errorf("a message has at least %d bytes", load.MinSize)
	case strings.Trim(*listen, "ab") != "":
		err = fmt.Errorf("-listen is a, b or ab, not %q", *listen)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		flags.Usage()
		return o, err
	}
	o.listen = [2]bool{strings.Contains(*listen, "a"), strings.Contains(*listen, "b")}
	o.builds = [2]string{flags.Arg(0), cmp.Or(flags.Arg(1), ".")}
	return o, nil
}

// run builds, starts and compares the two builds and prints the result to out. Before it
// returns, it stops the servers and removes their databases and files.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp(o.dir, "confab-compare-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}

	var programs [2]string
	for i, name := range names {
		var what string
		if programs[i], what, err = build(ctx, o.builds[i], filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
		fmt.Fprintf(out, "%s: %s\n", name, what)
	}
	var servers [2]*load.Server
	var loads [2]*load.Sends
	for i, name := range names {
		var database string
		if o.database != "" {
			var drop func() error
			if database, drop, err = load.FreshDatabase(ctx, o.database, name); err != nil {
				return fmt.Errorf("a database for %s: %w", name, err)
			}
			defer func() { err = errors.Join(err, drop()) }()
		}
		if servers[i], err = serve(ctx, programs[i], filepath.Join(dir, name), database); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		defer servers[i].Kill()
		world, err := load.Populate(ctx, servers[i], o.threads, 2)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", name, err)
		}
		loads[i] = load.NewSends(servers[i], world, o.size, o.connections)
		if o.listen[i] {
			stream, err := listen(ctx, servers[i])
			if err != nil {
				return fmt.Errorf("receive live events from %s: %w", name, err)
			}
			defer func() { err = errors.Join(err, stream.Close()) }()
		}
	}
	store := "embedded store"
	if o.database != "" {
		store = "PostgreSQL"
	}
	listeners := map[[2]bool]string{{}: "nobody listens", {true, false}: "somebody listens on A", {false, true}: "somebody listens on B", {true, true}: "somebody listens on both"}
	fmt.Fprintf(out, "\n%s, %s: sends of %d bytes to %d threads on %d connections, rounds of %v after %v of warm-up\n\n",
		store, listeners[o.listen], o.size, o.threads, o.connections, o.span, o.warm)
	return compare(out, o.pairs, func(side int) (sample, error) {
		s, err := load.Round(ctx, servers[side], loads[side].Load(), load.Options{Connections: o.connections, Warm: o.warm, Span: o.span})
		if err != nil {
			return sample{}, err
		}
		return sample{rate: s.Rate(), cpu: s.CPU()}, nil
	})
}

// serve starts a built server with a data folder below dir. It uses only flags that old builds also
// have. The server logs only warnings, because logging each request would distort the measurement.
// It writes its log to this process's stderr.
func serve(ctx context.Context, program, dir, database string) (*load.Server, error) {
	return load.Serve(ctx, load.Command{
		Program: program, Args: []string{"--listen-ops", "off", "--limits", "off", "--log-level", "warn"}, Dir: dir, Stderr: os.Stderr,
	}, database)
}
