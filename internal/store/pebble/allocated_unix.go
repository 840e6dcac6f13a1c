//go:build unix

package pebble

import (
	"io/fs"
	"syscall"
)

// allocated returns the bytes of the blocks that a file has on the disk.
func allocated(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512 // POSIX leaves the unit open, and every system of ours uses this one
	}
	return uint64(info.Size())
}
