package main

import "golang.org/x/sys/unix"

// clockSynced reports whether a time service keeps the kernel's clock synchronized. known
// is false if the kernel does not tell.
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // t.Modes is 0, so Adjtimex only reads the state of the clock
	return state != unix.TIME_ERROR, err == nil
}
