package pebble

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"

	"github.com/confab-chat/confab/internal/bench/slowdisk"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestSendFigures prints what a send costs the engine, without package core's queue and without
// HTTP. TEST_SENDS lists the numbers of messages in the store at which it measures, for example
// TEST_SENDS=10000,200000,1000000. More variables:
//
//	TEST_SENDS_DIR    folder for the store; it is removed afterwards; default: a temporary one
//	TEST_SENDS_LANES  number of batches in progress; default: the engine's number
//	TEST_SENDS_SLOW   time that is added to each sync, for example 2ms
//	TEST_SENDS_SPAN   duration of the measurement at each number of messages; default 3s
//
// For each number of messages the test prints figures per message: first of the large batches that
// fill the store up to this number, until all compactions have ended, and then of 64 goroutines
// that each wait for their message. The figures for bytes are the bytes that Pebble writes to logs,
// for flushes and for compactions. The figure for syncs is the number of syncs of the log.
func TestSendFigures(t *testing.T) {
	sizes := os.Getenv("TEST_SENDS")
	if sizes == "" {
		t.Skip("set TEST_SENDS to the numbers of messages, as in 10000,200000")
	}
	slow, err := time.ParseDuration(cmp.Or(os.Getenv("TEST_SENDS_SLOW"), "0s"))
	if err != nil {
		t.Fatal(err)
	}
	span := sendSpan(t, "3s")
	inFlight, err := strconv.Atoi(cmp.Or(os.Getenv("TEST_SENDS_LANES"), strconv.Itoa(lanes)))
	if err != nil {
		t.Fatal(err)
	}
	dir := sendFolder(t)
	l := newSendLoad(t, 1000, 10)
	l.dir, l.options = filepath.Join(dir, "store"), Options{Initial: storetest.Initial, FS: slowdisk.FS{FS: vfs.Default, Wait: slow}}
	l.open()
	defer func() { l.must(l.store.Close()) }()
	l.create()
	for _, size := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(size)
		l.must(err)
		before := l.cost()
		filled := l.fill(n - int(l.sent.Load()))
		l.settle()
		after := l.cost()
		t.Logf("%8d messages: filled   %s", n, after.since(before, filled))
		ran := l.run(span, 64, inFlight)
		busy := l.cost()
		l.settle()
		t.Logf("%8d messages: %6.0f/s  %s", n, float64(ran.sends)/span.Seconds(), busy.since(after, ran.sends))
		m := l.store.db.Metrics()
		first, deep := l.readPages()
		t.Logf("%8d messages: %d bytes kept each, %d tables, read amplification %d, a page of 50 takes %v, deep %v; resident %d MB", n, m.DiskSpaceUsage()/uint64(l.sent.Load()), m.Total().TablesCount, m.ReadAmp(), first, deep, resident()>>20)
		killed := filepath.Join(dir, "killed")
		l.must(l.killedCopy(killed))
		afterKill := l.start(killed)
		l.must(os.RemoveAll(killed))
		began := time.Now()
		l.must(l.store.Close())
		closed := time.Since(began)
		began = time.Now()
		l.open()
		t.Logf("%8d messages: start after a kill %v, clean stop %v, start after it %v", n, afterKill, closed, time.Since(began))
	}
	if os.Getenv("TEST_SENDS_METRICS") != "" {
		t.Log("\n" + l.store.db.Metrics().String())
	}
}

// sendSpan returns the duration of a measurement: TEST_SENDS_SPAN, or the default.
func sendSpan(t *testing.T, byDefault string) time.Duration {
	span, err := time.ParseDuration(cmp.Or(os.Getenv("TEST_SENDS_SPAN"), byDefault))
	if err != nil {
		t.Fatal(err)
	}
	return span
}

