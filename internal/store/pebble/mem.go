package pebble

import "github.com/cockroachdb/pebble/v2/vfs"

// NewMem returns a new, empty file system in memory, for Options.FS. The store's data
// is lost when the process ends.
func NewMem() vfs.FS { return vfs.NewMem() }
