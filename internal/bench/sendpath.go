package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/cputime"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/sdk/communication"
)

// SendPath measures how many messages per second package core can store on the disk, without
// HTTP. It compares this with a plain log file that gets as many bytes from as many concurrent
// senders.
type SendPath struct {
	Dir     string        // folder for files, on the disk to measure
	Pairs   int           // number of pairs per row of the table; 0 means 5
	Span    time.Duration // duration of each half of a pair; 0 means a second
	Threads int           // number of threads in rows with many; 0 means 1,000
	Members int           // number of participants of each thread; 0 means 10
	Out     io.Writer
}

const messageSize = 128 // bytes of content

// cell is one row of the printed table: a number of senders and threads, with the limits
// for the results.
type cell struct {
	senders, threads int
	// Limits for the results, 0 for no limit: the minimum ratio of the rates (ratio), the
	// minimum number of sends per fsync (perSync), the maximum ratio of the median latencies
	// (p50) and the maximum CPU time per send (cpu).
	ratio, perSync, p50 float64
	cpu                 time.Duration
}

func (o SendPath) cells() []cell {
	return []cell{
		{senders: 1, threads: o.Threads, ratio: 0.10, p50: 2},
		{senders: 1, threads: 1, ratio: 0.10, p50: 2},
		{senders: 64, threads: o.Threads, ratio: 0.10},
		{senders: 64, threads: 1, ratio: 0.10},
		{senders: 256, threads: o.Threads, ratio: 0.05, cpu: 45 * time.Microsecond, perSync: 50},
		{senders: 256, threads: 1, ratio: 0.10, cpu: 45 * time.Microsecond, perSync: 50},
	}
}

// sample is the result of one measurement, either of the store or of the plain log file.
type sample struct {
	rate    float64       // sends per second
	cpu     time.Duration // CPU time of the process per send
	p50     time.Duration
	p99     time.Duration
	perSync float64 // sends per fsync
	bytes   float64 // bytes per send written to the log
}

// Run makes the measurements and prints a table of the results. It returns a message for
// each result that is below its minimum or above its maximum.
func (o SendPath) Run(ctx context.Context) (missed []string, err error) {
	o.Pairs, o.Span = cmp.Or(o.Pairs, 5), cmp.Or(o.Span, time.Second)
	o.Threads, o.Members = cmp.Or(o.Threads, 1000), cmp.Or(o.Members, 10)
	st, err := newStand(ctx, filepath.Join(o.Dir, "store"), o.Threads, o.Members)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, st.close()) }()
	log, err := newRefLog(filepath.Join(o.Dir, "reference.log"), st.store.Lanes())
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, log.close()) }()

	fmt.Fprintf(o.Out, "send path without HTTP: %d lanes, %d-byte messages, %d pairs of %v, medians\n\n", st.store.Lanes(), messageSize, o.Pairs, o.Span)
	fmt.Fprintf(o.Out, "%8s %8s | %9s %8s %9s %9s | %9s %8s %9s %9s | %6s %6s\n", "senders", "threads",
		"sends/s", "CPU", "p50", "per sync", "log/s", "CPU", "p50", "per sync", "rate", "p50")
	for _, c := range o.cells() {
		var ours, bare []sample
		for range o.Pairs {
			a, err := st.run(ctx, c, o.Span)
			if err != nil {
				return nil, err
			}
			ours = append(ours, a)
			bare = append(bare, runLog(log, c, o.Span, int(a.bytes)))
		}
		missed = append(missed, c.print(o.Out, ours, bare)...)
	}
	return missed, nil
}

