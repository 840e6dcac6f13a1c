//go:build !linux

package hijack

import (
	"net"
	"time"
)

// limitUnacknowledged does nothing. Only Linux has the socket option that limits how long sent
// bytes may stay unacknowledged.
func limitUnacknowledged(net.Conn, time.Duration) {}
