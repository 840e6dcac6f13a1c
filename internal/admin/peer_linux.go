package admin

import (
	"net"
	"syscall"
)

// tellsPeers is true because Linux reports the user at the other end of a Unix socket.
const tellsPeers = true

// peerOf returns the process at the other end of a Unix socket.
func peerOf(c net.Conn) (p peer) {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return p
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return p
	}
	raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil {
			p = peer{known: true, uid: cred.Uid, pid: cred.Pid}
		}
	})
	return p
}
