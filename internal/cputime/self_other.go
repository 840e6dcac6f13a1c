//go:build !unix

package cputime

import "time"

// Self returns 0, because the CPU time of the process is unknown on this system.
func Self() time.Duration { return 0 }
