//go:build unix

package logs

import (
	"syscall"
	"testing"
	"time"
)

// processTime returns the CPU time of this process, user and system.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
