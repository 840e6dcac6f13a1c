package core_test

import (
	"syscall"
	"time"
)

// threadTime returns the processor time that this thread has used. It does not run while
// other programs have the processor. Lock the goroutine to its thread.
func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
