package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/bench/measure"
	"github.com/confab-chat/confab/internal/bench/reference"
	"github.com/confab-chat/confab/internal/bench/slowdisk"
)

// benchPart is a subcommand of bench, such as "bench send".
type benchPart struct {
	name, short, long string
	run               func(context.Context, measure.Options) (measure.Report, error)
	// steady is the default duration of a subcommand that measures only the server, in one long
	// round. 0 means that the subcommand compares the server with references, in several rounds.
	steady time.Duration
	shared bool // it can measure PostgreSQL
}

var benchParts = []benchPart{
	{
		name: "send", run: measure.Send, shared: true, short: "Measure sends to many threads over HTTPS",
		long: "Measure sends to 400 threads of two members, from all of them in turn: with each number\nof connections as many as are answered, and then at a fixed rate, half of what the\nserver answered with the first number, how long an answer takes.",
	},
	{
		name: "rooms", run: measure.Rooms, short: "Measure sends to rooms of ten over HTTPS",
		long: "Measure sends to 200 threads of ten members, from all of them in turn.",
	},
	{
		name: "hot", run: measure.Hot, short: "Measure sends to one thread over HTTPS",
		long: "Measure sends to one thread of 200 members, from all of them in turn, whether their\norder is kept, and how evenly the members are served. --threads has no effect.",
	},
	{
		name: "list", run: measure.List, short: "Measure pages of messages over HTTPS",
		long: "Measure pages of the newest 50 messages of 200 threads of two members, which all ask\nin turn. Each answer must have the bytes of the first one for the same thread.",
	},
	{
		name: "mixed", run: measure.Mixed, steady: time.Minute, short: "Measure whether all operations at once stay steady",
		long: "Send, list, get, receipts, typing notifications and lists of threads at once, at the\ngreatest rate. Report how many sends are acknowledged in each second, the slowest\nsecond against the median one, and the memory and processor time of the server.",
	},
}

// comparesLong is a text in the help of subcommands of bench that compare the server with
// references. It explains how they measure.
const comparesLong = `

The server is this program with default settings and a fresh folder, over TLS, in a
process of its own. So are the references, which do the least for the same answer: "log"
has the message on the disk, "null" stores nothing, "front" is the server's own HTTP
routes over that log, "page" has the page in memory. This process is the only client.
Rounds measure all servers in turn, every second one backwards, and ratios are those of a
round. Only ratios mean something: the client needs the same processors as the servers.`

// steadyLong is a text in the help of subcommands of bench that measure only the server. It
// explains how they measure.
const steadyLong = `

The server is this program with default settings and a fresh folder, over TLS, in a
process of its own. This process is the only client, and needs the same processors.`

// readBackLong is the text at the end of the help of every subcommand of bench that is a benchPart.
const readBackLong = `

At the end what the server acknowledged is read back. If a message is lost, doubled or in
another order, the exit code is 1. Files go to a folder below --dir, which is deleted.`

// partOptions are the flags of a subcommand of bench.
type partOptions struct {
	measure.Options
	asJSON bool
}

