package bench_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"
)

// webSocket is a client's WebSocket. If the server is Confab, it uses the official protocol
// for live events.
type webSocket struct {
	conn  *countedConn
	in    *bufio.Reader
	data  []byte // payload of the last frame that was read
	reads int64  // value of conn.reads when read last returned events

	pings   bool // whether the client sends a ping after each answer, as the browser build does
	pending int  // number of events whose ping the server has not acknowledged yet

	mu  sync.Mutex // guards the fields below, and is held while a frame is written
	ids int        // pings sent
	out []byte
}

// countedConn counts the reads that returned data. Over TLS there is one read for each record.
// Without TLS several writes of the server may arrive in one read.
type countedConn struct {
	net.Conn
	reads int64
}

// Read implements net.Conn. It counts the read if it returns data.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.reads++
	}
	return n, err
}

// dialTrouter opens a socket of the official protocol as the browser build does: it makes the
// allocation and the handshake, opens a WebSocket and sends a ping. endpoint is the id that
// the client chooses for itself.
func (p *peer) dialTrouter(secure bool, token, local, endpoint string) (*webSocket, error) {
	ask := func(method, path string) ([]byte, error) {
		req, err := http.NewRequest(method, p.url(secure, path), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Skypetoken", token)
		res, err := p.client.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s of %s: %s", res.Status, path, body)
		}
		return body, err
	}
	body, err := ask(http.MethodPost, "/v4/a?epid="+endpoint)
	if err != nil {
		return nil, err
	}
	var allocated struct {
		Params map[string]string `json:"connectparams"`
	}
	if err := json.Unmarshal(body, &allocated); err != nil {
		return nil, err
	}
	query := url.Values{"v": {"v4"}, "epid": {endpoint}}
	for k, v := range allocated.Params {
		query.Set(k, v)
	}
	if body, err = ask(http.MethodGet, "/socket.io/1/?"+query.Encode()); err != nil {
		return nil, err
	}
	sid, _, _ := strings.Cut(string(body), ":")
	s, err := p.dialWebSocket(secure, local, "/socket.io/1/websocket/"+sid+"?"+query.Encode())
	if err != nil {
		return nil, err
	}
	for _, want := range []string{"1::", "5:::"} {
		var data []byte
		if err == nil {
			data, err = s.frame()
		}
		if err == nil && !bytes.HasPrefix(data, []byte(want)) {
			err = fmt.Errorf("got %q, want %s", data, want)
		}
	}
	if err == nil {
		err = s.ping()
	}
	// skip events from the time since the allocation, which arrive before the pong
	for pong := false; err == nil && !pong; {
		var data []byte
		data, _, _, err = s.read()
		pong = bytes.HasPrefix(data, []byte("6:::"))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// dialWebSocket opens a WebSocket. If local, such as 127.0.0.2, is not empty, the connection
// comes from that address.
func (p *peer) dialWebSocket(secure bool, local, path string) (*webSocket, error) {
	conn, err := p.connect(secure, local)
	if err != nil {
		return nil, err
	}
	s := &webSocket{conn: &countedConn{Conn: conn}}
	s.in = bufio.NewReaderSize(s.conn, 16<<10) // a record of TLS
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(s.in, nil); err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New("no WebSocket: " + res.Status)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the connection.
func (s *webSocket) Close() error { return s.conn.Close() }

// frame reads a frame and returns its payload, which is valid until the next call.
func (s *webSocket) frame() ([]byte, error) {
	var head [10]byte
	if _, err := io.ReadFull(s.in, head[:2]); err != nil {
		return nil, err
	}
	n, more := uint64(head[1]), 0
	switch n {
	case 126:
		more = 2
	case 127:
		more = 8
	}
	if more > 0 {
		if _, err := io.ReadFull(s.in, head[10-more:]); err != nil {
			return nil, err
		}
		n = binary.BigEndian.Uint64(append(make([]byte, 8-more), head[10-more:]...))
	}
	if n > 1<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	if uint64(cap(s.data)) < n {
		s.data = make([]byte, n)
	}
	s.data = s.data[:n]
	_, err := io.ReadFull(s.in, s.data)
	return s.data, err
}

// write writes a text frame. The frame's mask is 0, so that the text can be sent unchanged; the
// server still does the work of removing a mask.
func (s *webSocket) write(text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out[:0], 0x81)
	if len(text) < 126 {
		s.out = append(s.out, 0x80|byte(len(text)))
	} else {
		s.out = binary.BigEndian.AppendUint16(append(s.out, 0x80|126), uint16(len(text)))
	}
	s.out = append(append(s.out, 0, 0, 0, 0), text...)
	_, err := s.conn.Write(s.out)
	return err
}

// ping sends a ping that the server must acknowledge, as the browser build does every 40
// seconds and after each answer.
func (s *webSocket) ping() error {
	s.mu.Lock()
	s.ids++
	text := fmt.Appendf(nil, `5:%d+::{"name":"ping"}`, s.ids)
	s.mu.Unlock()
	return s.write(text)
}

// read reads a frame and, if the frame brings an event, answers the event. It returns the frame's
// payload, which is valid until the next call, and the number of events that are finished with this
// frame. It also returns the number of writes of the server since read last returned events.
func (s *webSocket) read() (data []byte, events, writes int, err error) {
	if data, err = s.frame(); err != nil {
		return nil, 0, 0, err
	}
	switch {
	case bytes.HasPrefix(data, []byte(`3:::{"id":`)):
		id, _, _ := bytes.Cut(data[len(`3:::{"id":`):], []byte(","))
		answer := fmt.Appendf(nil, `3:::{"id":%s,"status":200,"headers":{"MS-CV":"confab.%s.0","trouter-request":"{\"id\":\"%s\"}","trouter-client":"{\"cd\":1}"},"body":""}`, id, id, id)
		if err := s.write(answer); err != nil {
			return nil, 0, 0, err
		}
		events = 1
		if s.pings {
			events = 0
			if s.pending++; s.pending == 1 {
				if err := s.ping(); err != nil {
					return nil, 0, 0, err
				}
			}
		}
	case bytes.HasPrefix(data, []byte("6:::")):
		events, s.pending = s.pending, 0
	}
	if events > 0 {
		writes = int(s.conn.reads - s.reads)
		s.reads = s.conn.reads
	}
	return data, events, writes, nil
}

// rawSockets holds the WebSockets of the raw broadcast. The package gws reads and writes them.
type rawSockets struct {
	upgrader *gws.Upgrader

	mu  sync.Mutex // guards all
	all []*gws.Conn
}

func newRawSockets() *rawSockets {
	return &rawSockets{upgrader: gws.NewUpgrader(rawReader{}, &gws.ServerOption{ReadBufferSize: 512})}
}

// open opens a WebSocket that gets every broadcast.
func (r *rawSockets) open(w http.ResponseWriter, req *http.Request) {
	c, err := r.upgrader.Upgrade(w, req)
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	r.all = append(r.all, c)
	r.mu.Unlock()
	go c.ReadLoop()
}

// echo opens a WebSocket that sends each received text back.
func (r *rawSockets) echo(w http.ResponseWriter, req *http.Request) {
	c, err := r.upgrader.Upgrade(w, req)
	if err != nil {
		panic(err)
	}
	c.Session().Store("echo", true)
	go c.ReadLoop()
}

// broadcast sends a text to all WebSockets. Each write runs in a goroutine of gws, so that a
// slow client does not delay the others. If inTurn is true, the writes run one after the other
// instead.
func (r *rawSockets) broadcast(text []byte, inTurn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if inTurn {
		for _, c := range r.all {
			c.WriteMessage(gws.OpcodeText, text)
		}
		return
	}
	b := gws.NewBroadcaster(gws.OpcodeText, text)
	defer b.Close()
	for _, c := range r.all {
		b.Broadcast(c)
	}
}

// rawReader handles the frames from the clients of the raw broadcast. It acknowledges pings,
// sends back texts on echo connections, and ignores answers to events.
type rawReader struct{ gws.BuiltinEventHandler }

// OnMessage implements gws.Event. It handles a text frame from a client.
func (rawReader) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	switch text := m.Bytes(); {
	case bytes.HasPrefix(text, []byte("5:")):
		id, _, _ := bytes.Cut(text[2:], []byte("+"))
		c.WriteString("6:::" + string(id) + `+["pong"]`)
	case bytes.HasPrefix(text, []byte("3:")):
	default:
		if _, echo := c.Session().Load("echo"); echo {
			c.WriteMessage(m.Opcode, text)
		}
	}
}

// rawFrame returns the text of the raw broadcast's frame with the posted body. The text is padded
// to the length of Confab's frame about the same message.
func rawFrame(id int64, body []byte) []byte {
	return fmt.Appendf(nil, `3:::{"id":%d,"method":"POST","body":%s,"padding":"%s"}`, id, strconv.Quote(string(body)), strings.Repeat("x", rawPadding))
}

// rawPadding is the number of bytes of padding that make a frame of the raw broadcast as long as
// Confab's frame about the same message.
const rawPadding = 870

// keepAlive sends a ping on each socket once in each span of time, until the channel stop is
// closed.
func keepAlive(sockets []*webSocket, span time.Duration, stop <-chan struct{}) {
	ticks := time.NewTicker(span / time.Duration(len(sockets)))
	defer ticks.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-ticks.C:
			sockets[n%len(sockets)].ping() // ignore the error, because the caller may be closing the socket
		}
	}
}

// connect opens a connection to the server, over TLS if secure is true. If local is not empty,
// the connection comes from that address.
func (p *peer) connect(secure bool, local string) (net.Conn, error) {
	address := p.HTTP
	if secure {
		address = p.HTTPS
	}
	var d net.Dialer
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	conn, err := d.Dial("tcp", address)
	if err == nil && secure {
		conn = tls.Client(conn, &tls.Config{RootCAs: p.roots, ServerName: "localhost"})
	}
	return conn, err
}
