// Package slowdisk implements a file system whose syncs take longer. Measurements use it to find
// out how a store behaves on a slower disk than the present one.
package slowdisk

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system in which each sync of a file or a folder takes longer by the time Wait.
// Concurrent syncs wait at the same time, not one after the other.
type FS struct {
	vfs.FS
	Wait time.Duration
}

// Unwrap returns the wrapped file system.
func (f FS) Unwrap() vfs.FS { return f.FS }

// Create creates a file whose syncs are slow.
func (f FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.slow(f.FS.Create(name, c))
}

// ReuseForWrite turns the file named from into the file named to, whose syncs are slow.
func (f FS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.slow(f.FS.ReuseForWrite(from, to, c))
}

// OpenReadWrite opens a file whose syncs are slow.
func (f FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.slow(f.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir opens a folder whose syncs are slow.
func (f FS) OpenDir(name string) (vfs.File, error) { return f.slow(f.FS.OpenDir(name)) }

func (f FS) slow(file vfs.File, err error) (vfs.File, error) {
	if err != nil || f.Wait == 0 {
		return file, err
	}
	return slow{file, f.Wait}, nil
}

type slow struct {
	vfs.File
	wait time.Duration
}

// Sync waits for the configured time and then syncs the file.
func (s slow) Sync() error {
	time.Sleep(s.wait)
	return s.File.Sync()
}

// SyncData waits for the configured time and then syncs the data of the file.
func (s slow) SyncData() error {
	time.Sleep(s.wait)
	return s.File.SyncData()
}
