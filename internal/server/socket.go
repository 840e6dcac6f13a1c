package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// socketName is the name of the operator's socket in the data folder.
	socketName = "admin.sock"
	// maxSocketPath is the greatest length, in bytes, of the path of a Unix socket that every
	// operating system accepts.
	maxSocketPath = 100
)

// listenSocket listens on the operator's socket: admin.sock in the data folder or, for a server
// in memory, in its temporary folder. If that path is too long, or the folder is on a file
// system without sockets, it uses the user's runtime folder instead. It fails with
// *DataInUseError if another server listens on the socket.
func (s *Server) listenSocket() (net.Listener, error) {
	folder := cmp.Or(s.temp, s.info.Data)
	path := filepath.Join(folder, socketName)
	err := errors.New("its path is too long")
	if len(path) <= maxSocketPath {
		var l net.Listener
		var used *DataInUseError
		if l, err = listenUnix(path); err == nil || errors.As(err, &used) {
			return l, err
		}
	}
	other, rerr := s.runtimeSocket(path)
	if rerr == nil {
		s.log.Debug("the operator's socket is in the runtime folder", "socket", other, "error", err)
		var l net.Listener
		if l, rerr = listenUnix(other); rerr == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("listen on the operator's socket: %s: %w; and in the runtime folder: %w", path, err, rerr)
}

// runtimeSocket returns another path for the operator's socket, for the case that the usual path,
// the argument instead, cannot be used. The other path is in the folder XDG_RUNTIME_DIR, or in a
// new temporary folder, which release removes.
func (s *Server) runtimeSocket(instead string) (string, error) {
	sum := sha256.Sum256([]byte(instead))
	name := "admin-" + hex.EncodeToString(sum[:8]) + ".sock"
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dir = filepath.Join(dir, "confab")
		if path := filepath.Join(dir, name); len(path) <= maxSocketPath && os.MkdirAll(dir, 0o700) == nil {
			return path, nil
		}
	}
	dir, err := os.MkdirTemp("", "confab-") // MkdirTemp makes a folder that only this user can enter
	if err != nil {
		return "", err
	}
	s.socketFolder = dir
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("the path %s is too long for a socket: set XDG_RUNTIME_DIR or TMPDIR to a shorter one", path)
	}
	return path, nil
}

// listenUnix listens on a Unix socket that only this user and root can open. It creates the
// socket's folder if that does not exist, and replaces a socket that another server has left
// behind.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, derr := net.DialTimeout("unix", path, time.Second); derr == nil {
			conn.Close()
			return nil, &DataInUseError{Path: filepath.Dir(path), Err: err}
		}
		if st, serr := os.Lstat(path); serr != nil || st.Mode()&fs.ModeSocket == 0 {
			return nil, err // the path is not a socket, so it must not be replaced
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	// Until Chmod the socket has the permissions that the umask leaves. During this time other users
	// still cannot use the socket. On Linux package admin refuses other users by their user id. On
	// other systems the folder keeps them out, if the server has created it, because it then has mode
	// 0700.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
