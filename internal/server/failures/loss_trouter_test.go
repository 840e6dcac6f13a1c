//go:build unix

package failures

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// speaksTrouter reports whether a server serves the protocol of the official SDKs.
func (l *loss) speaksTrouter() bool {
	status, _ := l.ask(l.nodes[0], "GET", "/chat/config/realTimeNotifications?api-version=2024-09-01", "none", "", nil)
	return status == 401
}

// trouterClient is a reader that speaks the protocol of the official SDKs
// (docs/contract/realtime.md). When it reconnects, it uses the same endpoint id as before and the
// parameters of its last allocation, the response to POST /v4/a.
type trouterClient struct {
	*loss
	*reader
	tls      *tls.Config
	base     string // URL of the service
	endpoint string
	last     *allocation
}

// allocation is the response to POST /v4/a, which says where the client must open its socket.
type allocation struct {
	SocketIO      string
	ConnectParams map[string]string
}

// query returns the URL parameters of the client's requests. They include the parameters in a, the
// server's last answer to POST /v4/a, unless a is nil.
func (c *trouterClient) query(a *allocation) url.Values {
	q := url.Values{"epid": {c.endpoint}, "cor_id": {c.endpoint}, "con_num": {"1_1"}}
	if a != nil {
		for k, v := range a.ConnectParams {
			q.Set(k, v)
		}
		q.Set("v", "v4")
	}
	return q
}

// runTrouter connects and receives events until ctx is done. It connects again whenever the
// connection ends.
func (l *loss) runTrouter(ctx context.Context, r *reader) {
	c := &trouterClient{loss: l, reader: r, tls: l.tlsConfig(), base: "https://" + l.nodes[0].listen, endpoint: fmt.Sprintf("endpoint-%d", rand.Uint64())}
	for ctx.Err() == nil {
		session := r.session(ctx)
		if err := c.connect(session); err != nil {
			c.failed(err)
			l.sleep(session, time.Duration(20+rand.IntN(180))*time.Millisecond)
		}
		r.rest(ctx)
	}
}

// connect allocates a connection, opens its socket, and answers the server's packets until the
// socket ends. All its requests reach the same server. It fails if it could not open the socket.
func (c *trouterClient) connect(ctx context.Context) error {
	node := c.lines.pick()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return c.lines.dialNode(ctx, node) }
	transport := &http.Transport{DialContext: dial, TLSClientConfig: c.tls}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	target := c.base + "/v4/a?"
	if c.last == nil {
		var config struct{ TrouterServiceURL string }
		if err := c.call(ctx, client, "GET", c.base+"/chat/config/realTimeNotifications?api-version=2024-09-01", &config); err != nil {
			return err
		}
		target = config.TrouterServiceURL + "/v4/a?"
	}
	a := &allocation{}
	if err := c.call(ctx, client, "POST", target+c.query(c.last).Encode(), a); err != nil {
		return err
	}
	if c.last != nil && rand.IntN(20) == 0 {
		c.last = a
		return nil // sometimes do not open a socket after the allocation, as a real client may do
	}
	c.last = a
	var sid string
	if err := c.call(ctx, client, "GET", a.SocketIO+"socket.io/1/?"+c.query(a).Encode(), &sid); err != nil {
		return err
	}
	sid, _, _ = strings.Cut(sid, ":")
	conn, err := c.lines.dialNode(ctx, node)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ws, err := openSocket(tls.Client(conn, c.tls), "/socket.io/1/websocket/"+sid+"?"+c.query(a).Encode())
	if err != nil {
		return err
	}
	for {
		text, err := ws.read()
		if err != nil || !c.handle(ws, text) {
			c.failed(fmt.Errorf("the socket ends with %.60q: %w", text, err))
			return nil
		}
	}
}

// call makes a request as the user and decodes the response into out, which is a *string or a
// value to decode JSON into.
func (c *trouterClient) call(ctx context.Context, client *http.Client, method, target string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.user.bearer)
	req.Header.Set("X-Skypetoken", c.user.bearer)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 {
		if res.StatusCode != 503 {
			c.problem("%s %s: %d %s", method, req.URL.Path, res.StatusCode, body)
		}
		return fmt.Errorf("%s: status %d: %s", req.URL.Path, res.StatusCode, body)
	}
	if text, ok := out.(*string); ok {
		*text = string(body)
		return nil
	}
	return json.Unmarshal(body, out)
}

// handle processes a packet that the server sent. It returns false if the client must connect
// again.
func (c *trouterClient) handle(ws *socket, packet string) bool {
	kind, _, _ := strings.Cut(packet, ":")
	switch kind {
	case "0":
		return false
	case "5":
		switch {
		case strings.Contains(packet, `"trouter.connected"`):
			c.mu.Lock()
			c.begun = true
			c.mu.Unlock()
			return ws.write(`5:1+::{"name":"user.activity","args":[{"state":"active","cv":"x.1"}]}`) == nil
		case strings.Contains(packet, `"trouter.reconnect"`):
			return false
		}
	case "3":
		return c.request(ws, strings.TrimPrefix(packet, "3:::"))
	case "1", "2", "6", "8":
	default:
		c.problem("a packet %.100q", packet)
	}
	return true
}

