//go:build !linux

package reference

import "os"

// datasync flushes the data of f to the disk with f.Sync, because this system has no
// fdatasync.
func datasync(f *os.File) error { return f.Sync() }
