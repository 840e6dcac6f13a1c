package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/bench"
)

func newBench() *cobra.Command {
	commands := []*cobra.Command{newBenchDisk()}
	for _, p := range benchParts {
		commands = append(commands, p.command())
	}
	cmd := group("bench", "Measure a disk, or the whole server beside others", append(commands, newBenchGrowth(), newReference(), newBenchServe())...)
	cmd.Long = `Choose what to measure. An operator measures a disk:

    confab bench disk --dir /var/lib/confab

The other commands measure the whole server over HTTPS, most of them beside programs that
do the least for the same answer. They are for developers of Confab: docs/benchmarks.md.`
	return cmd
}

// diskOptions are the flags of bench disk.
type diskOptions struct {
	dir      string
	span     time.Duration
	messages int
	asJSON   bool
}

func newBenchDisk() *cobra.Command {
	var o diskOptions
	cmd := &cobra.Command{
		Use:   "disk",
		Short: "Measure how many messages a disk takes",
		Long: `Measure what a server can expect of the disk of its data folder: how long a flush
takes, how many messages the embedded store writes in a second, how long a sender
waits, and how many bytes a message needs. Then say what to make of it.

It measures the store alone, without HTTP and TLS, whose cost is processor time. It
takes about half a minute and some hundred megabytes, which it deletes at the end.
Run it while nothing else uses the disk, or while the usual things do.

Compactions of a small store write less than those of a large one: with millions of
messages more bytes are written for each.`,
		Example: examples("bench disk --dir /var/lib/confab", "bench disk --span 10s --json"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.span <= 0 || o.messages < 1 {
				return usage(cmd, "--span and --messages must be above 0")
			}
			return runBenchDisk(cmd, o)
		},
	}
	cmd.Flags().StringVar(&o.dir, "dir", ".", "`folder` on the disk to measure, such as a data folder")
	cmd.Flags().DurationVar(&o.span, "span", 2*time.Second, "`duration` of each measurement")
	cmd.Flags().IntVar(&o.messages, "messages", 200_000, "`number` of messages whose bytes are counted")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print the figures as JSON")
	return cmd
}

// benchSenders lists the numbers of concurrent senders for which bench disk measures sends.
var benchSenders = []int{1, 16, 64, 256}

// benchResult is the JSON output of bench disk. Times are in milliseconds.
type benchResult struct {
	Folder  string        `json:"folder"`
	Flush   benchLatency  `json:"flush"` // time to write a block of 4 KiB to the disk and flush it
	Sends   []benchSends  `json:"sends"`
	Bytes   benchBytes    `json:"bytesPerMessage"`
	Advice  []string      `json:"advice"`
	flushed bench.Latency // the same times as in Flush, before they were rounded
}

type benchLatency struct {
	Median float64 `json:"medianMs"`
	P99    float64 `json:"p99Ms"` // 99th percentile: 1 of 100 measurements takes this long or longer
}

type benchSends struct {
	Senders   int     `json:"senders"`
	PerSecond float64 `json:"perSecond"`
	benchLatency
}

type benchBytes struct {
	Content int     `json:"content"`
	Kept    float64 `json:"kept"`
	Written float64 `json:"written"` // bytes written to disk for each message, including the store's log and compactions
}

func runBenchDisk(cmd *cobra.Command, o diskOptions) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	dir, err := benchFolder(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.asJSON {
		out = io.Discard
	}
	result, err := measureDisk(ctx, dir, o, out)
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case err != nil:
		return err
	case o.asJSON:
		return printJSON(cmd.OutOrStdout(), result)
	}
	fmt.Fprintln(out, "\nWhat to make of it:")
	for _, line := range result.Advice {
		fmt.Fprintln(out, "- "+line)
	}
	return nil
}

