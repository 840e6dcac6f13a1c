package reference

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync flushes the data of f to the disk with fdatasync.
func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
