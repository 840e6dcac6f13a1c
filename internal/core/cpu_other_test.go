//go:build !linux

package core_test

import "time"

var began = time.Now()

// threadTime returns the time since the tests began. On systems other than Linux it stands in
// for the processor time of the thread.
func threadTime() time.Duration { return time.Since(began) }
