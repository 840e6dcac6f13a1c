package server

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/confab-chat/confab/internal/config"
)

// PortInUseError means that a server cannot listen on an address because another process is
// listening there.
type PortInUseError struct {
	Setting string // name of the setting, such as "listen"
	Address string // host:port
	Err     error
}

// Error returns a message that names the address and the setting that contains it.
func (e *PortInUseError) Error() string {
	return fmt.Sprintf("%s (%s) is in use", e.Address, e.Setting)
}

// Unwrap returns the error of the operating system.
func (e *PortInUseError) Unwrap() error { return e.Err }

// ListenError means that a server cannot listen on an address, for another reason than that the
// address is in use.
type ListenError struct {
	Setting string // name of the setting, such as "listen"
	Address string // host:port
	Err     error
}

// Error returns a message with the setting and the error of the operating system.
func (e *ListenError) Error() string { return e.Setting + ": " + e.Err.Error() }

// Unwrap returns the error of the operating system.
func (e *ListenError) Unwrap() error { return e.Err }

// DataInUseError means that another process uses the store in the data folder.
type DataInUseError struct {
	Path string
	Err  error
}

// Error returns a message that names the folder.
func (e *DataInUseError) Error() string { return fmt.Sprintf("data folder %s is in use", e.Path) }

// Unwrap returns the error of the store.
func (e *DataInUseError) Unwrap() error { return e.Err }

// port holds the listeners for one address in the settings: none if the address is empty, two for
// localhost on a machine with IPv6, and otherwise one.
type port struct {
	host      string // as in the settings
	listeners []net.Listener
}

// ports holds the ports of a server: https and http for clients, ops and admin for operators. The
// field socket is the listener of the operator's socket, or nil.
type ports struct {
	https, http, ops, admin port
	socket                  net.Listener
}

// listen opens all ports of the settings. If it cannot open one of them, it closes the others
// and fails.
func listen(c config.Config) (ps ports, err error) {
	defer func() {
		if err != nil {
			ps.close()
		}
	}()
	if ps.https, err = listenPort("listen", c.Listen); err != nil {
		return ps, err
	}
	if ps.http, err = listenOrFree(c, "listen-http", c.ListenHTTP); err != nil {
		return ps, err
	}
	if ps.ops, err = listenOrFree(c, "listen-ops", c.ListenOps); err != nil {
		return ps, err
	}
	ps.admin, err = listenOrFree(c, "listen-admin", c.ListenAdmin)
	return ps, err
}

// listenOrFree listens on an address. If the address's port is in use, it listens on any free port
// instead, provided that the server is a development server and the user has not set the address.
// So a second development server can run on the machine. It is not used for the setting listen,
// because programs have that address in their own settings. The addresses of the other listeners
// are printed, and are in the output of env --json.
func listenOrFree(c config.Config, setting, address string) (port, error) {
	p, err := listenPort(setting, address)
	var used *PortInUseError
	if errors.As(err, &used) && c.Dev && !c.Explicit(setting) {
		return listenPort(setting, "localhost:0")
	}
	return p, err
}

// listenPort listens on an address. If the address is empty, it returns a port without
// listeners. For port 0 it tries up to five times, because a port may be free on only one of the
// addresses of localhost.
func listenPort(setting, address string) (p port, err error) {
	for range 5 {
		p, err = listenOnce(setting, address)
		var used *PortInUseError
		if !errors.As(err, &used) || !strings.HasSuffix(address, ":0") {
			break
		}
	}
	return p, err
}

// listenOnce listens on an address. For localhost it listens on 127.0.0.1 and, if the machine has
// IPv6, on ::1 too, because some clients use the one and some the other. It fails with
// *PortInUseError if another process uses the port, and otherwise with *ListenError.
func listenOnce(setting, address string) (port, error) {
	if address == "" {
		return port{}, nil
	}
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return port{}, fmt.Errorf("%s: %w", setting, err)
	}
	p := port{host: host}
	hosts := []string{host}
	if strings.EqualFold(host, "localhost") {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h, number))
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			p.close()
			return port{}, &PortInUseError{Setting: setting, Address: net.JoinHostPort(host, number), Err: err}
		case err != nil && len(p.listeners) > 0:
			return p, nil // the machine has no IPv6, so 127.0.0.1 is enough
		case err != nil:
			return port{}, &ListenError{Setting: setting, Address: address, Err: err}
		}
		p.listeners = append(p.listeners, l)
		number = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return p, nil
}

// url returns the URL by which clients on this machine reach the port, or "" if the port has no
// listener.
func (p port) url(scheme string) string {
	if len(p.listeners) == 0 {
		return ""
	}
	host := p.host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(p.listeners[0].Addr().(*net.TCPAddr).Port))
}

func (p port) close() {
	for _, l := range p.listeners {
		l.Close()
	}
}

func (ps ports) close() {
	ps.https.close()
	ps.http.close()
	ps.ops.close()
	ps.admin.close()
	if ps.socket != nil {
		ps.socket.Close()
	}
}
