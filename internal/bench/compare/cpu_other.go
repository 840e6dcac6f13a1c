//go:build !linux

package main

import (
	"errors"
	"time"
)

// cpuTime returns errors.ErrUnsupported: only Linux tells it in /proc.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