// trouterEvents maps the event ids of the protocol (docs/contract/realtime.md §13) to the names of
// events in an export.
var trouterEvents = map[int]string{
	200: "messageReceived", 246: "receiptReceived", 247: "messageEdited", 248: "messageDeleted", 257: "threadCreated",
	258: "threadUpdated", 259: "threadDeleted", 260: "participantsAdded", 261: "participantsRemoved",
}

// request records the event that is in a request of the server, and answers the request. Sometimes
// it does not answer, or answers 504, except at the end of a round.
func (c *trouterClient) request(ws *socket, text string) bool {
	var req struct {
		ID   int64
		Body string
	}
	var event struct {
		EventID                                            int
		GroupID, ThreadID, MessageID, Version, MessageBody string
		RecipientMri, TransactionID                        string
	}
	if err := json.Unmarshal([]byte(text), &req); err != nil {
		c.problem("a request %.100q: %v", text, err)
		return false
	}
	if err := json.Unmarshal([]byte(req.Body), &event); err != nil {
		c.problem("the body %.100q: %v", req.Body, err)
		return false
	}
	if event.RecipientMri != c.user.id {
		c.problem("an event for %s", event.RecipientMri)
	}
	status := 200
	if p := rand.IntN(50); !c.calm.Load() && p < 2 {
		status = []int{0, 504}[p]
	}
	answered := false
	g := received{event: trouterEvents[event.EventID], at: time.Now(), opened: c.lines.lastOpened(), content: event.MessageBody}
	g.position, _ = strconv.ParseUint(event.TransactionID, 10, 64)
	g.message, _ = strconv.ParseInt(event.MessageID, 10, 64)
	g.version, _ = strconv.ParseInt(event.Version, 10, 64)
	if status != 0 {
		answer := fmt.Sprintf(`3:::{"id":%d,"status":%d,"headers":{"MS-CV":"x.0","trouter-client":"{\"cd\":1}"},"body":""}`, req.ID, status)
		answered = ws.write(answer) == nil && status == 200
		if rand.IntN(10) == 0 {
			ws.write(`5:2+::{"name":"ping"}`)
		}
	}
	if event.EventID == 245 {
		return true
	}
	g.answered = answered
	thread := event.GroupID
	if thread == "" {
		thread = event.ThreadID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[thread] = append(c.got[thread], g)
	return true
}

// excused reports whether a reader may receive an event again although it has confirmed the event.
// This is allowed if the confirmation may have been lost: if the server that received it was
// killed within five seconds, or if the connection was cut within a second.
func (r *reader) excused(before, again received, l *loss) bool {
	if !r.trouter {
		return false
	}
	for _, o := range l.kills {
		if !o.drained && o.from.Sub(before.at) < 5*time.Second && before.at.Before(o.to) && again.at.After(o.from) {
			return true
		}
	}
	r.lines.mu.Lock()
	defer r.lines.mu.Unlock()
	return slices.ContainsFunc(r.lines.cuts, func(cut time.Time) bool {
		d := cut.Sub(before.at)
		return d > 0 && d < time.Second && again.at.After(cut)
	})
}

// socket is the client's end of a WebSocket connection (RFC 6455).
type socket struct {
	conn net.Conn
	in   *bufio.Reader
}

// openSocket sends a WebSocket handshake for the path on conn and returns the socket.
func openSocket(conn net.Conn, path string) (*socket, error) {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+conn.RemoteAddr().String()+
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://page.example\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	conn.SetDeadline(time.Time{})
	return &socket{conn, in}, nil
}

// read returns the next text message of the socket. It fails when the socket has ended.
func (s *socket) read() (string, error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(s.in, head[:]); err != nil {
			return "", err
		}
		size := uint64(head[1] & 127)
		switch size {
		case 126:
			var more [2]byte
			if _, err := io.ReadFull(s.in, more[:]); err != nil {
				return "", err
			}
			size = uint64(binary.BigEndian.Uint16(more[:]))
		case 127:
			var more [8]byte
			if _, err := io.ReadFull(s.in, more[:]); err != nil {
				return "", err
			}
			size = binary.BigEndian.Uint64(more[:])
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(s.in, text); err != nil {
			return "", err
		}
		switch head[0] {
		case 0x81: // a text message in one frame
			return string(text), nil
		case 0x88:
			return "", io.EOF
		}
	}
}

// write sends a text message in one frame, with a mask of zeros.
func (s *socket) write(text string) error {
	frame := []byte{0x81}
	switch n := len(text); {
	case n < 126:
		frame = append(frame, 0x80|byte(n))
	default:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	}
	frame = append(frame, 0, 0, 0, 0)
	_, err := s.conn.Write(append(frame, text...))
	return err
}
