//go:build unix

package trouter_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
)

// TestSlowClientOnSockets opens a WebSocket over TCP and does not read from it. It sends fewer
// events than the kernel buffers, so that no write of the server blocks, and checks that the
// session ends for the reason Slow. To the server, such a client is like one that has lost its
// network.
func TestSlowClientOnSockets(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells that a client acknowledges nothing")
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			h := newHouse(t, func(o *trouter.Options) { o.WriteTimeout = 100 * time.Millisecond })
			address := h.srv.Listener.Addr().String()
			if !secure {
				plain := &http.Server{Handler: h.h}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				address = l.Addr().String()
				served := make(chan struct{})
				go func() { plain.Serve(l); close(served) }()
				defer func() { plain.Close(); <-served }()
			}
			ann := h.person()
			thread := h.thread("plans", ann)
			conn := h.bare(address, secure, h.handshake(h.allocate(ann, "tab")))
			defer conn.Close()
			for i := range 16 {
				h.send(ann, thread, strings.Repeat("x", 16<<10)+fmt.Sprint(i))
			}
			h.wantEnded(gateway.Slow)
		})
	}
}

// bare opens a WebSocket with a sid, the one-time id from a handshake, and returns its network
// connection, which has a small receive buffer.
func (h *house) bare(address string, secure bool, sid string) net.Conn {
	h.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, "GET /socket.io/1/websocket/"+sid+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		h.t.Fatalf("open a WebSocket: %v, %v", resp, err)
	}
	return conn
}
