//go:build !race

package sse_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/token"
)

// TestMemoryOfIdleStreams opens event streams over TCP and checks how many bytes of heap and
// stack the server needs for each, after a garbage collection. The clients are in the same
// process, but need almost no memory.
func TestMemoryOfIdleStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many sockets")
	}
	for _, c := range []struct {
		over  transport
		limit uint64
	}{{plain, 10 << 10}, {tls1, 20 << 10}} {
		t.Run(string(c.over), func(t *testing.T) {
			const streams = 2000
			h := newHouse(t, gateway.Bounds{PerUser: streams + 100}, sse.Options{})
			defer h.stop()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			h.over = c.over
			stop := h.serve(l)
			defer stop()
			request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", sse.Path, h.token(h.user(), token.Chat))
			// open some streams before the measurement, because the first ones also allocate memory
			// that all streams share
			h.idle(t, l.Addr().String(), request, 100)
			before := inUse()
			conns := h.idle(t, l.Addr().String(), request, streams)
			after := inUse()
			for _, conn := range conns {
				conn.Close()
			}
			each := (after - before) / uint64(streams)
			t.Logf("%d idle streams: %d bytes each", streams, each)
			if each > c.limit {
				t.Errorf("an idle stream takes %d bytes, more than %d", each, c.limit)
			}
		})
	}
}

// idle opens event streams, reads the first message of each, and returns the clients' network
// connections. Apart from its connection, a client keeps nothing in memory.
func (h *house) idle(t *testing.T, address, request string, streams int) []net.Conn {
	var conns []net.Conn
	for range streams {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		conns = append(conns, raw)
		conn := raw
		if h.over == tls1 {
			conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		for r, line := bufio.NewReaderSize(conn, 512), ""; !strings.HasPrefix(line, "data:"); {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	return conns
}

// inUse returns the number of bytes of heap and stacks in use after a garbage collection.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 { // collect three times, because one collection does not run all finalizers and empty all pools
		debug.FreeOSMemory()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
