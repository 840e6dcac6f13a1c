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
	"github.com/confab-chat/confab/internal/why"
)

// webSocket is the transport of a socket over a WebSocket. It reads frames with the package
// gws but writes them itself, so that it can send many frames with one write.
type webSocket struct {
	socket *socket
	unread chan struct{} // closed when the goroutine that reads the WebSocket's frames has ended

	mu     sync.Mutex   // guards the fields below
	conn   *hijack.Conn // nil until the upgrade
	closed bool
}

// netConn is the network connection that gws uses: gws reads frames from it, and writes the
// answer to the upgrade request to it.
type netConn struct {
	net.Conn
	taken    *hijack.Conn
	socket   *socket
	upgraded atomic.Bool
}

// Read implements net.Conn. It reads from the connection that was taken over from net/http.
func (c *netConn) Read(b []byte) (int, error) { return c.taken.Read(b) }

// Write implements net.Conn. After the upgrade gws writes only a close frame. Write discards that
// frame, because it could get into the middle of a frame that the socket writes.
func (c *netConn) Write(b []byte) (int, error) {
	if c.upgraded.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn. gws calls it when it stops reading. After the upgrade Close does
// nothing, because the socket closes the connection itself after its last frame.
func (c *netConn) Close() error {
	if c.upgraded.Load() {
		return nil
	}
	return c.taken.Close()
}

// upgrader upgrades HTTP requests to WebSockets.
type upgrader struct{ gws *gws.Upgrader }

func newUpgrader() upgrader {
	return upgrader{gws.NewUpgrader(reader{}, &gws.ServerOption{
		ReadBufferSize:     512,
		ReadMaxPayloadSize: maxFrame,
		NewSession:         func() gws.SessionStorage { return nil },
	})}
}

// hijacked is an http.ResponseWriter whose connection was already taken over. Its Hijack
// returns that connection.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker. It returns the connection that was already taken over.
func (w hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.conn, nil, nil }

// isUpgrade reports whether a request asks to upgrade its connection to a WebSocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-WebSocket-Key") != ""
}

// openWebSocket opens a WebSocket with a sid, the one-time id from a handshake
// (docs/contract/realtime.md §5). It returns after the answer to the upgrade request was written;
// another goroutine then reads the WebSocket.
func (h *Handler) openWebSocket(req *request) error {
	if !isUpgrade(req.Request) {
		return requests.BadRequest("not a WebSocket", why.Because(why.NotWebSocket))
	}
	if err := h.fault(req); err != nil {
		return err
	}
	ws := &webSocket{unread: make(chan struct{})}
	s := &socket{wire: ws, from: req.record.Client, agent: req.record.UserAgent}
	ws.socket = s
	p := h.sids.take(req.id)
	if p == nil {
		return requests.Unauthorized("sid refused", why.Because(why.LiveSid))
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
		return &refusal{Status: http.StatusHTTPVersionNotSupported, Message: "a WebSocket needs HTTP/1.1", Why: why.Because(why.NotWebSocket)}
	}
	req.silent = true // do not log the request, because the end of its socket is logged
	req.record.Status = http.StatusSwitchingProtocols
	s.setRecord(req.record)
	h.opened(req.record)
	c := &netConn{Conn: taken.Net(), taken: taken, socket: s}
	g, err := h.upgrades.gws.Upgrade(hijacked{req.w, c}, req.Request)
	if err == nil && early > 0 {
		// the client has broken the protocol: it has sent frames before the answer to the upgrade
		// request
		taken.Close()
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

// read reads frames from a WebSocket until it is closed.
func (h *Handler) read(g *gws.Conn, s *socket) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("panic", "operation", opensSocket, "panic", p, "stack", string(debug.Stack()))
			s.session.End(gateway.Gone)
		}
	}()
	g.ReadLoop()
}

// reader implements gws.Event: gws calls its methods for the frames that it reads.
type reader struct{}

// heard is called for each frame from a client. It restarts the time silence, after which a socket
// without further frames ends, and returns the socket of the connection.
func heard(g *gws.Conn) *socket {
	c := g.NetConn().(*netConn)
	c.taken.AwaitInput(silence)
	return c.socket
}

// OnOpen implements gws.Event.
func (reader) OnOpen(*gws.Conn) {}

// OnMessage implements gws.Event. It handles a text frame, and ends the socket if the client has
// sent other data.
func (reader) OnMessage(g *gws.Conn, m *gws.Message) {
	defer m.Close()
	s := heard(g)
	if m.Opcode != gws.OpcodeText {
		s.session.End(gateway.Hostile)
		return
	}
	s.receive(string(m.Bytes()))
}

// OnPing implements gws.Event. It answers a ping frame with a pong frame.
func (reader) OnPing(g *gws.Conn, payload []byte) {
	s := heard(g)
	if !s.alive() {
		s.session.End(gateway.Hostile)
		return
	}
	s.session.Control(append(appendHeader(nil, wholePong, len(payload)), payload...))
}

// OnPong implements gws.Event. A pong frame has no other effect than to show that the client is
// connected.
func (reader) OnPong(g *gws.Conn, _ []byte) {
	s := heard(g)
	if !s.alive() {
		s.session.End(gateway.Hostile)
	}
}

// OnClose implements gws.Event. It ends the session, with a reason that depends on the error.
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

// attach sets the network connection of the WebSocket w after the upgrade. It closes the connection
// if w was closed before.
func (w *webSocket) attach(c *hijack.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = c
	if w.closed {
		c.Close()
	}
}

// frame implements wire. It appends a text frame with the packet.
func (w *webSocket) frame(b, head, tail []byte) []byte {
	return append(append(appendHeader(b, wholeText, len(head)+len(tail)), head...), tail...)
}

// write implements wire. The WebSocket w has a connection by then, because write is called only
// after the session has started.
func (w *webSocket) write(b []byte, last uint64) error {
	err := w.again(b)
	if err == nil {
		w.socket.taken(last)
	}
	return err
}

// again implements wire. It writes the frames without recording when they were written.
func (w *webSocket) again(b []byte) error {
	_, err := w.conn.Write(b)
	return err
}

// interrupt implements wire.
func (w *webSocket) interrupt() { w.conn.Interrupt() }

// close implements wire. Unless cut is true, it sends a close frame first.
func (w *webSocket) close(cut bool) {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil && !cut {
		if _, err := conn.Write(closeFrame); err == nil { // an error means that the client has disconnected
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