func (p benchPart) command() *cobra.Command {
	var o partOptions
	how, example := comparesLong, "bench "+p.name+" --dir /var/lib/confab --rounds 9 --json"
	if p.steady > 0 {
		how, example = steadyLong, "bench "+p.name+" --dir /var/lib/confab --span 10m --profile cpu.pprof"
	}
	cmd := &cobra.Command{
		Use:     p.name,
		Short:   p.short,
		Long:    p.long + how + readBackLong,
		Example: examples("bench "+p.name, example),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.check(cmd, o); err != nil {
				return err
			}
			return p.runIn(cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", ".", "`folder` on the disk to measure")
	if p.steady > 0 {
		o.Rounds = 1
		flags.DurationVar(&o.Span, "span", p.steady, "measured `duration`")
		flags.StringVar(&o.Profile, "profile", "", "`file` for a CPU profile of the server")
	} else {
		flags.IntVar(&o.Rounds, "rounds", 5, "`number` of rounds; the medians are printed")
		flags.DurationVar(&o.Span, "span", 2*time.Second, "measured `duration` of each server in a round")
	}
	if p.shared {
		flags.StringVar(&o.Database, "database-url", "", "postgres:// `URL` of a server, for a database that is dropped at the end")
	}
	flags.DurationVar(&o.Warm, "warm", 500*time.Millisecond, "`duration` of the load before that")
	flags.IntSliceVar(&o.Connections, "connections", nil, "`numbers` of connections, separated by commas (default those of the bars)")
	flags.IntVar(&o.Size, "size", 128, "`bytes` of a message")
	flags.IntVar(&o.Threads, "threads", 0, "`number` of threads (default that of the bars)")
	flags.DurationVar(&o.SlowSync, "slow-sync", 0, "`duration` that is added to each sync")
	_ = flags.MarkHidden("slow-sync") // hide the flag slow-sync, because only developers of the store need it; MarkHidden fails only for an unknown flag
	flags.BoolVar(&o.asJSON, "json", false, "print the figures as JSON")
	return cmd
}

// maxBenchConnections is the largest number of connections, because a message that bench sends
// contains the number of its connection in three digits.
const maxBenchConnections = 999

func (p benchPart) check(cmd *cobra.Command, o partOptions) error {
	switch {
	case p.steady > 0 && o.Span < 2*time.Second:
		return usage(cmd, "--span is at least 2s")
	case p.steady > 0 && len(o.Connections) > 1:
		return usage(cmd, "--connections is one number")
	case o.Rounds < 1 || o.Span <= 0 || o.Warm < 0 || o.Threads < 0 || o.SlowSync < 0:
		return usage(cmd, "--rounds and --span must be above 0, --warm, --threads and --slow-sync not below")
	case o.Size < measure.MinSize || o.Size > 16<<10:
		return usage(cmd, fmt.Sprintf("--size is between %d and %d bytes", measure.MinSize, 16<<10))
	}
	if u, err := url.Parse(o.Database); err != nil { // do not show the text of err, because it could contain a password
		return usage(cmd, "--database-url is not a URL")
	} else if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return usage(cmd, "--database-url has a password, which every user of this machine could read in the list of processes: set PGPASSWORD instead")
	}
	for _, n := range o.Connections {
		if n < 1 || n > maxBenchConnections {
			return usage(cmd, fmt.Sprintf("--connections are between 1 and %d", maxBenchConnections))
		}
	}
	return nil
}

// runIn runs a subcommand of bench in a temporary folder and prints its report, even if the server
// did not return all messages that it had acknowledged.
func (p benchPart) runIn(cmd *cobra.Command, o partOptions) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	dir, err := benchFolder(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Dir, o.Out = dir, cmd.ErrOrStderr()
	if o.asJSON {
		o.Out = io.Discard
	}
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // collect garbage less often, because the server needs the processor time
	report, err := p.run(ctx, o.Options)
	if ctx.Err() != nil {
		return exitCode(130)
	}
	if err != nil && !errors.Is(err, measure.ErrNotRead) {
		return err
	}
	if o.asJSON {
		return cmp.Or(err, printJSON(cmd.OutOrStdout(), report))
	}
	report.Print(cmd.OutOrStdout())
	return err
}

// benchFolder creates a temporary folder in dir and returns its absolute path.
func benchFolder(dir string) (string, error) {
	made, err := os.MkdirTemp(dir, ".confab-bench-")
	if err != nil {
		return "", &failure{what: "no folder can be made in " + dir + ": " + rootCause(err).Error(), next: "choose another with --dir", cause: err}
	}
	return filepath.Abs(made)
}

// newBenchServe returns the hidden command that runs a server for a subcommand of bench. It works
// like serve, with an embedded store whose disk is slowed down by --slow-sync.
func newBenchServe() *cobra.Command {
	var slow time.Duration
	cmd := newServe()
	cmd.Short, cmd.Example, cmd.SuggestFor, cmd.Hidden = "Run the server on a slower disk", "", nil, true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return serve(cmd, slowdisk.FS{FS: vfs.Default, Wait: slow})
	}
	cmd.Flags().DurationVar(&slow, "slow-sync", 0, "`duration` that is added to each sync")
	return cmd
}

// newReference returns the hidden command that runs a reference server, with which a subcommand of
// bench compares Confab.
func newReference() *cobra.Command {
	var o reference.Options
	cmd := &cobra.Command{
		Use:    "reference",
		Short:  "Run a server with which bench compares",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
			defer stop()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				defer cancel()
				_, _ = io.Copy(io.Discard, os.Stdin) // run until stdin ends, which happens when the parent process ends
			}()
			o.Kind = args[0]
			return reference.Serve(ctx, o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", ".", "`folder` for files")
	cmd.Flags().IntVar(&o.Threads, "threads", 1, "`number` of threads")
	cmd.Flags().IntVar(&o.Members, "members", 1, "`number` of members of each thread")
	cmd.Flags().StringVar(&o.Body, "body", "", "`file` with the answer of page")
	cmd.Flags().DurationVar(&o.SlowSync, "slow-sync", 0, "`duration` that is added to each sync")
	return cmd
}
