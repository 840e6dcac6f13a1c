//go:build !unix

package pebble

import "io/fs"

// allocated returns the size of a file in bytes. On this operating system the program cannot
// find out how many bytes the file takes on the disk.
func allocated(info fs.FileInfo) uint64 { return uint64(info.Size()) }
