package pebble

import "github.com/cockroachdb/pebble/v2/vfs"

// NewMem is a file system in memory, for a store that keeps nothing beyond the
// process.
func NewMem() vfs.FS { return vfs.NewMem() }