// sendFolder returns a temporary folder, in TEST_SENDS_DIR if that is set.
func sendFolder(t *testing.T) string {
	d := os.Getenv("TEST_SENDS_DIR")
	if d == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(d, "sends")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestLaneFigures measures how sends depend on the number of batches in progress (lanes), in
// TEST_LANES rounds. Each round measures 1, 2 and 3 lanes in turn, every second round in the
// opposite order, with several numbers of goroutines that each wait for their message, and on disks
// whose syncs take longer. The test prints the medians of the rounds, and the ratios to one lane in
// the same round. TEST_SENDS_DIR and TEST_SENDS_SPAN (default 500ms) are as for TestSendFigures.
func TestLaneFigures(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("TEST_LANES"))
	if rounds == 0 {
		t.Skip("set TEST_LANES to the number of rounds, as in 11")
	}
	span, dir := sendSpan(t, "500ms"), sendFolder(t)
	const most = 3 // lanes
	for _, slow := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond} {
		l := newSendLoad(t, 1000, 10)
		l.dir, l.options = filepath.Join(dir, slow.String()), Options{Initial: storetest.Initial, FS: slowdisk.FS{FS: vfs.Default, Wait: slow}}
		l.open()
		l.create()
		l.fill(20_000)
		for _, senders := range []int{1, 16, 64, 256} {
			var all [most][]laneFigures
			for round := range rounds {
				for i := range most {
					if round%2 == 1 {
						i = most - 1 - i
					}
					before := l.cost()
					r := l.run(span, senders, i+1)
					after := l.cost()
					n := float64(max(r.sends, 1))
					all[i] = append(all[i], laneFigures{
						rate: float64(r.sends) / r.took.Seconds(), cpu: float64(after.cpu-before.cpu) / n / 1000, syncs: float64(after.syncs-before.syncs) / n,
						p50: r.quantile(0.5), p99: r.quantile(0.99),
					})
				}
			}
			for i, fs := range all {
				median := func(of func(laneFigures) float64) float64 {
					var vs []float64
					for _, f := range fs {
						vs = append(vs, of(f))
					}
					slices.Sort(vs)
					return vs[len(vs)/2]
				}
				ratio := func(of func(laneFigures) float64) float64 {
					n := -1
					return median(func(f laneFigures) float64 { n++; return of(f) / of(all[0][n]) })
				}
				rate, cpu := func(f laneFigures) float64 { return f.rate }, func(f laneFigures) float64 { return f.cpu }
				t.Logf("sync +%-4v %3d senders, %d lanes: %6.0f/s (x%.2f), CPU %5.2fµs (x%.2f), a sync for %5.1f sends, p50 %6.2fms, p99 %6.2fms", slow, senders, i+1,
					median(rate), ratio(rate), median(cpu), ratio(cpu), 1/median(func(f laneFigures) float64 { return f.syncs }),
					median(func(f laneFigures) float64 { return f.p50.Seconds() * 1000 }), median(func(f laneFigures) float64 { return f.p99.Seconds() * 1000 }))
			}
		}
		l.must(l.store.Close())
	}
}

// laneFigures are the figures of one measurement. The rate is sends per second; the other figures
// are per send.
type laneFigures struct {
	rate, cpu, syncs float64
	p50, p99         time.Duration
}

// sendLoad sends messages to a store.
type sendLoad struct {
	t       *testing.T
	dir     string
	options Options
	store   *Store
	text    string
	members []*core.Member // of each thread
	threads []string
	sent    atomic.Int64 // messages in the store
}

// queuedSend is a send that waits for its lane.
type queuedSend struct {
	change core.Change
	done   chan struct{}
}

func newSendLoad(t *testing.T, threads, members int) *sendLoad {
	l := &sendLoad{t: t}
	files, err := filepath.Glob("../../../docs/*.md")
	l.must(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		l.must(err)
		l.text += string(b)
	}
	random := rand.New(rand.NewPCG(1, 1))
	id := func() string {
		return hex.EncodeToString(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, random.Uint64()), random.Uint64()))
	}
	for range threads {
		l.threads = append(l.threads, "19:"+id()+"@thread.v2")
	}
	guid := func() string {
		s := id()
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	resource := guid()
	for range members {
		l.members = append(l.members, &core.Member{User: "8:acs:" + resource + "_" + guid()})
	}
	return l
}

func (l *sendLoad) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *sendLoad) open() {
	l.t.Helper()
	s, err := Open(l.dir, l.options)
	l.must(err)
	l.store = s
}

// start opens the store in dir, closes it, and returns how long the opening took.
func (l *sendLoad) start(dir string) time.Duration {
	l.t.Helper()
	began := time.Now()
	s, err := Open(dir, Options{})
	took := time.Since(began)
	l.must(err)
	l.must(s.Close())
	return took
}

