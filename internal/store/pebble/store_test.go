package pebble

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TEST_CRASH_CHILD"); dir != "" {
		crashChild(dir)
	}
	goleak.VerifyTestMain(m)
}

// stores keeps the file system of each open store, so that a test can close and reopen the
// store.
type stores struct {
	mu sync.Mutex
	fs map[core.Store]vfs.FS
}

func (r *stores) open(t *testing.T, fs vfs.FS) core.Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial, CacheSize: 1 << 20})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fs == nil {
		r.fs = map[core.Store]vfs.FS{}
	}
	r.fs[s] = fs
	return s
}

func (r *stores) reopen(t *testing.T, s core.Store) core.Store {
	t.Helper()
	r.mu.Lock()
	fs := r.fs[s]
	delete(r.fs, s)
	r.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return r.open(t, fs)
}

func TestSuite(t *testing.T) {
	var r stores
	storetest.Run(t, storetest.Engine{
		Open:   func(t *testing.T) core.Store { return r.open(t, vfs.NewMem()) },
		Reopen: r.reopen,
		Blockable: func(t *testing.T) (core.Store, *storetest.Gate) {
			var gate storetest.Gate
			return r.open(t, gatedFS{vfs.NewMem(), &gate}), &gate
		},
		ThreadRows: func(t *testing.T, s core.Store, q core.ThreadsQuery) int {
			t.Helper()
			_, keys, err := s.(*Store).threads(q)
			if err != nil {
				t.Fatal(err)
			}
			return keys
		},
	})
}

// TestTwoWriterCaseItself runs the shared suite's case for two writers on two wrappers of one
// store. Only one process can open a Pebble store, so this engine skips the case in the suite,
// and without this test it would run only on PostgreSQL.
func TestTwoWriterCaseItself(t *testing.T) {
	var r stores
	storetest.TwoWriters(t, storetest.Engine{
		Open: func(t *testing.T) core.Store { return &door{Store: r.open(t, vfs.NewMem()), mu: new(sync.Mutex)} },
		Second: func(t *testing.T, s core.Store) core.Store {
			return &door{Store: s.(*door).Store, mu: s.(*door).mu, second: true}
		},
	})
}

// gatedFS is a file system in which syncs of the write-ahead log wait until the gate is open.
type gatedFS struct {
	vfs.FS
	gate *storetest.Gate
}

func (g gatedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	if err == nil && strings.HasSuffix(name, ".log") {
		f = gatedFile{f, g.gate}
	}
	return f, err
}

func (g gatedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(from, to, c)
	if err == nil && strings.HasSuffix(to, ".log") {
		f = gatedFile{f, g.gate}
	}
	return f, err
}

type gatedFile struct {
	vfs.File
	gate *storetest.Gate
}

func (f gatedFile) Sync() error {
	f.gate.Pass()
	return f.File.Sync()
}

func (f gatedFile) SyncData() error {
	f.gate.Pass()
	return f.File.SyncData()
}

func (f gatedFile) SyncTo(length int64) (bool, error) {
	f.gate.Pass()
	return f.File.SyncTo(length)
}

// door wraps a store for a test with two writers. Two doors of the same store stand for the two
// writers.
type door struct {
	core.Store
	mu     *sync.Mutex // shared by both doors, so that only one Apply runs at a time, as in a lane
	second bool
}

func (d *door) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Store.Apply(ctx, b)
}

func (d *door) Close() error {
	if d.second {
		return nil
	}
	return d.Store.Close()
}

// messageByID returns a message by its id, or the zero Message if it does not exist.
func messageByID(t *testing.T, s core.Store, thread string, id int64) core.Message {
	t.Helper()
	page, err := s.Messages(context.Background(), core.MessagesQuery{Thread: thread, IDs: []int64{id}})
	if err != nil || len(page.Messages) > 1 {
		t.Fatalf("message %d of %s: %d rows, %v", id, thread, len(page.Messages), err)
	}
	if len(page.Messages) == 0 {
		return core.Message{}
	}
	return page.Messages[0]
}
