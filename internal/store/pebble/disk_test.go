package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// sized is a file system in memory that reports a set number of free bytes.
type sized struct {
	vfs.FS
	free atomic.Uint64
}

func newSized(free uint64) *sized {
	s := &sized{FS: NewMem()}
	s.free.Store(free)
	return s
}

func (s *sized) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.free.Load(), TotalBytes: 1 << 40}, nil
}

// putUser writes the row of a user with this id.
func putUser(s *Store, id string) error {
	c := &core.Change{Key: id, ReadUsers: []core.User{{ID: id}}, PutUsers: []core.User{{ID: id, State: core.UserLive}}}
	_, err := s.Apply(context.Background(), core.Batch{Changes: []*core.Change{c}})
	return err
}

// hasUser fails the test unless the user's row can be read.
func hasUser(t *testing.T, s *Store, id string) {
	t.Helper()
	us, err := s.Users(context.Background(), []string{id})
	if err != nil || len(us) != 1 {
		t.Errorf("user %s: %+v, %v; want it there", id, us, err)
	}
}

func TestFloorCountsWhatTheStoreMayTake(t *testing.T) {
	const least = 64 << 20
	fs := newSized(1 << 40)
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial, MinFree: least})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mem := uint64(24 << 20)
	// Expect room for one log file, three memtables to flush, a compaction of the first level,
	// the manifest and MinFree.
	floor := least + mem + mem/10 + 3*mem + 5*mem + 1<<20
	for _, step := range []struct {
		free uint64
		low  bool
	}{{floor, false}, {floor - 1, true}, {least, true}, {0, true}, {floor, false}} {
		fs.free.Store(step.free) // the next write must notice the change of the free space
		err := putUser(s, "u")
		if got := errors.Is(err, core.ErrStorageFull); got != step.low || err != nil && !got {
			t.Errorf("with %d bytes free, %d below the floor: error %v, want a refusal: %v", step.free, floor-step.free, err, step.low)
		}
		sp := s.Space()
		if sp.Low != step.low || sp.Free != step.free || sp.Floor != floor {
			t.Errorf("space %+v, want low %v, %d bytes free, floor %d", sp, step.low, step.free, floor)
		}
		hasUser(t, s, "u")
	}
}

func TestBigBatchCountsAgainstTheFloor(t *testing.T) {
	fs := newSized(1 << 40)
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := &core.Change{
		Key: "19:a@thread.v2", Thread: "19:a@thread.v2", Properties: &core.Properties{Topic: "t"},
		Messages: []core.Message{{Kind: core.Text, Content: strings.Repeat("x", 2<<20)}},
	}
	fs.free.Store(s.disk.floor + 1<<20)
	if _, err := s.Apply(context.Background(), core.Batch{At: 1, Changes: []*core.Change{c}}); !errors.Is(err, core.ErrStorageFull) {
		t.Errorf("2 MiB with 1 MiB above the floor: error %v, want core.ErrStorageFull", err)
	}
	fs.free.Store(s.disk.floor + 3<<20)
	if _, err := s.Apply(context.Background(), core.Batch{At: 1, Changes: []*core.Change{c}}); err != nil {
		t.Errorf("2 MiB with 3 MiB above the floor: %v", err)
	}
}

func TestSmallDisksGetSmallMemTables(t *testing.T) {
	for total, want := range map[uint64]uint64{
		0: 24 << 20, 1 << 40: 24 << 20, 3 << 29: 24 << 20, 1 << 30: 16 << 20, 142 << 20: 142 << 14, 1 << 20: 1 << 20,
	} {
		if got := memTableFor(total); got != want {
			t.Errorf("a disk of %d bytes: memtables of %d, want %d", total, got, want)
		}
	}
}

