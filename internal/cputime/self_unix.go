//go:build unix

package cputime

import (
	"syscall"
	"time"
)

// Self returns the user and system time that this process has used, or 0 on an error.
func Self() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
