package trouter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is the fixture of these tests: an HTTPS server with a Handler and a hub, on an
// embedded store in memory.
type house struct {
	t      testing.TB
	store  core.Store
	core   *core.Service
	tokens *token.Authority
	clock  *dev.Clock
	hub    *gateway.Hub
	h      *trouter.Handler
	srv    *httptest.Server
	pipes  *pipes // if not nil, the listener with in-memory connections that the test uses without TLS
	client *http.Client
	url    string
	stop   func()

	mu      sync.Mutex // guards records
	records []gateway.Record
}

var resource = core.Resource{ID: "11111111-2222-4333-8444-555555555555", Epoch: "first", Keys: [2]core.AccessKeyRow{
	{Serial: 1, Secret: []byte("the primary key of these tests, long enough")},
	{Serial: 1, Secret: []byte("the secondary key of these tests, long too")},
}}

// newHouse starts a server that also offers long polls. The function change, if not nil, can
// change the handler's options.
func newHouse(t testing.TB, change func(*trouter.Options)) *house {
	t.Helper()
	return newHouseOn(t, nil, change)
}

// newHouseOn starts a server on the in-memory connections of pipes, or over TLS if pipes is
// nil.
func newHouseOn(t testing.TB, pipes *pipes, change func(*trouter.Options)) *house {
	t.Helper()
	h := &house{t: t, clock: dev.NewClock(time.Now), pipes: pipes}
	store, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: resource})
	if err != nil {
		t.Fatal(err)
	}
	h.store = store
	h.start(change)
	t.Cleanup(func() {
		h.stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// start starts a server on the fixture's store.
func (h *house) start(change func(*trouter.Options)) {
	h.t.Helper()
	bus := new(local.Bus)
	var err error
	if h.core, err = core.New(context.Background(), h.store, bus, core.Options{Now: h.clock.Now}); err != nil {
		h.t.Fatal(err)
	}
	if h.tokens, err = token.New(h.core.Resource(), h.core, h.clock.Now); err != nil {
		h.t.Fatal(err)
	}
	h.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.store, Bus: bus, Keys: h.tokens, Now: h.clock.Now})
	o := trouter.Options{Hub: h.hub, Tokens: h.tokens, Store: h.store, Polling: true, Now: h.clock.Now, Access: func(r gateway.Record) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.records = append(h.records, r)
	}}
	if change != nil {
		change(&o)
	}
	h.h = trouter.New(o)
	if h.pipes != nil {
		h.srv = &httptest.Server{Listener: h.pipes, Config: &http.Server{Handler: h.h}}
		h.srv.Start()
		h.client, h.url = &http.Client{Transport: &http.Transport{DialContext: h.pipes.dial}}, "http://chat.example"
	} else {
		h.srv = httptest.NewTLSServer(h.h)
		h.client, h.url = h.srv.Client(), h.srv.URL
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.hub.Run(ctx) })
	running.Go(func() { h.h.Run(ctx) })
	h.stop = func() {
		h.h.Drain(context.Background())
		h.hub.Drain(context.Background())
		h.client.CloseIdleConnections()
		h.srv.Close()
		if err := h.h.Close(context.Background()); err != nil {
			h.t.Error(err)
		}
		cancel()
		running.Wait()
		h.core.Close()
	}
}

// restart stops the server and starts another one on the same store.
func (h *house) restart() {
	h.t.Helper()
	h.stop()
	h.start(nil)
}

// person is a user with a token.
type person struct {
	core.User
	token string
}

