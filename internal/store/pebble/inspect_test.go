package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/store/storetest"
)

// look inspects the store in a folder on the disk, and fails the test if the inspection fails.
func look(t *testing.T, dir string) *inspection {
	t.Helper()
	s := &Store{fs: vfs.Default, dir: dir, log: discard}
	opts := s.options(Options{})
	opts.EnsureDefaults()
	in, err := inspect(vfs.Default, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestInspectionAgreesWithPebble compares the tables that the inspection reads from the manifest
// with the tables that Pebble reports, after many changes to the manifest: flushes, compactions and
// moves.
func TestInspectionAgreesWithPebble(t *testing.T) {
	dir := t.TempDir()
	for run := range 3 {
		s, err := Open(dir, Options{Initial: storetest.Initial, MemTableSize: 128 << 10})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			putThreads(t, s, 100*run+10*i, 10)
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		levels, err := s.db.SSTables()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, tables := range levels {
			for _, table := range tables {
				want = append(want, fmt.Sprint(table.BackingSSTNum, " ", table.Size))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		in := look(t, dir)
		for number, size := range in.manifest.tables {
			got = append(got, fmt.Sprintf("%06d %d", number, size))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || len(got) == 0 || in.manifest.edits < 6 || !in.vouched {
			t.Errorf("run %d: the manifest has %d edits and names %v, Pebble has %v; vouched: %v", run, in.manifest.edits, got, want, in.vouched)
		}
	}
}

// TestReusedLog inspects a log that was written over an old one. The records of the old log,
// behind the end of the new one, must not count as records after unreadable bytes; and at most one
// block of bytes may count as left over.
func TestReusedLog(t *testing.T) {
	d := newDamageable(t)
	in := look(t, d.killed)
	name := fileName("", in.logs[len(in.logs)-1], logSuffix)
	info, err := os.Stat(filepath.Join(d.killed, name))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() <= in.logBytes {
		t.Fatalf("%s has %d bytes, %d of them in its own records: it was not written over an old log", name, info.Size(), in.logBytes)
	}
	if in.holes != 0 || in.leftOver > blockSize || in.mark.closed {
		t.Errorf("%d records behind a hole, %d bytes left over, closed: %v; want none, at most a block, false", in.holes, in.leftOver, in.mark.closed)
	}
	if closed := look(t, d.closed); !closed.mark.closed || closed.holes != 0 {
		t.Errorf("after a clean stop: closed %v, %d records behind a hole", closed.mark.closed, closed.holes)
	}
}

// TestLogEndsWithZeros verifies that there are zeros behind the end of a log, so that most writes do
// not make the file longer, and that a start after a kill takes them for the end of the log. It
// does so for a new log and for one that is written over a shorter old one.
func TestLogEndsWithZeros(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "store")
	s, err := Open(dir, Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	row := uint64(0)
	for _, test := range []struct {
		name string
		rows int // number of rows of 1,000 bytes to write; they fit into one memtable, so into one log
	}{{"new", 150}, {"written over another", 700}} {
		name, sizes := test.name, map[string]bool{}
		for range test.rows {
			row++
			if err := s.set(binary.BigEndian.AppendUint64([]byte{0xf0}, row), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if err != nil || len(logs) == 0 {
				t.Fatalf("logs %q, %v", logs, err)
			}
			info, err := os.Stat(slices.Max(logs))
			if err != nil {
				t.Fatal(err)
			}
			sizes[fmt.Sprint(filepath.Base(slices.Max(logs)), " ", info.Size())] = true
		}
		if most := 2 + 1000*test.rows/zerosBehind; len(sizes) > most {
			t.Errorf("%s: after each row the log had another size: %d sizes, want at most %d", name, len(sizes), most)
		}
		killed := filepath.Join(root, name)
		if err := storetest.CopyFolder(dir, killed); err != nil {
			t.Fatal(err)
		}
		in := look(t, killed)
		if in.holes != 0 || in.leftOver > blockSize || in.logBytes < int64(1000*test.rows) {
			t.Errorf("%s: %d bytes of records, %d records behind a hole, %d bytes left over; want at least %d, none and at most a block", name, in.logBytes, in.holes, in.leftOver, 1000*test.rows)
		}
		left, err := Open(killed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // flush twice: Pebble then writes the newest log over the first one
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestStartReportsTheLog verifies that a start after a kill logs how many bytes of the log were
// read and how many are left over behind them.
func TestStartReportsTheLog(t *testing.T) {
	d := newDamageable(t)
	in := look(t, d.killed)
	name := filepath.Join(d.killed, fileName("", in.logs[len(in.logs)-1], logSuffix))
	if err := os.Truncate(name, in.logBytes); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte{0x5a}, 70<<10)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s, err := Open(d.killed, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := fmt.Sprintf("closed=false bytes=%d left_over_bytes=%d", in.logBytes, 70<<10); !strings.Contains(log.String(), want) {
		t.Errorf("the log of the start is %q, want %q in it", log.String(), want)
	}
	if counts, err := s.Check(t.Context()); err != nil || counts != d.want {
		t.Errorf("counts %+v (%v), want %+v", counts, err, d.want)
	}
}

// TestStraysMove removes the mark (the file DURABLE), which says that no record of the manifest is
// lost, and adds a table that no record names. Open must move the table to unaccounted/ with its
// content, even if that folder has a file of this name, and report it. With a mark, Pebble may
// delete the table.
func TestStraysMove(t *testing.T) {
	d := newDamageable(t)
	stray := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.closed, "000777.sst"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := func() string {
		t.Helper()
		var log bytes.Buffer
		s, err := Open(d.closed, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		counts, err := s.Check(t.Context())
		if err != nil || counts != d.want {
			t.Errorf("counts %+v (%v), want %+v", counts, err, d.want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	for _, content := range []string{"first", "second"} {
		stray(content)
		if err := os.Remove(filepath.Join(d.closed, markName)); err != nil {
			t.Fatal(err)
		}
		if log := start(); !strings.Contains(log, "000777.sst") {
			t.Errorf("the log of the start is %q, want 000777.sst in it", log)
		}
	}
	for name, want := range map[string]string{"000777.sst": "first", "000777.sst.1": "second"} {
		if got, err := os.ReadFile(filepath.Join(d.closed, unaccounted, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
		}
	}
	stray("third")
	log := start()
	if !strings.Contains(log, unaccounted) || !strings.Contains(log, "files=2 bytes=11") {
		t.Errorf("the log of the next start is %q, want the files in %s", log, unaccounted)
	}
	if list(t, filepath.Join(d.closed, unaccounted))["000777.sst.2"] {
		t.Error("a table was moved though the mark vouches for the manifest")
	}
}

// TestHoleInALogWithoutAMark damages an early record of a log in a store without a mark, as
// older versions wrote it. Later records say that the damaged part was durable, so Open must
// refuse the store.
func TestHoleInALogWithoutAMark(t *testing.T) {
	d := newDamageable(t)
	for _, dir := range []string{d.closed, d.killed} {
		in := look(t, dir)
		name := fileName("", in.logs[len(in.logs)-1], logSuffix)
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damage"), in.logBytes/5); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Close(), os.Remove(filepath.Join(dir, markName))); err != nil {
			t.Fatal(err)
		}
		before, err := storetest.Sums(dir)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Open(dir, Options{}); err == nil {
			s.Close()
			t.Error("opened")
		} else {
			refusedByName(t, dir, name, before, err)
		}
	}
}

// hookedFS is a file system that calls a function, the field before, ahead of each sync of a file.
type hookedFS struct {
	vfs.FS
	before func()
}

func (h hookedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	return hookedFile{f, h.before}, err
}

func (h hookedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.ReuseForWrite(from, to, c)
	return hookedFile{f, h.before}, err
}

type hookedFile struct {
	vfs.File
	before func()
}

func (f hookedFile) Sync() error {
	f.before()
	return f.File.Sync()
}

func (f hookedFile) SyncData() error {
	f.before()
	return f.File.SyncData()
}

// TestMarkIsNeverAhead cuts the power right before syncs of logs, manifests and tables. If the mark
// claimed more durable bytes than there are, Open would refuse the store after the cut. After a
// cut, each block of a file, and of the mark too, may have its content from the last sync or from
// later.
func TestMarkIsNeverAhead(t *testing.T) {
	disk := vfs.NewCrashableMem()
	random := rand.New(rand.NewPCG(1, 1))
	type cut struct {
		fs    *vfs.MemFS
		acked int // number of threads that were acknowledged before the cut
	}
	var mu sync.Mutex // guards random and cuts
	var cuts []cut
	var acked atomic.Int64
	s, err := Open("store", Options{Initial: storetest.Initial, MemTableSize: 128 << 10, FS: hookedFS{disk, func() {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(5) == 0 {
			n := int(acked.Load())
			clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: random})
			cuts = append(cuts, cut{clone, n})
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		putThreads(t, s, i, 1)
		acked.Store(int64(i + 1))
		if i%50 == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(cuts) < 50 {
		t.Fatalf("only %d power cuts", len(cuts))
	}
	for i, c := range cuts {
		left, err := Open("store", Options{FS: c.fs, Initial: storetest.Initial, CacheSize: 1 << 20, MemTableSize: 128 << 10})
		if err != nil {
			t.Fatalf("cut %d, after %d threads: %v", i, c.acked, err)
		}
		counts, err := left.Check(t.Context())
		if n := int(counts.Threads); err != nil || n != c.acked && n != c.acked+1 {
			t.Errorf("cut %d, after %d threads: %d are left (%v)", i, c.acked, n, err)
		}
		if err := left.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMarkSlots damages each byte of the newer slot of the mark. Then readMark must return the
// older slot.
func TestMarkSlots(t *testing.T) {
	fs := vfs.NewMem()
	files := []durableFile{{logFile, 4, 100}, {manifestFile, 3, 50}}
	m, err := openMark(fs, "", discard, 0, files)
	if err != nil {
		t.Fatal(err)
	}
	m.note(logFile, 4, 200)
	m.note(logFile, 5, 1)
	m.forget(logFile, 4)
	m.note(logFile, 5, 2)
	if err := m.close(true); err != nil {
		t.Fatal(err)
	}
	got, found, readable, err := readMark(fs, "")
	if err != nil || !found || !readable || !got.closed || got.length(logFile, 5) != 2 || got.length(logFile, 4) != 0 || got.length(manifestFile, 3) != 50 {
		t.Fatalf("the mark is %+v (%v, %v, %v)", got, found, readable, err)
	}
	newest := int(got.turn%2) * markSlot
	for i := range markSlot {
		f, err := fs.OpenReadWrite(markName, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		flip := func() {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, int64(newest+i)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{b[0] ^ 4}, int64(newest+i)); err != nil {
				t.Fatal(err)
			}
		}
		flip()
		older, _, readable, err := readMark(fs, "")
		if err != nil || !readable || older.turn != got.turn-1 || older.closed {
			t.Fatalf("with byte %d damaged the mark is %+v (%v, %v), want the older slot", i, older, readable, err)
		}
		flip()
		f.Close()
	}
}

// FuzzChunks compares chunkReader with Pebble's reader on arbitrary bytes. The records that
// chunkReader returns must be the first ones that Pebble's reader returns.
func FuzzChunks(f *testing.F) {
	var file bytes.Buffer
	w := record.NewWriter(&file)
	for _, n := range []int{0, 1, 100, blockSize - 20, 2*blockSize + 5, 7} {
		if _, err := w.WriteRecord(bytes.Repeat([]byte{byte(n)}, n)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(file.Bytes(), uint32(0), byte(0))
	f.Add(file.Bytes(), uint32(blockSize+9), byte(1))
	f.Add(file.Bytes()[:blockSize+100], uint32(4), byte(0x80))
	f.Add([]byte{}, uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint32, flip byte) {
		if len(b) > 0 {
			b = slices.Clone(b)
			b[int(at)%len(b)] ^= flip
		}
		var want, got [][]byte
		theirs := record.NewReader(bytes.NewReader(b), 0)
		for {
			r, err := theirs.Next()
			if err != nil {
				break
			}
			rec, err := io.ReadAll(r)
			if err != nil {
				break
			}
			want = append(want, rec)
		}
		ours, rec := newChunkReader(bytes.NewReader(b), 0), []byte(nil)
		for {
			c, err := ours.next()
			if err != nil {
				break
			}
			if rec = append(rec, c.payload...); !ours.open {
				got, rec = append(got, rec), nil
			}
		}
		// Pebble skips a middle or last part of a record whose first part is missing, and reads
		// on. chunkReader stops there, so it may return fewer records.
		if len(got) > len(want) || !slices.EqualFunc(got, want[:len(got)], bytes.Equal) {
			t.Errorf("read %d records, Pebble reads %d", len(got), len(want))
		}
		if _, err := ours.tail(); err != nil {
			t.Error(err)
		}
		if _, err := readManifest(bytes.NewReader(b)); err != nil && !strings.Contains(err.Error(), "the record that ends at byte") {
			t.Error(err)
		}
	})
}

// BenchmarkMark measures the time that writing the mark adds to each sync of the log: one write of
// 512 bytes. Another goroutine syncs the mark once every markSync.
func BenchmarkMark(b *testing.B) {
	m, err := openMark(vfs.Default, b.TempDir(), discard, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for b.Loop() {
		n++
		m.note(logFile, 1, n)
	}
	if err := m.close(true); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSync measures durable writes, one after another, alternately on a store whose syncs
// are noted in the mark and on one without a mark. The ratio of the times is the cost of the
// mark.
func BenchmarkSync(b *testing.B) {
	var took [2]time.Duration
	var stores [2]*pebble.DB
	for i := range stores {
		dir := b.TempDir()
		s, err := Open(dir, Options{Initial: storetest.Initial})
		if err != nil {
			b.Fatal(err)
		}
		stores[i] = s.db
		if i == 0 {
			defer s.Close()
			continue
		}
		s.Close()
		if stores[i], err = pebble.Open(dir, (&Store{fs: vfs.Default, dir: dir, log: discard}).options(Options{})); err != nil {
			b.Fatal(err)
		}
		defer stores[i].Close()
	}
	value := bytes.Repeat([]byte("x"), 300)
	n := 0
	for b.Loop() {
		for i := range stores {
			i ^= n % 2 // in every second round, measure the two stores in the opposite order
			began := time.Now()
			if err := stores[i].Set(fmt.Appendf(nil, "z%d", n), value, pebble.Sync); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(began)
		}
		n++
	}
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(n), "marked-ns")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(n), "bare-ns")
	b.ReportMetric(float64(took[0])/float64(took[1]), "marked/bare")
}
