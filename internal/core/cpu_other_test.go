//go:build !linux

package core_test

import "time"

var began = time.Now()

// threadTime returns the elapsed time.
func threadTime() time.Duration { return time.Since(began) }
