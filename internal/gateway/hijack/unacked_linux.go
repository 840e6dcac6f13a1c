package hijack

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged makes a TCP connection fail if the client's machine acknowledges
// nothing for d. Without it, a client that lost its network would count as connected for a
// quarter of an hour.
func limitUnacknowledged(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // the connection is closed
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
