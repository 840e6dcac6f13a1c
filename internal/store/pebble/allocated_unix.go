//go:build unix

package pebble

import (
	"io/fs"
	"syscall"
)

// allocated returns the number of bytes that a file takes on the disk: the size of its blocks.
func allocated(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512 // POSIX does not say how large a block is; on all systems that Confab supports it is 512 bytes
	}
	return uint64(info.Size())
}
