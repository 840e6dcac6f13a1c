//go:build !linux

package cputime

import (
	"errors"
	"time"
)

// Process returns errors.ErrUnsupported, because only Linux shows the CPU time of a process
// in /proc.
func Process(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
