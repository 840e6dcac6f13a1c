package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
)

// The disk of a store fills in three steps. Below the floor, writes of users are refused
// with core.ErrStorageFull. Then the last bytes belong to the write-ahead log and the
// manifest: tables are not written any more, so flushes and compactions fail and are tried
// again every second. If other programs take even these bytes, the log cannot be written,
// and the process ends.

// disk is the file system of an open store. It fails the writing of tables while only the
// space for the log is left, delays the next try after background work has failed, and
// decides whether users may write.
type disk struct {
	vfs.FS
	dir   string
	keep  uint64 // bytes that tables leave free
	floor uint64 // bytes of free space below which writes of users are refused

	flush   atomic.Pointer[error] // why the last flush failed, or nil
	compact atomic.Pointer[error] // why the last compaction failed for lack of space, or nil
	retry   atomic.Int64          // time before which no table is created while one of them is set, in Unix nanoseconds
	closing chan struct{}         // closed when nothing may be delayed any more
}

// retryEvery is the time between two tries of a flush or a compaction that failed. Pebble
// itself would try again at once.
const retryEvery = time.Second

// forgetAfter is the time after its last failure in which a compaction that is not tried
// again stops writes.
const forgetAfter = 5 * retryEvery

// smallMemTable is the smallest size of a memtable on a small disk.
const smallMemTable = 1 << 20

// memTableFor returns the size of a memtable for a disk of total bytes; 0 means that the
// size of the disk is not known. All that the store takes in advance is a multiple of the
// memtable, so a small disk gets small ones: a sixty-fourth of the disk, at most 32 MiB.
func memTableFor(total uint64) uint64 {
	if total == 0 {
		return 32 << 20
	}
	return min(32<<20, max(total/64, smallMemTable))
}

// logSize returns the size that Pebble preallocates for a file of the log.
func logSize(memTable uint64) uint64 { return memTable + memTable/10 }

// bottom is the maximum size of the first level below level 0, in memtables. A compaction
// into it needs up to that much space until it deletes its input.
const bottom = 4

// leftByTables returns the bytes that tables leave free: a file of the log, and something
// for the manifest.
func leftByTables(memTable uint64) uint64 { return logSize(memTable) + 1<<20 }

// reserve returns the bytes that the store may take without asking again: those that are
// kept, the flush of all memtables, and a compaction into the first level.
func reserve(memTable uint64) uint64 { return leftByTables(memTable) + (memTables+bottom)*memTable }

// Floor returns the bytes of free space in dir below which a store there refuses writes, if
// at least minFree bytes are to stay free.
func Floor(dir string, minFree uint64) (uint64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return 0, err
	}
	return saturated(minFree, reserve(memTableFor(usage.TotalBytes))), nil
}

// saturated returns the sum of two numbers, or the greatest number if the sum is greater.
func saturated(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}

// free returns the free bytes of the disk. known is false if the file system cannot tell.
func (d *disk) free() (free uint64, known bool) {
	usage, err := d.FS.GetDiskUsage(d.dir)
	return usage.AvailBytes, err == nil
}

// check returns nil if a batch of so many bytes may be written. Otherwise the error wraps
// core.ErrStorageFull, or core.ErrUnavailable if a flush fails for another reason.
func (d *disk) check(size uint64) error {
	if err := d.failure(); errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: a table of the store in %s does not fit", core.ErrStorageFull, d.dir)
	} else if err != nil {
		return fmt.Errorf("%w: a table of the store in %s cannot be written: %v", core.ErrUnavailable, d.dir, err)
	}
	// Measure for each batch: it costs a microsecond, and a log may roll at any batch.
	if free, known := d.free(); known && free < saturated(d.floor, size) {
		return fmt.Errorf("%w: %d bytes are free in %s, and the floor is %d", core.ErrStorageFull, free, d.dir, d.floor)
	}
	return nil
}

// failure returns why flushes or compactions fail now, or nil.
func (d *disk) failure() error {
	if err := d.flush.Load(); err != nil {
		return *err
	}
	if err := d.compact.Load(); err != nil && time.Now().UnixNano() < d.retry.Load()+int64(forgetAfter) {
		return *err
	}
	return nil
}