// TestTablesLeaveSpaceForTheLog lets a flush fail for lack of space, while the log can still
// be written. Writes must be refused and reads answered until a flush succeeds.
func TestTablesLeaveSpaceForTheLog(t *testing.T) {
	fs := newSized(1 << 40)
	var fatal atomic.Pointer[error]
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial, Fatal: func(err error) { fatal.Store(&err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := putUser(s, "before"); err != nil {
		t.Fatal(err)
	}
	fs.free.Store(s.disk.keep - 1)
	flushed := make(chan error, 1)
	go func() { flushed <- s.db.Flush() }()
	for began := time.Now(); !s.Failing(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the flush does not fail")
		}
	}
	fs.free.Store(1 << 40) // writes are refused until a flush has succeeded; the next flush is tried within a second
	if err := putUser(s, "while"); !errors.Is(err, core.ErrStorageFull) && s.Failing() {
		t.Errorf("a write after a flush failed: error %v, want core.ErrStorageFull", err)
	}
	hasUser(t, s, "before")
	if err := <-flushed; err != nil {
		t.Errorf("flush with space again: %v", err)
	}
	if err := putUser(s, "after"); err != nil || fatal.Load() != nil {
		t.Errorf("a write after the flush: %v, fatal %v", err, fatal.Load())
	}
	hasUser(t, s, "after")
}

// TestOpenRefusesAFullDisk opens a store on a disk without free space. Open must fail with
// core.ErrStorageFull. With Options.ReadOnly it must succeed, and every row must be there.
func TestOpenRefusesAFullDisk(t *testing.T) {
	fs := newSized(1 << 40)
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	if err := putUser(s, "u"); err != nil {
		t.Fatal(err)
	}
	fs.free.Store(s.disk.keep - 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open("store", Options{FS: fs})
	if !errors.Is(err, core.ErrStorageFull) || !strings.Contains(err.Error(), "bytes are free in store, and a start needs at least") {
		t.Errorf("error %v, want core.ErrStorageFull with the free bytes and the folder", err)
	}
	reader, err := Open("store", Options{FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatalf("open for reading only, on a full disk: %v", err)
	}
	hasUser(t, reader, "u")
	if _, err := reader.Check(context.Background()); err != nil {
		t.Errorf("check, on a full disk: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
}

// TestOpenGivesUp opens a store whose log must be flushed to tables, on a disk where no table
// can be created. Pebble would try again for ever; Open must fail instead. The test opens the
// store in a child process, because the goroutines of such an Open never end.
func TestOpenGivesUp(t *testing.T) {
	const child = "TEST_OPEN_WITHOUT_TABLES"
	if dir := os.Getenv(child); dir != "" {
		fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && isTable(op.Path) {
				return syscall.ENOSPC
			}
			return nil
		}))
		_, err := Open(dir, Options{FS: fs})
		fmt.Printf("full %v: %v\n", errors.Is(err, core.ErrStorageFull), err)
		os.Exit(0)
	}
	dir := t.TempDir()
	s, err := Open(dir, Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	if err := putUser(s, "u"); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil { // close does not flush the memtables, so the log still has the row
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOpenGivesUp$")
	cmd.Env = append(os.Environ(), child+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "full true: ") || !strings.Contains(string(out), "bytes are free in "+dir) || !strings.Contains(string(out), "its log does not fit into tables") {
		t.Errorf("%v, %s; want core.ErrStorageFull with the free bytes and the folder", err, out)
	}
}

// TestNoDescriptorsLeftIsUnavailable reads a table that cannot be opened because there are no
// file descriptors left. Reads, and writes that read, must fail with core.ErrUnavailable, so
// that the caller may try again.
func TestNoDescriptorsLeftIsUnavailable(t *testing.T) {
	var none atomic.Pointer[syscall.Errno]
	fs := errorfs.Wrap(NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if number := none.Load(); number != nil && op.Kind == errorfs.OpOpen && isTable(op.Path) {
			return *number
		}
		return nil
	}))
	s, err := Open("store", Options{FS: fs, Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := putUser(s, "u"); err != nil {
		t.Fatal(err)
	}
	for _, number := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		none.Store(&number)
		if err := s.db.Flush(); err != nil && number == syscall.EMFILE {
			t.Fatal(err)
		}
		if _, err := s.Users(context.Background(), []string{"u"}); !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, number) {
			t.Errorf("a read with %v: error %v, want core.ErrUnavailable", number, err)
		}
		if err := putUser(s, "u"); !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("a write that reads with %v: error %v, want core.ErrUnavailable", number, err)
		}
	}
	none.Store(nil)
	hasUser(t, s, "u")
}

// TestTablesOfABackupAreNotJudged writes a large table into the store's folder and one into
// another folder while the store's disk is full. Only the first may fail with ENOSPC: the other
// folder may be on another disk.
func TestTablesOfABackupAreNotJudged(t *testing.T) {
	fs := newSized(0)
	d := &disk{FS: fs, dir: "store", keep: 1 << 20}
	for _, dir := range []string{"store", "backup"} {
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := d.Create(fs.PathJoin(dir, "000001.sst"), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 2*lookEvery)); errors.Is(err, syscall.ENOSPC) != (dir == "store") {
			t.Errorf("a table in %s: error %v", dir, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