func (c cell) print(out io.Writer, ours, bare []sample) (missed []string) {
	a, b := medians(ours), medians(bare)
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, ours[i].rate/bare[i].rate)
	}
	ratio, p50 := median(ratios), float64(a.p50)/float64(b.p50)
	fmt.Fprintf(out, "%8d %8d | %9.0f %8s %9s %9.1f | %9.0f %8s %9s %9.1f | %6.2f %6.2f\n", c.senders, c.threads,
		a.rate, micros(a.cpu), micros(a.p50), a.perSync, b.rate, micros(b.cpu), micros(b.p50), b.perSync, ratio, p50)
	miss := func(format string, args ...any) {
		missed = append(missed, fmt.Sprintf("%d senders, %d threads: ", c.senders, c.threads)+fmt.Sprintf(format, args...))
	}
	if ratio < c.ratio {
		miss("%.3f of the log's rate, want at least %.2f", ratio, c.ratio)
	}
	if c.cpu > 0 && a.cpu > c.cpu {
		miss("%v of CPU per send, want at most %v", a.cpu, c.cpu)
	}
	if c.perSync > 0 && a.perSync < c.perSync {
		miss("%.1f sends per fsync, want at least %.0f", a.perSync, c.perSync)
	}
	if c.p50 > 0 && p50 > c.p50 {
		miss("p50 is %.2f times the log's, want at most %.0f", p50, c.p50)
	}
	return missed
}

func micros(d time.Duration) string {
	return fmt.Sprintf("%.1fµs", float64(d.Nanoseconds())/1000)
}

func median[T cmp.Ordered](xs []T) T { return quantile(slices.Clone(xs), 0.5) }

// quantile returns the value below which the fraction q of the values in xs lies. It sorts xs,
// which must not be empty.
func quantile[T cmp.Ordered](xs []T, q float64) T {
	slices.Sort(xs)
	return xs[min(int(q*float64(len(xs))), len(xs)-1)]
}

func medians(ss []sample) (m sample) {
	of := func(f func(sample) float64) float64 {
		xs := make([]float64, len(ss))
		for i, s := range ss {
			xs[i] = f(s)
		}
		return median(xs)
	}
	m.rate = of(func(s sample) float64 { return s.rate })
	m.perSync = of(func(s sample) float64 { return s.perSync })
	m.cpu = time.Duration(of(func(s sample) float64 { return float64(s.cpu) }))
	m.p50 = time.Duration(of(func(s sample) float64 { return float64(s.p50) }))
	return m
}

// stand is an embedded store for measurements, with one user and some threads of that user.
type stand struct {
	store   *pebble.Store
	core    *core.Service
	threads []string
	user    string
}

func newStand(ctx context.Context, dir string, threads, members int) (*stand, error) {
	store, err := pebble.Open(dir, pebble.Options{Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Keys: [2]core.AccessKeyRow{{Secret: make([]byte, 64)}, {Secret: make([]byte, 64)}},
	}})
	if err != nil {
		return nil, err
	}
	st := &stand{store: store}
	if st.core, err = core.New(ctx, store, new(local.Bus), core.Options{}); err != nil {
		return nil, err
	}
	var users []core.NewParticipant
	for range members {
		u, err := st.core.CreateUser(ctx)
		if err != nil {
			return nil, err
		}
		users = append(users, core.NewParticipant{User: communication.ParseRawID(u.ID)})
	}
	st.user = users[0].User.RawID()
	for i := range threads {
		t, _, err := st.core.CreateThread(ctx, st.user, core.CreateThread{Topic: fmt.Sprint("thread ", i), Participants: users})
		if err != nil {
			return nil, err
		}
		st.threads = append(st.threads, t.ID)
	}
	return st, nil
}

func (st *stand) close() error {
	st.core.Close()
	return st.store.Close()
}

var content = strings.Repeat("Confab ", messageSize)[:messageSize]

// run sends messages for the time span, with as many concurrent senders and threads as c says,
// and returns the measured figures.
func (st *stand) run(ctx context.Context, c cell, span time.Duration) (sample, error) {
	before := st.store.Stats()
	var failure atomic.Pointer[error]
	s := load(c.senders, span, func(sender, n int) bool {
		thread := st.threads[(sender*7919+n)%c.threads]
		_, err := st.core.SendMessage(ctx, st.user, thread, core.SendMessage{Kind: core.Text, Content: content})
		if err != nil {
			failure.Store(&err)
		}
		return err == nil
	})
	if err := failure.Load(); err != nil {
		return s, *err
	}
	after := st.store.Stats()
	sends := s.rate * span.Seconds()
	s.bytes = float64(after.Logged-before.Logged) / sends
	s.perSync = sends / float64(after.Syncs-before.Syncs)
	return s, nil
}

