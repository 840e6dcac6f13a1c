//go:build unix

package pebble

import (
	"io/fs"
	"syscall"
)

// allocated returns the number of bytes that a file takes on the disk: the size of its blocks.
func allocated(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512 // POSIX leaves the unit open, and every system of ours uses this one
	}
	return uint64(info.Size())
}
