//go:build !linux

package sse

import (
	"net"
	"time"
)

// limitUnacknowledged does nothing: only Linux has the socket option.
func limitUnacknowledged(net.Conn, time.Duration) {}
