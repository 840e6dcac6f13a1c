//go:build !linux

package core_test

import "time"

var began = time.Now()

// threadTime returns the time since the tests began. Tests use it instead of the processor time
// of the thread on systems other than Linux.
func threadTime() time.Duration { return time.Since(began) }

// processTime is threadTime on systems other than Linux.
func processTime() time.Duration { return threadTime() }
