//go:build unix

package server_test

import (
	"syscall"
	"time"
)

// cpuTime returns the user and system time that this process has used, or 0 on an error.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
