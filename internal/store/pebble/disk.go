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

// When the disk of a store fills, the store reacts in three steps. First, when fewer bytes are free
// than a lower bound (the field floor), it refuses writes of users with core.ErrStorageFull.
// Second, it keeps the last bytes for the write-ahead log and the manifest: it writes no more
// tables, so flushes and compactions fail and are tried again every second. Third, if other
// programs take even these bytes, the log cannot be written, and the process ends.

// disk is the file system of an open store. It refuses to write tables while only the space
// kept for the log is free, delays the next try after a flush or compaction has failed, pads
// logs with zeros, and decides whether users may write.
type disk struct {
	vfs.FS
	dir   string
	keep  uint64 // bytes that must stay free on the disk when a table is written
	floor uint64 // bytes of free space below which writes of users are refused

	flush   atomic.Pointer[error] // error of the last flush, or nil if the flush succeeded
	compact atomic.Pointer[error] // error of the last compaction if it failed for lack of space, or else nil
	retry   atomic.Int64          // after a failed flush or compaction, no table is created before this time, in Unix nanoseconds
	closing chan struct{}         // closed when the store closes: from then on Create delays no table

	flushFailed chan struct{} // channel of capacity 1; has an element after a flush has failed
}

// retryEvery is the time between two tries of a flush or a compaction that failed. Without this
// delay Pebble would try again at once.
const retryEvery = time.Second

// forgetAfter is how long a failed compaction blocks writes, counted from the time of its next try.
// A compaction that succeeds ends this time early; another failure starts it anew.
const forgetAfter = 5 * retryEvery

// smallMemTable is the smallest size of a memtable, in bytes; it is used on small disks.
const smallMemTable = 1 << 20

// memTableFor returns the size of a memtable, in bytes, for a disk of total bytes: a
// sixty-fourth of the disk, from 1 MiB to 24 MiB. If total is 0, the size of the disk is not
// known, and the result is 24 MiB. The space that logSize and reserve return grows with this
// size.
func memTableFor(total uint64) uint64 {
	if total == 0 {
		return 24 << 20
	}
	return min(24<<20, max(total/64, smallMemTable))
}

// logSize returns the number of bytes that Pebble preallocates for a write-ahead log file.
func logSize(memTable uint64) uint64 { return memTable + memTable/10 }

// bottom is the maximum size of the first level below level 0, as a number of memtables. A
// compaction into that level needs up to that much space until its input is deleted.
const bottom = 5

// leftByTables returns the number of bytes that must stay free on the disk when a table is written:
// room for one file of the log, and 1 MiB for the manifest.
func leftByTables(memTable uint64) uint64 { return logSize(memTable) + 1<<20 }

// reserve returns the number of bytes that the store may still take after it has allowed a write:
// the bytes kept for the log, a flush of all memtables, and one compaction into the first level.
func reserve(memTable uint64) uint64 { return leftByTables(memTable) + (memTables+bottom)*memTable }

// Floor returns how many bytes must be free in dir for a store there to accept writes, so that
// at least minFree bytes always stay free.
func Floor(dir string, minFree uint64) (uint64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return 0, err
	}
	return saturated(minFree, reserve(memTableFor(usage.TotalBytes))), nil
}

// saturated returns a + b, or the greatest uint64 if the sum overflows.
func saturated(a, b uint64) uint64 {
	if a+b < a {
		return 1<<64 - 1
	}
	return a + b
}

// free returns the free bytes of the disk. known is false if the file system does not say.
func (d *disk) free() (free uint64, known bool) {
	usage, err := d.FS.GetDiskUsage(d.dir)
	return usage.AvailBytes, err == nil
}

// check returns nil if a batch of size bytes may be written. Otherwise the error wraps
// core.ErrStorageFull, or core.ErrUnavailable if flushes fail for another reason than space.
func (d *disk) check(size uint64) error {
	if err := d.failure(); errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: a table of the store in %s does not fit", core.ErrStorageFull, d.dir)
	} else if err != nil {
		return fmt.Errorf("%w: a table of the store in %s cannot be written: %v", core.ErrUnavailable, d.dir, err)
	}
	// Measure the free space for each batch: that costs a microsecond, and any batch may start
	// a new log file.
	if free, known := d.free(); known && free < saturated(d.floor, size) {
		return fmt.Errorf("%w: %d bytes are free in %s, and the floor is %d", core.ErrStorageFull, free, d.dir, d.floor)
	}
	return nil
}

// failure returns the error of the last flush, if the flush failed. Otherwise it returns the error
// of the last compaction, if the compaction failed for lack of space and forgetAfter has not passed
// yet. Otherwise it returns nil.
func (d *disk) failure() error {
	if err := d.flush.Load(); err != nil {
		return *err
	}
	if err := d.compact.Load(); err != nil && time.Now().UnixNano() < d.retry.Load()+int64(forgetAfter) {
		return *err
	}
	return nil
}

