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

// PortInUseError means that somebody else listens on an address.
type PortInUseError struct {
	Setting string // such as "listen"
	Address string // host:port
	Err     error
}

// Error names the address and the setting that chose it.
func (e *PortInUseError) Error() string {
	return fmt.Sprintf("%s (%s) is in use", e.Address, e.Setting)
}

// Unwrap returns the system's error.
func (e *PortInUseError) Unwrap() error { return e.Err }

// DataInUseError means that another process holds the data folder.
type DataInUseError struct {
	Path string
	Err  error
}

// Error names the folder.
func (e *DataInUseError) Error() string { return fmt.Sprintf("data folder %s is in use", e.Path) }

// Unwrap returns the store's error.
func (e *DataInUseError) Unwrap() error { return e.Err }

// port is one address of the settings and its listeners; localhost has two.
type port struct {
	host      string // as it was written
	listeners []net.Listener
}

type ports struct{ https, http, ops port }

// listen opens all ports, or none.
func listen(c config.Config) (ps ports, err error) {
	defer func() {
		if err != nil {
			ps.close()
		}
	}()
	if ps.https, err = listenPort("listen", c.Listen); err != nil {
		return ps, err
	}
	if ps.http, err = listenPort("listen-http", c.ListenHTTP); err != nil {
		return ps, err
	}
	ps.ops, err = listenPort("listen-ops", c.ListenOps)
	// A second development server has more to do than to ask for a port that
	// nobody chose.
	var used *PortInUseError
	if errors.As(err, &used) && c.Dev && !c.Explicit("listen-ops") {
		ps.ops, err = listenPort("listen-ops", "localhost:0")
	}
	return ps, err
}

// listenPort listens on an address; an empty one is off. A free port that is
// asked for by 0 may be free on one address of localhost alone: then another.
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

// listenOnce listens on every address of the host: clients find "localhost"
// under either loopback address, so it is both, where there are two.
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
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h, number))
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			p.close()
			return port{}, &PortInUseError{Setting: setting, Address: net.JoinHostPort(host, number), Err: err}
		case err != nil && len(p.listeners) > 0:
			return p, nil // a machine without IPv6
		case err != nil:
			return port{}, fmt.Errorf("%s: %w", setting, err)
		}
		p.listeners = append(p.listeners, l)
		number = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return p, nil
}

// url is where the port is reached on this machine, or empty if it is off.
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
}