// mayStart fails with core.ErrStorageFull if not even the first file of the log fits.
func (d *disk) mayStart() error {
	if free, known := d.free(); known && free < d.keep {
		return fmt.Errorf("%w: %d bytes are free in %s, and a start needs at least %d", core.ErrStorageFull, free, d.dir, d.keep)
	}
	return nil
}

// notStarted returns the error for a start that ended with err. It wraps
// core.ErrStorageFull if err is a lack of space.
func (d *disk) notStarted(err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("open store %s: %w", d.dir, err)
	}
	free, _ := d.free()
	return fmt.Errorf("%w: %d bytes are free in %s, and its log does not fit into tables: %v", core.ErrStorageFull, free, d.dir, err)
}

// flushed notes the result of a flush.
func (d *disk) flushed(i pebble.FlushInfo) { d.note(&d.flush, i.Err) }

// compacted notes the result of a compaction. A compaction that fails for another reason
// than space, such as a damaged table, stops no writes.
func (d *disk) compacted(i pebble.CompactionInfo) {
	if i.Err == nil || errors.Is(i.Err, syscall.ENOSPC) {
		d.note(&d.compact, i.Err)
	}
}

func (d *disk) note(last *atomic.Pointer[error], err error) {
	if err == nil || emptyTable(err) {
		last.Store(nil)
		return
	}
	last.Store(&err)
	d.retry.Store(time.Now().Add(retryEvery).UnixNano())
}

// emptyTable reports whether err is how Pebble reports a flush of memtables without rows,
// which is no failure.
func emptyTable(err error) bool { return err.Error() == "pebble: empty table" }

// isTable reports whether a file of the store is a table or belongs to one.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// Create creates a file. If a flush or a compaction has failed and none has succeeded
// since, it waits before it creates a table. Tables in another folder are those of a
// backup, which may be on another disk: nothing is known of its space.
func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if !isTable(name) || d.PathJoin(d.dir, d.PathBase(name)) != name {
		return d.FS.Create(name, category)
	}
	if d.failure() != nil {
		select {
		case <-time.After(time.Until(time.Unix(0, d.retry.Load()))):
		case <-d.closing:
		}
	}
	f, err := d.FS.Create(name, category)
	if err != nil {
		return nil, spaceError(err)
	}
	return &table{File: f, disk: d, name: name, unseen: lookEvery}, nil
}

// Open opens a file for reading. The error wraps core.ErrUnavailable if the process or the
// system has no file descriptors left: the caller may repeat what it did, because nothing
// is read after a batch is in the log.
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		err = fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	return f, err
}

// Unwrap returns the file system below, for vfs.Root.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// table is a table that is being written.
type table struct {
	vfs.File
	disk   *disk
	name   string
	unseen int // bytes written since the free space was measured
}

// lookEvery is the number of bytes of a table after which the free space is measured again.
const lookEvery = 256 << 10

// Write appends p to the table. It fails with ENOSPC while only the space that tables leave
// free is left.
func (t *table) Write(p []byte) (int, error) {
	if t.unseen += len(p); t.unseen >= lookEvery {
		t.unseen = 0
		if free, known := t.disk.free(); known && free < saturated(t.disk.keep, uint64(len(p))) {
			return 0, spaceError(&fs.PathError{Op: "write", Path: t.name, Err: syscall.ENOSPC})
		}
	}
	n, err := t.File.Write(p)
	return n, spaceError(err)
}

// noSpace is a lack of space for a table. To Pebble it looks like the end of a compaction
// that is no longer wanted: after any other error, Pebble leaves the tables of the
// compaction alone for 30 seconds, and then waits until something else makes it look again.
type noSpace struct{ error }

// Unwrap returns the error of the file system.
func (n noSpace) Unwrap() error { return n.error }

// Is reports whether target is Pebble's error for a compaction that ended early.
func (n noSpace) Is(target error) bool { return target == pebble.ErrCancelledCompaction }

// spaceError returns err as a noSpace if it is a lack of space, else err.
func spaceError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return noSpace{err}
	}
	return err
}
