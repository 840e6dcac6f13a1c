//go:build !linux

package load

import (
	"errors"
	"time"
)

// cpuTime returns errors.ErrUnsupported, because only Linux shows the CPU time of a process
// in /proc.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
