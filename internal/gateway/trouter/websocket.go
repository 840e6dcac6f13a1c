package trouter

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"github.com/confab-chat/confab/internal/gateway"
)

// piece is the number of bytes that are written to a connection with one deadline: as many
// as a record of TLS holds.
const piece = 16 << 10

// farewellTime is the time in which a client must take what is written to it when its
// socket ends.
const farewellTime = time.Second

// webSocket is the wire of a socket over a WebSocket. It reads with gws and writes frames
// itself, as many at a time as are ready.
type webSocket struct {
	socket *socket

	writing sync.Mutex // held while frames are written

	mu          sync.Mutex // guards the fields below
	conn        *netConn   // nil until the upgrade
	interrupted bool
	closed      bool
}

// netConn is the network connection of a webSocket. gws reads from it, and writes the
// answer to the upgrade.
type netConn struct {
	net.Conn
	ws       *webSocket
	upgraded atomic.Bool
	broken   atomic.Bool // a read has failed
	silent   atomic.Bool // because nothing came for too long
}

// Read implements net.Conn.
func (c *netConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		var t net.Error
		c.silent.Store(errors.As(err, &t) && t.Timeout())
		c.broken.Store(true)
	}
	return n, err
}

// Write implements net.Conn. After the upgrade it drops what gws writes: a close frame, which
// could come in the middle of a frame that the sink writes.
func (c *netConn) Write(b []byte) (int, error) {
	if c.upgraded.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// renew gives the client time until its next frame.
func (c *netConn) renew() { c.Conn.SetReadDeadline(time.Now().Add(silence)) }

// upgrader upgrades requests to WebSockets.
type upgrader struct{ gws *gws.Upgrader }

func newUpgrader() upgrader {
	return upgrader{gws.NewUpgrader(reader{}, &gws.ServerOption{
		ReadBufferSize:     512,
		ReadMaxPayloadSize: maxFrame,
		NewSession:         func() gws.SessionStorage { return nil },
	})}
}

// hijacked is a ResponseWriter whose connection is taken over already.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (w hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.conn, nil, nil }

// isUpgrade reports whether a request asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-WebSocket-Key") != ""
}

// openWebSocket opens the WebSocket of a sid (docs/contract/realtime.md §5). It returns when
// the client has got the upgrade; then another goroutine reads.
func (h *Handler) openWebSocket(req *request) error {
	if !isUpgrade(req.Request) {
		return &refusal{status: http.StatusBadRequest, note: "not a WebSocket"}
	}
	if err := h.fault(req); err != nil {
		return err
	}
	ws := &webSocket{}
	s := &socket{wire: ws}
	ws.socket = s
	p := h.sids.take(req.id)
	if p == nil {
		return unauthorized("sid refused")
	}
	req.record.User = p.claims.User
	if err := h.allow(req, p.claims.User); err != nil {
		return err
	}
	if err := h.open(req.Context(), p.claims, p.params, s); err != nil {
		return err
	}
	h.sids.opened(p, s)
	conn, buffered, err := http.NewResponseController(req.w).Hijack()
	if err != nil {
		s.session.End(gateway.Gone)
		return &refusal{status: http.StatusHTTPVersionNotSupported, note: "a WebSocket needs HTTP/1.1"}
	}
	req.silent = true // the socket logs
	req.record.Status = http.StatusSwitchingProtocols
	s.setRecord(req.record)
	c := &netConn{Conn: conn, ws: ws}
	g, err := h.upgrades.gws.Upgrade(hijacked{req.w, c}, req.Request)
	if err == nil && buffered.Reader.Buffered() > 0 {
		conn.Close() // frames before the answer to the upgrade
		err = errors.New("the client did not wait for the upgrade")
	}
	if err != nil {
		s.abort(gateway.Hostile)
		return nil
	}
	c.upgraded.Store(true)
	ws.attach(c)
	c.renew()
	h.waiting.Go(func() { h.read(g, s) })
	s.start(time.Since(p.made), p.params)
	if req.drop {
		req.drop = false
		s.session.End(gateway.Dropped)
	}
	return nil
}

// read reads a WebSocket until it is closed.
func (h *Handler) read(g *gws.Conn, s *socket) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "operation", opensSocket, "panic", p, "stack", string(debug.Stack()))
			s.session.End(gateway.Gone)
		}
	}()
	g.ReadLoop()
}

// reader handles what gws reads.
type reader struct{}

// socketOf returns the network connection and the socket of a connection.
func socketOf(g *gws.Conn) (*netConn, *socket) {
	c := g.NetConn().(*netConn)
	return c, c.ws.socket
}

// OnOpen implements gws.Event.
func (reader) OnOpen(*gws.Conn) {}

// OnMessage implements gws.Event.
func (reader) OnMessage(g *gws.Conn, m *gws.Message) {
	defer m.Close()
	c, s := socketOf(g)
	c.renew()
	if m.Opcode != gws.OpcodeText {
		s.session.End(gateway.Hostile)
		return
	}
	s.receive(string(m.Bytes()))
}

// OnPing implements gws.Event.
func (reader) OnPing(g *gws.Conn, payload []byte) {
	c, s := socketOf(g)
	c.renew()
	if !s.alive() {
		s.session.End(gateway.Hostile)
		return
	}
	s.session.Control(append(appendHeader(nil, wholePong, len(payload)), payload...))
}

// OnPong implements gws.Event.
func (reader) OnPong(g *gws.Conn, _ []byte) {
	c, s := socketOf(g)
	c.renew()
	if !s.alive() {
		s.session.End(gateway.Hostile)
	}
}

// OnClose implements gws.Event.
func (reader) OnClose(g *gws.Conn, err error) {
	c, s := socketOf(g)
	var closed *gws.CloseError
	switch {
	case c.silent.Load():
		s.session.End(gateway.Silent)
	case c.broken.Load() || errors.As(err, &closed):
		s.session.End(gateway.Gone)
	default:
		s.session.End(gateway.Hostile)
	}
}

// attach gives the wire its connection. It closes the connection if the wire is closed
// already.
func (w *webSocket) attach(c *netConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = c
	if w.closed {
		c.Conn.Close()
	}
}

// frame implements wire.
func (w *webSocket) frame(b, head, tail []byte) []byte {
	return append(append(appendHeader(b, wholeText, len(head)+len(tail)), head...), tail...)
}

// write implements wire. A client that takes none of the bytes of a piece for
// gateway.WriteTimeout is cut off.
func (w *webSocket) write(b []byte) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	for len(b) > 0 {
		c := w.arm()
		if c == nil {
			return net.ErrClosed
		}
		n, err := c.Conn.Write(b[:min(piece, len(b))])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// arm sets the deadline of a write. It returns the connection, or nil if that is closed.
func (w *webSocket) arm() *netConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.conn == nil {
		return nil
	}
	if !w.interrupted {
		w.conn.SetWriteDeadline(time.Now().Add(gateway.WriteTimeout))
	}
	return w.conn
}

// again implements wire.
func (w *webSocket) again(b []byte) error { return w.write(b) }

// interrupt implements wire.
func (w *webSocket) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupted = true
	if w.conn != nil {
		w.conn.SetWriteDeadline(time.Now().Add(farewellTime))
	}
}

// close implements wire. It says goodbye with a close frame.
func (w *webSocket) close(cut bool) {
	stuck := cut || w.write(closeFrame) != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.conn == nil {
		return
	}
	if t, ok := w.conn.Conn.(*tls.Conn); ok && stuck {
		t.NetConn().Close() // do not wait until the client takes the end of TLS
	}
	w.conn.Conn.Close()
}
