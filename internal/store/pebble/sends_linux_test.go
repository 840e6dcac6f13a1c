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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestSendFigures prints what a send costs the engine, without package core's queue and without
// HTTP. TEST_SENDS lists the numbers of messages in the store at which it measures, for example
// TEST_SENDS=10000,200000,1000000. More variables:
//
//	TEST_SENDS_DIR    folder for the store; it is removed afterwards; default: a temporary one
//	TEST_SENDS_LANES  number of batches in progress; default: that of the engine
//	TEST_SENDS_SLOW   time that is added to each sync of a log, for example 2ms
//	TEST_SENDS_SPAN   duration of the measurement at each number of messages; default 3s
//
// The figures of a number of messages are, per message: those of large batches that fill the
// store up to that number, until all compactions have ended, and then those of 64 goroutines that
// each wait for their message. Bytes are those that Pebble writes to logs, for flushes and for
// compactions.
func TestSendFigures(t *testing.T) {
	sizes := os.Getenv("TEST_SENDS")
	if sizes == "" {
		t.Skip("set TEST_SENDS to the numbers of messages, as in 10000,200000")
	}
	slow, _ := time.ParseDuration(os.Getenv("TEST_SENDS_SLOW"))
	span, _ := time.ParseDuration(cmp.Or(os.Getenv("TEST_SENDS_SPAN"), "3s"))
	inFlight, _ := strconv.Atoi(cmp.Or(os.Getenv("TEST_SENDS_LANES"), strconv.Itoa(lanes)))
	dir := t.TempDir()
	if d := os.Getenv("TEST_SENDS_DIR"); d != "" {
		var err error
		if dir, err = os.MkdirTemp(d, "sends"); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
	}
	l := newSendLoad(t, 1000, 10, inFlight)
	l.dir, l.options = filepath.Join(dir, "store"), Options{Initial: storetest.Initial, FS: slowLogs{vfs.Default, slow}}
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
		sends := l.run(span)
		busy := l.cost()
		took := fmt.Sprintf("%6.0f/s", float64(sends)/span.Seconds())
		l.settle()
		t.Logf("%8d messages: %s %s", n, took, busy.since(after, sends))
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

// sendLoad sends messages to a store.
type sendLoad struct {
	t       *testing.T
	dir     string
	options Options
	store   *Store
	text    string
	members []core.Member // of each thread
	threads []string
	queues  []chan *queuedSend // of the lanes
	sent    atomic.Int64       // messages in the store
}

// queuedSend is a send that waits for its lane.
type queuedSend struct {
	change core.Change
	done   chan struct{}
}

func newSendLoad(t *testing.T, threads, members, lanes int) *sendLoad {
	l := &sendLoad{t: t, queues: make([]chan *queuedSend, lanes)}
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
	for range members {
		l.members = append(l.members, core.Member{User: "8:acs:" + id() + "_" + id()})
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
			Members: l.members, Events: []core.Event{{Kind: core.ThreadCreated, Actor: l.members[0].User}},
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

// run sends messages from 64 goroutines for a span of time and returns how many.
func (l *sendLoad) run(span time.Duration) int {
	l.t.Helper()
	before := l.sent.Load()
	var lanes, senders sync.WaitGroup
	for i := range l.queues {
		queue := make(chan *queuedSend, 64)
		l.queues[i] = queue
		lanes.Go(func() { l.lane(queue) })
	}
	end := time.Now().Add(span)
	for i := range 64 {
		senders.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), uint64(before)))
			s := &queuedSend{done: make(chan struct{}, 1)}
			for time.Now().Before(end) {
				l.send(&s.change, random)
				l.queues[core.LaneOf(s.change.Key, len(l.queues))] <- s
				<-s.done
			}
		})
	}
	senders.Wait()
	for _, queue := range l.queues {
		close(queue)
	}
	lanes.Wait()
	return int(l.sent.Load() - before)
}

// lane applies what is in the queue, in batches, until the queue is closed.
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
	for idle := 0; idle < 3; {
		m := l.store.db.Metrics()
		if idle++; m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			idle = 0
		}
		time.Sleep(20 * time.Millisecond)
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

// readPages returns the processor time that a page of the newest messages takes, and that of a
// page half a thread before.
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

// sendCost is what the process and the store have used so far.
type sendCost struct {
	cpu                     time.Duration
	allocs, allocated       uint64
	wal, flushed, compacted uint64
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
	return c
}

// since returns the cost of each of n messages since an earlier cost, as text.
func (c sendCost) since(was sendCost, n int) string {
	each := func(now, was uint64) float64 { return float64(now-was) / float64(max(n, 1)) }
	wal, flushed, compacted := each(c.wal, was.wal), each(c.flushed, was.flushed), each(c.compacted, was.compacted)
	return fmt.Sprintf("CPU %5.2fµs, %4.1f allocations, %5.0f bytes; written %5.0f = log %4.0f + flushes %4.0f + compactions %5.0f",
		each(uint64(c.cpu), uint64(was.cpu))/1000, each(c.allocs, was.allocs), each(c.allocated, was.allocated), wal+flushed+compacted, wal, flushed, compacted)
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

// slowLogs is a file system on which each sync of a log takes longer by the time wait.
type slowLogs struct {
	vfs.FS
	wait time.Duration
}

func (f slowLogs) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.slow(name, file, err)
}

func (f slowLogs) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.slow(to, file, err)
}

func (f slowLogs) Unwrap() vfs.FS { return f.FS }

func (f slowLogs) slow(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil || f.wait == 0 || !strings.HasSuffix(name, logSuffix) {
		return file, err
	}
	return slowLog{file, f.wait}, nil
}

type slowLog struct {
	vfs.File
	wait time.Duration
}

func (f slowLog) SyncData() error {
	time.Sleep(f.wait)
	return f.File.SyncData()
}

func (f slowLog) Sync() error {
	time.Sleep(f.wait)
	return f.File.Sync()
}
