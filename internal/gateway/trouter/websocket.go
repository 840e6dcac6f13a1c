package trouter

import (
	"bufio"
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
	"github.com/confab-chat/confab/internal/gateway/hijack"
	"github.com/confab-chat/confab/internal/gateway/requests"
)

// webSocket is the wire of a socket over a WebSocket. It reads with gws and writes frames
// itself, as many at a time as are ready.
type webSocket struct {
	socket *socket
	unread chan struct{} // closed when nothing more is read

	mu     sync.Mutex   // guards the fields below
	conn   *hijack.Conn // nil until the upgrade
	closed bool
}

// netConn is the network connection from which gws reads, and to which it writes the answer
// to the upgrade.
type netConn struct {
	net.Conn
	taken    *hijack.Conn
	socket   *socket
	upgraded atomic.Bool
}

// Read implements net.Conn.
func (c *netConn) Read(b []byte) (int, error) { return c.taken.Read(b) }

// Write implements net.Conn. After the upgrade it drops what gws writes: a close frame, which
// could come in the middle of a frame that the sink writes.
func (c *netConn) Write(b []byte) (int, error) {
	if c.upgraded.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn. gws calls it when it reads no more; the sink closes the
// connection after its last frame.
func (c *netConn) Close() error {
	if c.upgraded.Load() {
		return nil
	}
	return c.taken.Close()
}

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
		return requests.BadRequest("not a WebSocket")
	}
	if err := h.fault(req); err != nil {
		return err
	}
	ws := &webSocket{unread: make(chan struct{})}
	s := &socket{wire: ws}
	ws.socket = s
	p := h.sids.take(req.id)
	if p == nil {
		return requests.Unauthorized("sid refused")
	}
	req.record.User = p.claims.User
	if err := h.allow(req, p.claims.User); err != nil {
		return err
	}
	if err := h.open(req.Context(), p.claims, p.params, s); err != nil {
		return err
	}
	h.sids.opened(p, s)
	taken, early, err := hijack.Take(req.w, h.o.WriteTimeout)
	if err != nil {
		s.session.End(gateway.Gone)
		return &refusal{Status: http.StatusHTTPVersionNotSupported, Message: "a WebSocket needs HTTP/1.1"}
	}
	req.silent = true // the socket logs
	req.record.Status = http.StatusSwitchingProtocols
	s.setRecord(req.record)
	c := &netConn{Conn: taken.Net(), taken: taken, socket: s}
	g, err := h.upgrades.gws.Upgrade(hijacked{req.w, c}, req.Request)
	if err == nil && early > 0 {
		taken.Close() // frames before the answer to the upgrade
		err = errors.New("the client did not wait for the upgrade")
	}
	if err != nil {
		s.abort(gateway.Hostile)
		return nil
	}
	c.upgraded.Store(true)
	ws.attach(taken)
	taken.AwaitInput(silence)
	h.waiting.Go(func() {
		defer close(ws.unread)
		h.read(g, s)
	})
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

// heard returns the socket of a connection, from which a frame has come. The client gets
// time until its next one.
func heard(g *gws.Conn) *socket {
	c := g.NetConn().(*netConn)
	c.taken.AwaitInput(silence)
	return c.socket
}

// OnOpen implements gws.Event.
func (reader) OnOpen(*gws.Conn) {}

// OnMessage implements gws.Event.
func (reader) OnMessage(g *gws.Conn, m *gws.Message) {
	defer m.Close()
	s := heard(g)
	if m.Opcode != gws.OpcodeText {
		s.session.End(gateway.Hostile)
		return
	}
	s.receive(string(m.Bytes()))
}

// OnPing implements gws.Event.
func (reader) OnPing(g *gws.Conn, payload []byte) {
	s := heard(g)
	if !s.alive() {
		s.session.End(gateway.Hostile)
		return
	}
	s.session.Control(append(appendHeader(nil, wholePong, len(payload)), payload...))
}

// OnPong implements gws.Event.
func (reader) OnPong(g *gws.Conn, _ []byte) {
	s := heard(g)
	if !s.alive() {
		s.session.End(gateway.Hostile)
	}
}

// OnClose implements gws.Event.
func (reader) OnClose(g *gws.Conn, err error) {
	c := g.NetConn().(*netConn)
	var closed *gws.CloseError
	switch why := c.taken.ReadErr(); {
	case why != nil:
		c.socket.session.End(gateway.WhyOf(why))
	case errors.As(err, &closed):
		c.socket.session.End(gateway.Gone)
	default:
		c.socket.session.End(gateway.Hostile)
	}
}

// attach gives the wire its connection. It closes the connection if the wire is closed
// already.
func (w *webSocket) attach(c *hijack.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = c
	if w.closed {
		c.Close()
	}
}

// frame implements wire.
func (w *webSocket) frame(b, head, tail []byte) []byte {
	return append(append(appendHeader(b, wholeText, len(head)+len(tail)), head...), tail...)
}

// write implements wire. The session has started, so that there is a connection.
func (w *webSocket) write(b []byte, last uint64) error {
	err := w.again(b)
	if err == nil {
		w.socket.taken(last)
	}
	return err
}

// again implements wire.
func (w *webSocket) again(b []byte) error {
	_, err := w.conn.Write(b)
	return err
}

// interrupt implements wire.
func (w *webSocket) interrupt() { w.conn.Interrupt() }

// close implements wire. It says goodbye with a close frame.
func (w *webSocket) close(cut bool) {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil && !cut {
		if _, err := conn.Write(closeFrame); err == nil { // otherwise the client is gone
			w.part()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.conn == nil {
		return
	}
	if cut {
		w.conn.Abort()
	}
	w.conn.Close()
}
