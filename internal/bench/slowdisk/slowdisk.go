// Package slowdisk is a file system whose syncs take longer. Measurements use it to find out what
// a store does on a slower disk than the one at hand.
package slowdisk

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system in which each sync of a file or a folder takes longer by Wait. Syncs at the
// same time wait at the same time.
type FS struct {
	vfs.FS
	Wait time.Duration
}

// Unwrap returns the wrapped file system.
func (f FS) Unwrap() vfs.FS { return f.FS }

// Create creates a file with slow syncs.
func (f FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.slow(f.FS.Create(name, c))
}

// ReuseForWrite turns the file from into the file to, with slow syncs.
func (f FS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.slow(f.FS.ReuseForWrite(from, to, c))
}

// OpenReadWrite opens a file with slow syncs.
func (f FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.slow(f.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir opens a folder with slow syncs.
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

// Sync waits, then syncs the file.
func (s slow) Sync() error {
	time.Sleep(s.wait)
	return s.File.Sync()
}

// SyncData waits, then syncs the data of the file.
func (s slow) SyncData() error {
	time.Sleep(s.wait)
	return s.File.SyncData()
}