// measureDisk makes all measurements in the folder dir. It prints each measurement as soon as it is
// made.
func measureDisk(ctx context.Context, dir string, o diskOptions, out io.Writer) (r benchResult, err error) {
	r.Folder = o.dir
	d, err := bench.OpenDisk(ctx, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fmt.Fprintf(out, "The disk of %s, each figure from %v:\n\n", tilde(o.dir), o.span)
	if r.flushed, err = d.Flush(o.span); err != nil {
		return r, err
	}
	r.Flush = latencyOf(r.flushed)
	fmt.Fprintf(out, "%-28s %12s %12s %12s\n", "", "a second", "median", "1 of 100")
	fmt.Fprintf(out, "%-28s %12s %12s %12s\n", "flush of 4 KiB", "", millis(r.Flush.Median), millis(r.Flush.P99))
	for _, n := range benchSenders {
		rate, wait, err := d.Send(ctx, n, o.span)
		if err != nil {
			return r, err
		}
		s := benchSends{n, math.Round(rate), latencyOf(wait)}
		r.Sends = append(r.Sends, s)
		fmt.Fprintf(out, "%-28s %12s %12s %12s\n", "messages from "+count(n, "sender", "senders"), thousands(rate), millis(s.Median), millis(s.P99))
	}
	written, kept, err := d.Footprint(ctx, o.messages)
	if err != nil {
		return r, err
	}
	r.Bytes = benchBytes{bench.MessageSize, math.Round(kept), math.Round(written)}
	fmt.Fprintf(out, "\nA message of %d bytes takes %.0f bytes on the disk, and %.0f are written for it in all.\n", r.Bytes.Content, kept, written)
	r.Advice = r.advice()
	return r, ctx.Err()
}

// Limits of the time of a flush. The advice of bench disk compares the measured time with these
// limits, and with quickFlush and slowFlush of the command doctor, to tell what kind of disk it is.
const (
	goodFlush = 2 * time.Millisecond // a disk that flushes in at most this time is a local SSD
	fairFlush = 8 * time.Millisecond // a disk that flushes in at most this time is an SSD behind a network, or a busy SSD
)

// advice returns sentences that explain the measurements to somebody who operates a server.
func (r benchResult) advice() []string {
	var all []string
	flush := millis(r.Flush.Median)
	switch f := r.flushed.Median; {
	case f < quickFlush:
		all = append(all, "No disk flushes in "+flush+": this is memory, or a cache that does not keep what it acknowledges. A power cut may lose messages that were answered, unless the cache has a battery.")
	case f <= goodFlush:
		all = append(all, "A flush takes "+flush+", as on a local SSD: good for a data folder.")
	case f <= fairFlush:
		all = append(all, "A flush takes "+flush+", as on an SSD behind a network or one that others use too. Senders wait for it; many at a time share one flush.")
	case f <= slowFlush:
		all = append(all, "A flush takes "+flush+", as on a hard disk. A single sender gets slow answers: a local SSD would be better.")
	default:
		all = append(all, "A flush takes "+flush+": too slow for a data folder. Put it on a local SSD, or find out what else keeps this disk busy.")
	}
	if p99 := r.flushed.P99; p99 > slowFlush && p99 > 5*r.flushed.Median {
		all = append(all, "1 flush of 100 takes "+millis(r.Flush.P99)+" or longer, and everybody who sends then waits for it: something else uses this disk, or it is near its limit.")
	}
	if len(r.Sends) > 0 {
		alone, most := r.Sends[0], r.Sends[0]
		for _, s := range r.Sends {
			if s.PerSecond > most.PerSecond {
				most = s
			}
		}
		all = append(all, fmt.Sprintf("A single sender, who waits for each answer, gets %s messages a second. Up to %s a second were written for %s at a time: as many as %s people write who each send one every ten seconds.",
			thousands(alone.PerSecond), thousands(most.PerSecond), count(most.Senders, "sender", "senders"), thousands(10*most.PerSecond)),
			"HTTP and TLS come on top and need processor time, so a small machine runs out of processors before this disk is busy: watch both.")
	}
	if r.Bytes.Kept > 0 {
		all = append(all, fmt.Sprintf("A million messages like these take %s on the disk. Longer ones take what their text compresses to.", sizeText(uint64(1e6*r.Bytes.Kept))))
	}
	return all
}

func latencyOf(l bench.Latency) benchLatency {
	ms := func(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }
	return benchLatency{ms(l.Median), ms(l.P99)}
}

// millis formats a number of milliseconds, rounded to three digits: "1.23 ms", "12.3 ms".
func millis(ms float64) string {
	digits := 0
	switch {
	case ms < 1:
		digits = 3
	case ms < 10:
		digits = 2
	case ms < 100:
		digits = 1
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}

// thousands rounds n to three digits and formats it with commas, such as "12,300".
func thousands(n float64) string {
	if unit := math.Pow(10, math.Floor(math.Log10(max(n, 1)))-2); unit > 1 {
		n = math.Round(n/unit) * unit
	}
	text := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
