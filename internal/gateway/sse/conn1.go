package sse

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway/hijack"
)

// chunkFrame is the number of bytes that chunked encoding adds to a chunk of up to 16 KiB.
const chunkFrame = len("4000\r\n" + "\r\n")

// maxInput is the number of bytes that a client may send after its request before Wait fails.
const maxInput = 16 << 10

// connection is the Conn of a response over HTTP/1. The network connection was taken over from
// net/http.
type connection struct {
	*hijack.Conn
	chunked bool
	head    []byte // status line and headers of the response; sent with the first message
	early   int    // number of bytes after the request that net/http had already read
}

// takeConnection takes over the connection of an HTTP/1 request and begins the response. See
// Take.
func takeConnection(w http.ResponseWriter, r *http.Request, timeout time.Duration) (*connection, error) {
	c := &connection{chunked: r.ProtoAtLeast(1, 1)}
	c.head = appendHead(w.Header(), c.chunked)
	var err error
	c.Conn, c.early, err = hijack.Take(w, timeout)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// appendHead returns the status line and the headers of an HTTP/1 response. The headers say
// that the connection is closed after the response.
func appendHead(h http.Header, chunked bool) []byte {
	b := []byte("HTTP/1.0 200 OK\r\n")
	if chunked {
		b = []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
	}
	h.Set("Connection", "close")
	if h.Get("Date") == "" {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	var w byteWriter = b
	h.Write(&w) // cannot fail
	return append(w, "\r\n"...)
}

// byteWriter is an io.Writer that appends to a slice.
type byteWriter []byte

// Write appends b. It never fails.
func (w *byteWriter) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}

// Taken implements Conn. It returns true, because the connection was taken over from net/http.
func (c *connection) Taken() bool { return true }

// records is a pool of buffers of hijack.MaxRecord bytes for Write.
var records = sync.Pool{New: func() any { return new([hijack.MaxRecord]byte) }}

// Write implements Conn. It splits b into chunks, each of which fits a TLS record.
func (c *connection) Write(b []byte) error {
	record := records.Get().(*[hijack.MaxRecord]byte)
	defer records.Put(record)
	if len(c.head) > hijack.MaxRecord/2 {
		if _, err := c.Conn.Write(c.head); err != nil {
			return err
		}
		c.head = nil
	}
	for len(b) > 0 {
		out := append(record[:0], c.head...)
		c.head = nil
		n := min(len(b), hijack.MaxRecord-chunkFrame-len(out))
		if c.chunked {
			out = append(strconv.AppendInt(out, int64(n), 16), "\r\n"...)
			out = append(append(out, b[:n]...), "\r\n"...)
		} else {
			out = append(out, b[:n]...)
		}
		if _, err := c.Conn.Write(out); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Close implements Conn. It sends the empty chunk that ends a chunked response and closes the
// connection.
func (c *connection) Close() {
	if c.chunked && !c.Aborted() {
		last := append(c.head, "0\r\n\r\n"...)
		c.head = nil
		// ignore the error, which means that the client has hung up or that Close was called before
		c.Conn.Write(last)
	}
	c.Conn.Close()
}

// Wait implements Conn. It reads and discards the bytes that the client sends.
func (c *connection) Wait(context.Context) error {
	var b [64]byte
	for got := c.early; got <= maxInput; {
		n, err := c.Read(b[:])
		if err != nil {
			return err
		}
		got += n
	}
	return ErrNoisy
}
