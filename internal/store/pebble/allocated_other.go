//go:build !unix

package pebble

import "io/fs"

// allocated returns the size of a file. This system does not tell how much of the disk the
// file takes.
func allocated(info fs.FileInfo) uint64 { return uint64(info.Size()) }
