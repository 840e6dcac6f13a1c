package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// Conn is a connection of HTTP/1.1 over TLS that carries one request at a time. It uses much less
// CPU time than a client of net/http, so that more of a shared machine is left to the server.
type Conn struct {
	net.Conn
	In  *bufio.Reader
	out []byte
}

// Dial opens a connection to the server.
func Dial(ctx context.Context, s *Server) (*Conn, error) {
	d := tls.Dialer{Config: s.TLS}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(s.Endpoint.Hostname(), cmp.Or(s.Endpoint.Port(), "443")))
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, In: bufio.NewReaderSize(c, maxAnswer)}, nil
}

// maxAnswer is the size in bytes of the largest response that a Conn can read.
const maxAnswer = 64 << 10

// Do sends a complete request and reads the response. The body is valid until the next call.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	return readAnswer(c.In)
}

// ask sends the nth request of the connection and reads the response. It fails if the response has
// another status than the load l expects (l.Status or l.StatusOf, or l.Also), or if l.Answered
// returns an error.
func (c *Conn) ask(l Load, connection, n int) error {
	c.out = l.Request(c.out[:0], connection, n)
	want := l.Status
	if l.StatusOf != nil {
		want = l.StatusOf(connection, n)
	}
	status, body, err := c.Do(c.out)
	switch {
	case err != nil:
		return err
	case status != want && status != l.Also:
		return fmt.Errorf("status %d, want %d: %s", status, want, body)
	case l.Answered != nil:
		return l.Answered(connection, n, body)
	}
	return nil
}

// readAnswer reads an HTTP response. The response must have a Content-Length or the status 204, and
// must fit the reader's buffer. The body is valid until the next read.
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
	if length < 0 && status == http.StatusNoContent {
		return status, nil, nil
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