// person creates a user with a token that is valid for an hour.
func (h *house) person() person {
	h.t.Helper()
	u, err := h.core.CreateUser(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return person{u, h.token(u, token.Chat, time.Hour)}
}

// token returns a new token of the user u with the given scopes, which expires after life.
func (h *house) token(u core.User, scopes token.Scopes, life time.Duration) string {
	h.t.Helper()
	text, _, err := h.tokens.Issue(u, scopes, life, h.tokens.Held()[0])
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// thread creates a thread with the given users and returns its id. The first user is its creator.
func (h *house) thread(topic string, users ...person) string {
	h.t.Helper()
	var ps []core.NewParticipant
	for _, u := range users[1:] {
		ps = append(ps, core.NewParticipant{User: communication.ParseRawID(u.ID)})
	}
	t, _, err := h.core.CreateThread(h.t.Context(), users[0].ID, core.CreateThread{Topic: topic, Participants: ps})
	if err != nil {
		h.t.Fatal(err)
	}
	return t.ID
}

// send sends a text message to a thread and returns the message's id.
func (h *house) send(u person, thread, text string) int64 {
	h.t.Helper()
	id, err := h.core.SendMessage(h.t.Context(), u.ID, thread, core.SendMessage{Content: text, Kind: core.Text})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// do sends a request and returns the response and its body.
func (h *house) do(method, path, bearer, body string, headers ...string) (*http.Response, string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("X-Skypetoken", bearer)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp, string(b)
}

// allocation is the JSON response to a request that allocates a socket.
type allocation struct {
	SocketIO string            `json:"socketio"`
	SURL     string            `json:"surl"`
	URL      string            `json:"url"`
	ID       string            `json:"id"`
	CCID     string            `json:"ccid"`
	TTL      string            `json:"ttl"`
	Params   map[string]string `json:"connectparams"`

	epid string
}

// allocate sends the request that allocates a socket for an endpoint, a client such as a browser
// tab.
func (h *house) allocate(p person, epid string) allocation {
	h.t.Helper()
	resp, body := h.do("POST", "/v4/a?cor_id=1&con_num=1_1&epid="+epid, p.token, "")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		h.t.Fatalf("allocate: %s, %s", resp.Status, body)
	}
	a := allocation{epid: epid}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		h.t.Fatal(err)
	}
	return a
}

// query returns the query of the handshake, in the form in which the browser build writes it.
func (a allocation) query() string {
	var b strings.Builder
	for k, v := range a.Params {
		fmt.Fprintf(&b, "%s=%s&", k, v) // write the value as it is, because the browser build does not escape it
	}
	return b.String() + "v=v4&tc=" + url.QueryEscape(`{"cv":"1"}`) + "&timeout=40&auth=true&epid=" + a.epid + "&ccid=" + a.CCID + "&cor_id=1&con_num=1_1"
}

// handshake makes the handshake for an allocation and returns the sid, the one-time id for opening
// a socket.
func (h *house) handshake(a allocation) string {
	h.t.Helper()
	resp, body := h.do("GET", "/socket.io/1/?"+a.query()+"&t=1", "", "")
	sid, rest, _ := strings.Cut(body, ":")
	if resp.StatusCode != 200 || rest != "180:180:websocket,xhr-polling" {
		h.t.Fatalf("handshake: %s, %s", resp.Status, body)
	}
	return sid
}

// dial opens a WebSocket with a sid, the one-time id that a handshake has returned.
func (h *house) dial(sid, query string) (*websocket.Conn, *http.Response, error) {
	c, resp, err := websocket.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.url, "http")+"/socket.io/1/websocket/"+sid+"?"+query,
		&websocket.DialOptions{HTTPClient: h.client, HTTPHeader: http.Header{"Origin": {"https://app.example"}}})
	if err == nil {
		c.SetReadLimit(1 << 20)
	}
	return c, resp, err
}

// tab is a client with an open WebSocket.
type tab struct {
	h *house
	a allocation
	*websocket.Conn
}

// tab opens a WebSocket for an endpoint of a user and reads the first two packets, which are
// not about events.
func (h *house) tab(p person, epid string) *tab {
	h.t.Helper()
	a := h.allocate(p, epid)
	c, _, err := h.dial(h.handshake(a), a.query())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.CloseNow() })
	t := &tab{h, a, c}
	t.want("1::")
	t.want(`5:::{"name":"trouter.connected","args":[{"ttl":*`)
	return t
}

