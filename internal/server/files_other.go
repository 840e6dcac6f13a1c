//go:build !unix

package server

// openFiles returns the number of open files that a server may count on. Windows has no
// such limit for sockets and for files that are opened without the C library.
func openFiles() uint64 { return maxFiles }