// now is the time of the next batch. It advances by 50 µs for each message, so that 20,000 are
// sent in a second.
func (l *sendLoad) now() int64 { return 1_700_000_000_000 + l.sent.Load()/20 }

func (l *sendLoad) create() {
	l.t.Helper()
	for _, thread := range l.threads {
		c := core.Change{
			Key: thread, Thread: thread, Properties: &core.Properties{Topic: "the topic of a thread", CreatedBy: l.members[0].User},
			Events: []core.Event{{Kind: core.ThreadCreated, Actor: l.members[0].User}},
		}
		for _, m := range l.members {
			c.Members = append(c.Members, *m)
		}
		l.apply(&c)
	}
}

func (l *sendLoad) apply(cs ...*core.Change) {
	l.t.Helper()
	outcomes, err := l.store.Apply(context.Background(), core.Batch{At: l.now(), Check: 1, Changes: cs})
	if err != nil {
		l.t.Error(err)
	}
	for _, o := range outcomes {
		if o.Status != core.Applied {
			l.t.Errorf("a change has the status %v", o.Status)
		}
	}
}

// send sets c to a send of 128 bytes of prose to a random thread.
func (l *sendLoad) send(c *core.Change, random *rand.Rand) {
	thread, sender := l.threads[random.IntN(len(l.threads))], l.members[random.IntN(len(l.members))].User
	at := random.IntN(len(l.text) - 200)
	m := core.Message{Kind: core.Text, Sender: sender, SenderDisplayName: "Ada Lovelace", Content: strings.ToValidUTF8(l.text[at:at+128], "")}
	binary.BigEndian.PutUint64(m.Fingerprint[:], rand.Uint64()) // not from random, which may repeat
	binary.BigEndian.PutUint64(m.Fingerprint[8:], rand.Uint64())
	*c = core.Change{
		Key: thread, Thread: thread, Revision: 1, Caller: sender, Roster: l.members,
		Messages: []core.Message{m}, Events: []core.Event{{Kind: core.MessageReceived, Actor: sender}},
	}
}

// fill sends n messages in large batches.
func (l *sendLoad) fill(n int) int {
	l.t.Helper()
	random := rand.New(rand.NewPCG(2, uint64(n)))
	for left := n; left > 0; left -= 512 {
		changes := make([]core.Change, min(left, 512))
		batch := make([]*core.Change, len(changes))
		for i := range changes {
			l.send(&changes[i], random)
			batch[i] = &changes[i]
		}
		l.apply(batch...)
		l.sent.Add(int64(len(batch)))
	}
	return max(n, 0)
}

// sendRun is the result of run.
type sendRun struct {
	sends int
	took  time.Duration
	waits []time.Duration // of all sends, in ascending order
}

// quantile returns the time within which a share q of the sends ended.
func (r sendRun) quantile(q float64) time.Duration {
	if len(r.waits) == 0 {
		return 0
	}
	return r.waits[int(q*float64(len(r.waits)-1))]
}

// run sends messages from goroutines for a span of time, with a number of batches in progress.
func (l *sendLoad) run(span time.Duration, goroutines, inFlight int) (r sendRun) {
	l.t.Helper()
	before, began := l.sent.Load(), time.Now()
	var lanes, senders sync.WaitGroup
	queues := make([]chan *queuedSend, inFlight)
	for i := range queues {
		queue := make(chan *queuedSend, goroutines)
		queues[i] = queue
		lanes.Go(func() { l.lane(queue) })
	}
	waits := make([][]time.Duration, goroutines)
	end := began.Add(span)
	for i := range goroutines {
		senders.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(before)))
			s := &queuedSend{done: make(chan struct{}, 1)}
			for now := time.Now(); now.Before(end); {
				l.send(&s.change, random)
				queues[core.LaneOf(s.change.Key, len(queues))] <- s
				<-s.done
				then := now
				now = time.Now()
				waits[i] = append(waits[i], now.Sub(then))
			}
		})
	}
	senders.Wait()
	for _, queue := range queues {
		close(queue)
	}
	lanes.Wait()
	r = sendRun{sends: int(l.sent.Load() - before), took: time.Since(began), waits: slices.Concat(waits...)}
	slices.Sort(r.waits)
	return r
}