// read returns the next packet, or "" and the error if the socket is closed.
func (t *tab) read() (string, error) {
	t.h.t.Helper()
	ctx, cancel := context.WithTimeout(t.h.t.Context(), 20*time.Second)
	defer cancel()
	_, b, err := t.Read(ctx)
	if err != nil && ctx.Err() != nil {
		t.h.t.Fatalf("no packet: %v", err)
	}
	return string(b), err
}

// want reads the next packet and fails the test unless it equals the given packet. A star at the
// end of the given packet matches any text.
func (t *tab) want(packet string) {
	t.h.t.Helper()
	got, err := t.read()
	prefix, any := strings.CutSuffix(packet, "*")
	if err != nil || got != packet && !(any && strings.HasPrefix(got, prefix)) {
		t.h.t.Fatalf("got %q, %v; want %q", got, err, packet)
	}
}

// say sends a packet to the server.
func (t *tab) say(packet string) {
	t.h.t.Helper()
	if err := t.Write(t.h.t.Context(), websocket.MessageText, []byte(packet)); err != nil {
		t.h.t.Fatal(err)
	}
}

// sync sends a ping and reads the answer. By then the server has handled all earlier packets
// of the client.
func (t *tab) sync() {
	t.h.t.Helper()
	t.say(`5:7+::{"name":"ping"}`)
	t.want(`6:::7+["pong"]`)
}

// notice is a packet from the server that brings an event, in the form of an HTTP request.
type notice struct {
	ID      uint64            `json:"id"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// notice reads the next packet and fails the test unless it brings an event.
func (t *tab) notice() notice {
	t.h.t.Helper()
	got, err := t.read()
	if err != nil {
		t.h.t.Fatal(err)
	}
	return noticeOf(t.h.t, got)
}

func noticeOf(t testing.TB, packet string) (n notice) {
	t.Helper()
	text, ok := strings.CutPrefix(packet, "3:::")
	if !ok {
		t.Fatalf("got %q, want an event", packet)
	}
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// field returns the string in a field of the event's JSON body.
func (n notice) field(name string) string {
	var m map[string]any
	json.Unmarshal([]byte(n.Body), &m)
	s, _ := m[name].(string)
	return s
}

// answer sends the answer to an event, with a status.
func (t *tab) answer(n notice, status int) {
	t.h.t.Helper()
	t.say(fmt.Sprintf(`3:::{"id":%d,"status":%d,"headers":{"trouter-client":"{\"cd\":2}"},"body":""}`, n.ID, status))
}

// message reads an event about a message and fails the test unless the message has this text.
// It answers the event with status, or not at all if status is 0.
func (t *tab) message(text string, status int) {
	t.h.t.Helper()
	n := t.notice()
	if got := n.field("messageBody"); got != text {
		t.h.t.Fatalf("got the message %q, want %q", got, text)
	}
	if status != 0 {
		t.answer(n, status)
	}
}

// wantClosed fails the test unless the server closes the socket without sending another
// packet.
func (t *tab) wantClosed() {
	t.h.t.Helper()
	if got, err := t.read(); err == nil {
		t.h.t.Fatalf("got %q, want the end", got)
	}
}

// closed waits until the hub has no open sessions.
func (h *house) closed() {
	h.t.Helper()
	h.until("no session is open", func() bool { return h.hub.Stats().Sessions == 0 })
}

// told waits until the hub has handed all events in the store to the sessions.
func (h *house) told() {
	h.t.Helper()
	h.until("the hub is at the end of the log", func() bool {
		tip, err := h.store.Tip(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		at, err := h.hub.At(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		return at == tip
	})
}

// until calls the function is until it returns true, for at most 20 seconds. If the time passes, it
// fails the test with the text what, which describes the condition.
func (h *house) until(what string, is func() bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// ended returns the reasons for which sockets were closed, from their access records.
func (h *house) ended() (notes []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		if r.Status == 101 {
			notes = append(notes, r.Note)
		}
	}
	return notes
}

// wantEnded waits until a socket has ended for the reason why, and fails the test if none does.
func (h *house) wantEnded(why gateway.Reason) {
	h.t.Helper()
	h.until("a socket ends because of "+why.String(), func() bool { return slices.Contains(h.ended(), why.String()) })
}
