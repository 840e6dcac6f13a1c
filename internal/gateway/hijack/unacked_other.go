//go:build !linux

package hijack

import (
	"net"
	"time"
)

// limitUnacknowledged does nothing: only Linux has the socket option.
func limitUnacknowledged(net.Conn, time.Duration) {}