// runLog appends size bytes at a time to the log file for the time span, with as many
// concurrent senders as c says, and returns the measured figures.
func runLog(l *refLog, c cell, span time.Duration, size int) sample {
	data := make([]byte, size)
	writes := make([]refWrite, c.senders)
	for i := range writes {
		writes[i] = refWrite{data: data, done: make(chan struct{}, 1)}
	}
	before := l.syncs
	s := load(c.senders, span, func(sender, n int) bool {
		lane := 0 // a store uses one lane for one thread
		if c.threads > 1 {
			lane = sender + n
		}
		l.append(lane, &writes[sender])
		return true
	})
	s.perSync = s.rate * span.Seconds() / float64(l.syncs-before)
	return s
}

// load calls send from concurrent senders for the time span. A sender ends early if send
// returns false. load returns the calls per second, the CPU time per call and the median
// latency.
func load(senders int, span time.Duration, send func(sender, n int) bool) sample {
	var wg sync.WaitGroup
	latencies := make([][]time.Duration, senders)
	cpu, start := cputime.Self(), time.Now()
	end := start.Add(span)
	for i := range senders {
		wg.Go(func() {
			for n := 0; ; n++ {
				t := time.Now()
				if t.After(end) || !send(i, n) {
					return
				}
				latencies[i] = append(latencies[i], time.Since(t))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return sample{}
	}
	return sample{
		rate: float64(len(all)) / took.Seconds(),
		cpu:  (cputime.Self() - cpu) / time.Duration(len(all)),
		p50:  quantile(all, 0.5),
		p99:  quantile(all, 0.99),
	}
}

// BigThread compares the CPU time of a send to a thread with many participants (members) with
// that of a send to a thread with two. It measures both several times (pairs) and returns the
// median of the ratios.
func BigThread(ctx context.Context, dir string, members, pairs int, span time.Duration) (ratio float64, err error) {
	big, err := newStand(ctx, filepath.Join(dir, "big"), 20, members)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, big.close()) }()
	small, err := newStand(ctx, filepath.Join(dir, "small"), 20, 2)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, small.close()) }()
	var ratios []float64
	for range pairs {
		c := cell{senders: 64, threads: 20}
		a, err := big.run(ctx, c, span)
		if err != nil {
			return 0, err
		}
		b, err := small.run(ctx, c, span)
		if err != nil {
			return 0, err
		}
		ratios = append(ratios, float64(a.cpu)/float64(b.cpu))
	}
	return median(ratios), nil
}

// Footprint sends n messages to a new store in dir and compacts the store. It returns two
// numbers of bytes per message, from Pebble's metrics: those written to the disk, and those
// that remain in the tables. It deletes dir at the end.
func Footprint(ctx context.Context, dir string, n int) (written, kept float64, err error) {
	st, err := newStand(ctx, dir, 1000, 10)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = cmp.Or(err, st.close(), os.RemoveAll(dir)) }()
	return st.footprint(ctx, n)
}

// footprint is Footprint for a store that is already open, which it does not delete.
func (st *stand) footprint(ctx context.Context, n int) (written, kept float64, err error) {
	if err := st.store.Compact(ctx); err != nil {
		return 0, 0, err
	}
	before := st.store.Stats()
	if err := st.fill(ctx, n); err != nil {
		return 0, 0, err
	}
	if err := st.store.Compact(ctx); err != nil {
		return 0, 0, err
	}
	after := st.store.Stats()
	return float64(after.Written-before.Written) / float64(n), float64(after.Tables-before.Tables) / float64(n), nil
}

// Fill creates a store in dir and stores n messages in it. It leaves the store open, so
// that a test can kill the process.
func Fill(ctx context.Context, dir string, n int) error {
	st, err := newStand(ctx, dir, 1000, 10)
	if err != nil {
		return err
	}
	return st.fill(ctx, n)
}

// fill sends n messages from 256 concurrent senders.
func (st *stand) fill(ctx context.Context, n int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && failure.Load() == nil; i = next.Add(1) {
				thread := st.threads[int(i)%len(st.threads)]
				if _, err := st.core.SendMessage(ctx, st.user, thread, core.SendMessage{Kind: core.Text, Content: content}); err != nil {
					failure.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}
