package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/bench"
)

func newBench() *cobra.Command {
	var o bench.SendPath
	var messages int
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine stores messages",
		Long: `Measure sends of messages to the store on the disk, without HTTP, and compare
them with a plain log that syncs the same bytes. Both run in turn, because on a
shared machine only their ratio is meaningful. Then print how many bytes a
message takes on the disk. It runs for about two minutes and needs some hundred
megabytes, which it deletes at the end.`,
		Example: examples("bench", "bench --dir /var/lib/confab --pairs 3"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Pairs < 1 || o.Span <= 0 || messages < 1 {
				return usage(cmd, "--pairs, --span and --messages are numbers above 0")
			}
			return runBench(cmd, o, messages)
		},
	}
	cmd.Flags().StringVar(&o.Dir, "dir", ".", "`folder` on the disk to measure")
	cmd.Flags().IntVar(&o.Pairs, "pairs", 5, "`number` of pairs for each line")
	cmd.Flags().DurationVar(&o.Span, "span", time.Second, "`duration` of each half of a pair")
	cmd.Flags().IntVar(&messages, "messages", 200_000, "`number` of messages whose bytes are counted")
	return cmd
}

func runBench(cmd *cobra.Command, o bench.SendPath, messages int) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	dir, err := os.MkdirTemp(o.Dir, ".confab-bench-")
	if err != nil {
		return &failure{what: "no folder can be made in " + o.Dir + ": " + rootCause(err).Error(), next: "choose another with --dir", cause: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Dir, o.Out = dir, cmd.OutOrStdout()
	missed, err := o.Run(ctx)
	if err == nil && ctx.Err() == nil {
		var per, kept float64
		if per, kept, err = bench.Footprint(ctx, filepath.Join(dir, "footprint"), messages); err == nil {
			fmt.Fprintf(o.Out, "\nbytes for a message of 128 bytes, after %d sends and a compaction: %.0f written, %.0f kept\n", messages, per, kept)
		}
	}
	if ctx.Err() != nil {
		return exitCode(130)
	}
	for _, m := range missed {
		fmt.Fprintln(cmd.ErrOrStderr(), "bar missed:", m)
	}
	return err
}
