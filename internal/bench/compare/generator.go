package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load describes the requests that round sends to a server. Functions such as sends prepare a
// server and return the load for it.
type load struct {
	// request appends a complete HTTP request to buf and returns the result: the nth
	// request of a connection, both counted from 0. It is called concurrently for all
	// connections.
	request func(buf []byte, connection, n int) []byte
	status  int // the expected status of every response; another one ends the run
}

// round opens connections to the server, sends requests for o.warm without measuring, and then
// measures for o.span. It fails if a request gets no answer or an unexpected one.
func round(ctx context.Context, s *server, l load, o options) (sample, error) {
	var answered atomic.Int64
	var stopped atomic.Bool
	var senders sync.WaitGroup
	var conns []*conn
	defer func() {
		for _, c := range conns {
			c.Close() // before the wait: it ends a read
		}
		senders.Wait()
	}()
	for range o.connections {
		c, err := dial(ctx, s)
		if err != nil {
			return sample{}, err
		}
		c.SetDeadline(time.Now().Add(o.warm + o.span + patience))
		conns = append(conns, c)
	}
	failed := make(chan error, len(conns))
	for i, c := range conns {
		senders.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				if err := c.ask(l, i, n); err != nil {
					failed <- err
					return
				}
				answered.Add(1)
			}
		})
	}
	measured, err := watch(ctx, s.pid, &answered, failed, o)
	if err != nil {
		return sample{}, err
	}
	stopped.Store(true)
	senders.Wait() // for the last answers: the next round begins with an idle server
	select {
	case err := <-failed:
		return sample{}, err
	default:
		return measured, nil
	}
}

// watch waits for o.warm. Then it measures for o.span how many requests are answered and
// how much CPU time the server process uses.
func watch(ctx context.Context, pid int, answered *atomic.Int64, failed <-chan error, o options) (sample, error) {
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := pause(o.warm); err != nil {
		return sample{}, err
	}
	began, n := time.Now(), answered.Load()
	cpu, err := cpuTime(pid)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return sample{}, err
	}
	if err := pause(o.span); err != nil {
		return sample{}, err
	}
	took, count := time.Since(began), answered.Load()-n
	after, err := cpuTime(pid)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return sample{}, err
	}
	if count == 0 {
		return sample{}, fmt.Errorf("no request was answered within %v", o.span)
	}
	return sample{rate: float64(count) / took.Seconds(), cpu: (after - cpu) / time.Duration(count)}, nil
}

// conn is a connection of HTTP/1.1 over TLS that carries one request at a time.
type conn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func dial(ctx context.Context, s *server) (*conn, error) {
	d := tls.Dialer{Config: s.tls}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(s.endpoint.Hostname(), cmp.Or(s.endpoint.Port(), "443")))
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// ask sends the nth request of the connection and reads the response. It fails if the
// status is not l.status.
func (c *conn) ask(l load, connection, n int) error {
	c.out = l.request(c.out[:0], connection, n)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	status, body, err := readAnswer(c.in)
	if err == nil && status != l.status {
		err = fmt.Errorf("status %d, want %d: %s", status, l.status, body)
	}
	return err
}

// readAnswer reads an HTTP response that has a Content-Length and fits the reader's buffer.
// The body is valid until the next read.
func readAnswer(in *bufio.Reader) (status int, body []byte, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, nil, fmt.Errorf("read the status line: %w", err)
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return 0, nil, fmt.Errorf("not an answer of HTTP/1: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("not a status line: %q", line)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return status, nil, fmt.Errorf("read the headers: %w", err)
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if len(name) == 0 {
			break
		}
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return status, nil, fmt.Errorf("not a length: %q", line)
			}
		}
	}
	if length < 0 {
		return status, nil, fmt.Errorf("status %d without a Content-Length", status)
	}
	if body, err = in.Peek(length); err != nil {
		return status, nil, fmt.Errorf("read a body of %d bytes: %w", length, err)
	}
	_, err = in.Discard(length)
	return status, body, err
}