// lane applies the sends in the queue, in batches, until the queue is closed.
func (l *sendLoad) lane(queue chan *queuedSend) {
	var batch []*queuedSend
	var changes []*core.Change
	for first := range queue {
		batch, changes = append(batch[:0], first), append(changes[:0], &first.change)
		runtime.Gosched()
		for len(queue) > 0 {
			s := <-queue
			batch, changes = append(batch, s), append(changes, &s.change)
		}
		l.apply(changes...)
		l.sent.Add(int64(len(batch)))
		for _, s := range batch {
			s.done <- struct{}{}
		}
	}
}

// settle waits until no flush and no compaction is left to do.
func (l *sendLoad) settle() {
	look := time.NewTicker(20 * time.Millisecond) // Pebble reports the end of a compaction before it begins the next
	defer look.Stop()
	for idle := 0; idle < 3; <-look.C {
		m := l.store.db.Metrics()
		if idle++; m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			idle = 0
		}
	}
}

// killedCopy copies the store to dir as a kill would leave it: tables as hard links.
func (l *sendLoad) killedCopy(dir string) error {
	l.settle()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(l.dir)
	for _, f := range files {
		from, to := filepath.Join(l.dir, f.Name()), filepath.Join(dir, f.Name())
		if f.IsDir() || f.Name() == "LOCK" {
			continue
		}
		if isTable(f.Name()) {
			err = cmp.Or(err, os.Link(from, to))
		} else {
			err = cmp.Or(err, copyFile(from, to))
		}
	}
	return err
}

// readPages returns the processor time of reading a page of the newest messages, and of reading a
// page from the middle of the thread.
func (l *sendLoad) readPages() (first, deep time.Duration) {
	const n = 3000
	half := uint64(l.sent.Load()) / uint64(2*len(l.threads))
	read := func(q core.MessagesQuery) time.Duration {
		random := rand.New(rand.NewPCG(3, 3))
		began := processTime()
		for range n {
			q.Thread, q.Reader, q.Limit = l.threads[random.IntN(len(l.threads))], l.members[0].User, 50
			if _, err := l.store.Messages(context.Background(), q); err != nil {
				l.t.Fatal(err)
			}
		}
		return (processTime() - began) / n
	}
	return read(core.MessagesQuery{}), read(core.MessagesQuery{Before: half})
}

// sendCost has the resources that the process and the store have used so far.
type sendCost struct {
	cpu                     time.Duration
	allocs, allocated       uint64
	wal, flushed, compacted uint64
	syncs                   uint64        // of the log
	syncing                 time.Duration // that they took
}

func (l *sendLoad) cost() (c sendCost) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m := l.store.db.Metrics()
	c = sendCost{cpu: processTime(), allocs: mem.Mallocs, allocated: mem.TotalAlloc, wal: m.WAL.BytesWritten}
	for _, level := range m.Levels {
		c.flushed += level.TableBytesFlushed + level.BlobBytesFlushed
		c.compacted += level.TableBytesCompacted + level.BlobBytesCompacted
	}
	var h dto.Metric
	l.must(m.LogWriter.FsyncLatency.Write(&h))
	c.syncs, c.syncing = h.GetHistogram().GetSampleCount(), time.Duration(h.GetHistogram().GetSampleSum())
	return c
}

// since returns, as text, the difference to an earlier cost, divided by n messages.
func (c sendCost) since(was sendCost, n int) string {
	each := func(now, was uint64) float64 { return float64(now-was) / float64(max(n, 1)) }
	wal, flushed, compacted := each(c.wal, was.wal), each(c.flushed, was.flushed), each(c.compacted, was.compacted)
	sync := (c.syncing - was.syncing) / time.Duration(max(c.syncs-was.syncs, 1))
	return fmt.Sprintf("CPU %5.2fµs, %4.1f allocations, %5.0f bytes; written %5.0f = log %4.0f + flushes %4.0f + compactions %5.0f; %.3f syncs of %v",
		each(uint64(c.cpu), uint64(was.cpu))/1000, each(c.allocs, was.allocs), each(c.allocated, was.allocated), wal+flushed+compacted, wal, flushed, compacted,
		each(c.syncs, was.syncs), sync.Round(time.Microsecond))
}

// processTime returns the processor time that the process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns the resident memory of the process in bytes, or 0 if the system does not say.
func resident() int {
	b, _ := os.ReadFile("/proc/self/statm")
	var size, pages int
	fmt.Sscan(string(b), &size, &pages)
	return pages * os.Getpagesize()
}
