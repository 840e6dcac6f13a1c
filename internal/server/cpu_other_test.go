//go:build !unix

package server_test

import "time"

// cpuTime returns 0: only Unix systems report the processor time of a process here.
func cpuTime() time.Duration { return 0 }
