package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/bench/measure"
	"github.com/confab-chat/confab/internal/core"
)

// newBenchGrowth returns the command bench growth, which measures how times and sizes grow with the
// number of stored messages.
func newBenchGrowth() *cobra.Command {
	var o measure.GrowthOptions
	var connections int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "Measure what becomes slower when a store grows",
		Long: `Measure the same operations on stores of different sizes: sends, pages of messages,
single messages, receipts and lists of threads, in threads of two and of many members and
for users with few and with many threads; adding and removing a member; the first send of a
minute; the start of a server; its memory; and the bytes of a message.

The stores are written first, without a server. Then a server for each, this program with
default settings but without limits, runs in a process of its own. All are idle but the one
that is measured, and rounds measure them in turn, every second one backwards. This process is
the only client. Compare the lines of one run only: the client needs the same processors.

Files go to a folder below --dir, which is deleted. A million messages take about half a
gigabyte there.`,
		Example: examples("bench growth", "bench growth --sizes 10000,1000000,5000000 --dir /var/lib/confab --json"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Options.Connections = []int{connections}
			if err := checkGrowth(cmd, o); err != nil {
				return err
			}
			return runGrowth(cmd, o, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", ".", "`folder` on the disk to measure")
	flags.IntSliceVar(&o.Sizes, "sizes", []int{10_000, 1_000_000}, "`numbers` of messages in the stores, separated by commas")
	flags.IntVar(&o.Members, "members", core.DefaultParticipants, "`number` of members of large threads")
	flags.IntVar(&o.Lists, "lists", 100_000, "most `threads` of one user; a store has a tenth of its messages, if that is less")
	flags.IntVar(&o.Rounds, "rounds", 5, "`number` of rounds; the medians are printed")
	flags.DurationVar(&o.Span, "span", time.Second, "measured `duration` of each operation on each store in a round")
	flags.DurationVar(&o.Warm, "warm", 100*time.Millisecond, "`duration` of the load before that")
	flags.IntVar(&connections, "connections", 8, "`number` of connections")
	flags.IntVar(&o.Starts, "starts", 10, "`number` of starts of each kind")
	flags.IntVar(&o.Logged, "logged", 20_000, "`number` of messages that a start after a kill reads from the log")
	flags.DurationVar(&o.Idle, "idle", 30*time.Second, "`duration` without load before memory is read")
	flags.BoolVar(&asJSON, "json", false, "print the figures as JSON")
	return cmd
}

// The smallest values of --sizes and --members that bench growth accepts.
const (
	minGrowthSize    = 1000
	minGrowthMembers = 100
)

func checkGrowth(cmd *cobra.Command, o measure.GrowthOptions) error {
	switch n := o.Connections[0]; {
	case len(o.Sizes) == 0 || slices.Min(o.Sizes) < minGrowthSize:
		return usage(cmd, fmt.Sprintf("--sizes are at least %d messages", minGrowthSize))
	case o.Members < minGrowthMembers || o.Members > core.DefaultParticipants:
		return usage(cmd, fmt.Sprintf("--members is between %d and %d", minGrowthMembers, core.DefaultParticipants))
	case o.Rounds < 1 || o.Span <= 0 || o.Starts < 1 || o.Lists < 1 || o.Logged < 1:
		return usage(cmd, "--rounds, --span, --starts, --lists and --logged must be above 0")
	case o.Warm < 0 || o.Idle < 0:
		return usage(cmd, "--warm and --idle must not be below 0")
	case n < 1 || n > maxBenchConnections:
		return usage(cmd, fmt.Sprintf("--connections is between 1 and %d", maxBenchConnections))
	}
	return nil
}

// runGrowth runs bench growth in a temporary folder and prints its report.
func runGrowth(cmd *cobra.Command, o measure.GrowthOptions, asJSON bool) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	dir, err := benchFolder(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Dir, o.Out, o.Size = dir, cmd.ErrOrStderr(), 128
	if asJSON {
		o.Out = io.Discard
	}
	slices.Sort(o.Sizes)
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // collect garbage less often, because the server needs the processor time
	report, err := measure.Growth(ctx, o)
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case err != nil:
		return err
	case asJSON:
		return printJSON(cmd.OutOrStdout(), report)
	}
	report.Print(cmd.OutOrStdout())
	return nil
}
