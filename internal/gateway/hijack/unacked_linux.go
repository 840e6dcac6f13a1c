package hijack

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged makes a TCP connection fail if the client's machine acknowledges no sent
// bytes for the time d. Without this limit, a client that lost its network would count as connected
// for a quarter of an hour.
func limitUnacknowledged(conn net.Conn, d time.Duration) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return // the connection is closed
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
