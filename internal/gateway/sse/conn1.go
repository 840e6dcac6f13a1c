package sse

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway/hijack"
)

// chunkFrame is the number of bytes around the data of a chunk of a record.
const chunkFrame = len("4000\r\n" + "\r\n")

// maxInput is the number of bytes that a client may send after its request.
const maxInput = 16 << 10

// connection is the Conn of a response over HTTP/1, on a connection that was taken over.
type connection struct {
	*hijack.Conn
	chunked bool
	head    []byte // of the response; sent with the first message
	early   int    // bytes after the request that net/http had read
}

// takeConnection does what Take says for HTTP/1.
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

// appendHead returns the head of an HTTP/1 response. The connection is closed after the
// response.
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

// Taken implements Conn. It returns true.
func (c *connection) Taken() bool { return true }

// records holds buffers of hijack.MaxRecord bytes.
var records = sync.Pool{New: func() any { return new([hijack.MaxRecord]byte) }}

// Write implements Conn. Each chunk fills a record at most.
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

// Close implements Conn. It sends a last chunk.
func (c *connection) Close() {
	if c.chunked && !c.Aborted() {
		last := append(c.head, "0\r\n\r\n"...)
		c.head = nil
		c.Conn.Write(last) // fails if the client is gone, or if Close was called before
	}
	c.Conn.Close()
}

// Wait implements Conn.
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
