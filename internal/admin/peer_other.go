//go:build !linux

package admin

import "net"

// tellsPeers says that peerOf returns unknown peers only.
const tellsPeers = false

// peerOf returns an unknown peer. The permissions of the socket, or of its folder, keep
// other users out.
func peerOf(net.Conn) peer { return peer{} }