// mayStart fails with core.ErrStorageFull if the disk has too little space for the first file
// of the log.
func (d *disk) mayStart() error {
	if free, known := d.free(); known && free < d.keep {
		return fmt.Errorf("%w: %d bytes are free in %s, and a start needs at least %d", core.ErrStorageFull, free, d.dir, d.keep)
	}
	return nil
}

// notStarted returns the error of Open for a start that failed with err. It wraps
// core.ErrStorageFull if err says that the disk is full.
func (d *disk) notStarted(err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("open store %s: %w", d.dir, err)
	}
	free, _ := d.free()
	return fmt.Errorf("%w: %d bytes are free in %s, and its log does not fit into tables: %v", core.ErrStorageFull, free, d.dir, err)
}

// flushed records in d whether a flush failed.
func (d *disk) flushed(i pebble.FlushInfo) {
	d.note(&d.flush, i.Err)
	if d.flush.Load() != nil {
		select {
		case d.flushFailed <- struct{}{}:
		default:
		}
	}
}

// compacted records whether a compaction failed for lack of space. A failure for another
// reason, such as a damaged table, does not stop writes.
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

// emptyTable reports whether err is the error that Pebble returns for a flush of memtables without
// rows. Such a flush has not failed.
func emptyTable(err error) bool { return err.Error() == "pebble: empty table" }

// isTable reports whether a file of the store is a table or holds values of a table.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// Create creates a file. If the file is a table and the last flush or compaction failed, Create
// waits first. If the file is a log, its writes are followed by zeros. A file in another folder
// gets neither: it belongs to a backup, which may be on another disk.
func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	isLog := strings.HasSuffix(name, logSuffix)
	if !isLog && !isTable(name) || d.PathJoin(d.dir, d.PathBase(name)) != name {
		return d.FS.Create(name, category)
	}
	if isLog {
		f, err := d.FS.Create(name, category)
		if err != nil {
			return nil, err
		}
		return &paddedLog{File: f}, nil
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

// ReuseForWrite renames an old log to the name of a new one and opens it. New records are then
// written over the old ones.
func (d *disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	if err != nil {
		return nil, err
	}
	l := &paddedLog{File: f}
	if info, err := f.Stat(); err == nil {
		l.size = info.Size()
	}
	return l, nil
}

// Open opens a file for reading. The error wraps core.ErrUnavailable if the process or the
// system has no file descriptors left. The caller may then repeat the operation, because a
// batch reads nothing after it is in the log.
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		err = fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	}
	return f, err
}

// Unwrap returns the wrapped file system, for vfs.Root.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// table is a table file that is being written.
type table struct {
	vfs.File
	disk   *disk
	name   string
	unseen int // bytes written since the free space was measured
}

// lookEvery is the number of bytes written to a table after which the free space is measured
// again.
const lookEvery = 256 << 10

// Write appends p to the table. It fails with ENOSPC if the write would take space that is kept
// for the log.
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

// zerosBehind is the number of zeros that are written behind the end of a log at a time.
const zerosBehind = 256 << 10

var zeros [zerosBehind]byte

// paddedLog is a log with zeros behind its end: after a write that makes the file longer, it adds
// zeros. The next writes then do not make the file longer, and their syncs need not write the
// file's metadata. Pebble reserves space for a log but does not write to it, so its size changes
// with each write until the log is as long as the old one that it is written over. Readers take
// zeros behind the last record for the end of the log.
type paddedLog struct {
	vfs.File
	written int64 // bytes of records
	size    int64 // of the file, with zeros
}

// Write appends p to the log. It ignores an error of writing the zeros, because syncs are only
// slower without them.
func (l *paddedLog) Write(p []byte) (int, error) {
	n, err := l.File.Write(p)
	l.written += int64(n)
	if err == nil && l.written > l.size {
		added, _ := l.File.WriteAt(zeros[:], l.written)
		l.size = l.written + int64(added)
	}
	return n, err
}

// noSpace is the error for a table that does not fit on the disk. errors.Is matches it with
// Pebble's error for a cancelled compaction, because Pebble soon tries a cancelled compaction
// again. After any other error, Pebble does not touch the tables of the compaction for 30 seconds,
// and then waits until another event makes it look for work.
type noSpace struct{ error }

// Unwrap returns the error of the file system.
func (n noSpace) Unwrap() error { return n.error }

// Is reports whether target is Pebble's error for a cancelled compaction.
func (n noSpace) Is(target error) bool { return target == pebble.ErrCancelledCompaction }

// spaceError wraps err in a noSpace if err says that the disk is full. It returns other errors
// unchanged.
func spaceError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return noSpace{err}
	}
	return err
}
