package main

import "golang.org/x/sys/unix"

// clockSynced asks the kernel whether somebody keeps its clock in time.
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // asks, and changes nothing
	return state != unix.TIME_ERROR, err == nil
}
