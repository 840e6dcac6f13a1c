//go:build !unix

package server

// openFiles returns the number of files that a server assumes it can open. Windows has no limit
// for sockets and for files that are opened without the C library.
func openFiles() uint64 { return maxFiles }
