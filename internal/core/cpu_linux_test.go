package core_test

import (
	"syscall"
	"time"
)

// threadTime returns the processor time that the current thread has used. Time in which other
// programs use the processor does not count. The caller must lock its goroutine to the thread.
func threadTime() time.Duration {
	const thread = 1 // RUSAGE_THREAD
	return timeUsed(thread)
}

// processTime returns the processor time that this process has used.
func processTime() time.Duration { return timeUsed(syscall.RUSAGE_SELF) }

func timeUsed(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
