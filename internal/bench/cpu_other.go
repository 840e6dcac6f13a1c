//go:build !unix

package bench

import "time"

// cpuTime is not known here; the figures that need it are printed as zero.
func cpuTime() time.Duration { return 0 }
