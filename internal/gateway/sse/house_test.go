package sse_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transport is the HTTP version that the clients of a test use, with or without TLS.
type transport string

const (
	plain transport = "HTTP/1.1"
	tls1  transport = "HTTP/1.1 over TLS"
	http2 transport = "HTTP/2"
)

// eachTransport runs f as a subtest over each transport, in a synctest bubble with connections
// in memory.
func eachTransport(t *testing.T, o sse.Options, f func(t *testing.T, h *house)) {
	for _, over := range []transport{plain, tls1, http2} {
		t.Run(string(over), func(t *testing.T) { inBubble(t, over, gateway.Bounds{}, o, f) })
	}
}

// inBubble runs f in a synctest bubble, with a server whose connections are in memory.
func inBubble(t *testing.T, over transport, bounds gateway.Bounds, o sse.Options, f func(t *testing.T, h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bounds, o)
		h.over = over
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		h.dial = l.dial
		stop := h.serve(l)
		defer h.stop()
		defer stop()
		f(t, h)
	})
}

// house is the fixture of these tests: a hub on an embedded store in memory, and an HTTP
// server for its event streams.
type house struct {
	t      *testing.T
	core   *core.Service
	tokens *token.Authority
	hub    *gateway.Hub
	faults *dev.Faults
	sse    *sse.Handler
	server *http.Server
	client *http.Client
	over   transport
	dial   func(context.Context) (net.Conn, error)
	stop   func() // stops the hub and the store

	mu      sync.Mutex // guards records
	records []gateway.Record
}

// newHouse returns a fixture without a running server. It sets the fields Hub, Tokens, Faults
// and Access of o.
func newHouse(t testing.TB, bounds gateway.Bounds, o sse.Options) *house {
	t.Helper()
	key := make([]byte, 64)
	store, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Epoch: "first", Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: key}, {Serial: 1, Secret: append(key[:63:63], 1)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{}
	h.t, _ = t.(*testing.T)
	bus := new(local.Bus)
	if h.core, err = core.New(t.Context(), store, bus, core.Options{Grace: new(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if h.tokens, err = token.New(h.core.Resource(), h.core, time.Now); err != nil {
		t.Fatal(err)
	}
	h.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: store, Bus: bus, Keys: h.tokens, Bounds: bounds})
	o.Hub, o.Tokens = h.hub, h.tokens
	o.Access = func(r gateway.Record) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.records = append(h.records, r)
	}
	h.faults = dev.NewFaults([]string{sse.Operation})
	o.Faults = h.faults
	h.sse = sse.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.hub.Run(ctx) })
	h.stop = func() {
		cancel()
		running.Wait()
		h.core.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	return h
}

// serve serves event streams on a listener over the transport h.over (an HTTP version, with or
// without TLS), and sets h.client. The returned function drains the hub and stops the server and
// the client.
func (h *house) serve(l net.Listener) (stop func()) {
	h.server = &http.Server{Handler: h.sse, WriteTimeout: time.Minute}
	tr := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: h.over == http2,
	}
	if h.over != http2 {
		h.server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	h.client = &http.Client{Transport: tr}
	var serving sync.WaitGroup
	serving.Go(func() {
		if h.over == plain {
			h.server.Serve(l)
			return
		}
		h.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate()}, DynamicRecordSizingDisabled: true}
		h.server.ServeTLS(l, "", "")
	})
	return func() {
		h.hub.Drain(context.Background())
		tr.CloseIdleConnections()
		h.server.Close()
		serving.Wait()
	}
}

// certificate returns a self-signed TLS certificate for tests.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// pipes is a listener whose connections are pipes in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// user creates a user.
func (h *house) user() core.User {
	u, err := h.core.CreateUser(context.Background())
	if err != nil {
		panic(err)
	}
	return u
}

// token returns a new token of the user u with the given scopes, valid for an hour.
func (h *house) token(u core.User, scopes token.Scopes) string {
	text, _, err := h.tokens.Issue(u, scopes, time.Hour, h.tokens.Held()[0])
	if err != nil {
		panic(err)
	}
	return text
}

// thread creates a thread with the given users and returns its id. The first user is its creator.
func (h *house) thread(topic string, users ...core.User) string {
	var ps []core.NewParticipant
	for _, u := range users[1:] {
		ps = append(ps, core.NewParticipant{User: communication.ParseRawID(u.ID)})
	}
	t, _, err := h.core.CreateThread(context.Background(), users[0].ID, core.CreateThread{Topic: topic, Participants: ps})
	if err != nil {
		panic(err)
	}
	return t.ID
}

// send sends a text message to a thread and returns the message's id.
func (h *house) send(u core.User, thread, text string) int64 {
	id, err := h.core.SendMessage(context.Background(), u.ID, thread, core.SendMessage{Content: text, Kind: core.Text})
	if err != nil {
		panic(err)
	}
	return id
}

// url returns the URL of the event stream with the given query.
func (h *house) url(query string) string {
	scheme := "https"
	if h.over == plain {
		scheme = "http"
	}
	return scheme + "://localhost" + sse.Path + query
}

// request returns a request for the event stream with an access token, or without one if
// bearer is empty.
func (h *house) request(method, bearer, query string) *http.Request {
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url(query), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return r
}

// do sends a request and returns the response, whose body the test need not close.
func (h *house) do(r *http.Request) *http.Response {
	h.t.Helper()
	resp, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// open opens an event stream of a user and reads its first message, hello.
func (h *house) open(u core.User, query string) *stream {
	h.t.Helper()
	return h.openWith(h.request("GET", h.token(u, token.Chat), query))
}

// openWith opens an event stream with a request and reads its first message, hello.
func (h *house) openWith(r *http.Request) *stream {
	h.t.Helper()
	resp := h.do(r)
	if resp.StatusCode != 200 {
		body, _ := io.ReadAll(resp.Body)
		h.t.Fatalf("open a stream: %s: %s", resp.Status, body)
	}
	s := &stream{t: h.t, resp: resp, lines: bufio.NewReader(resp.Body)}
	s.hello = s.next()
	if s.hello.event != "hello" {
		h.t.Fatalf("the first message is %+v", s.hello)
	}
	return s
}

// notes returns the notes of all access records so far.
func (h *house) notes() (notes []string) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		notes = append(notes, r.Note)
	}
	h.records = nil
	return notes
}

// wantNotes fails the test unless the access records since its last call have exactly these notes,
// in any order.
func (h *house) wantNotes(notes ...string) {
	h.t.Helper()
	got := h.notes()
	slices.Sort(got)
	slices.Sort(notes)
	if !slices.Equal(got, notes) {
		h.t.Errorf("the access records have the notes %q, want %q", got, notes)
	}
}

// stream is the client's end of an event stream.
type stream struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Reader
	hello message
}

// message is one message that a client reads from a stream, or a comment.
type message struct {
	event, id, data string
	comment         bool
}

// next returns the next message of the event stream. It fails the test if the stream ends or the
// message does not conform to the AsyncAPI file.
func (s *stream) next() message {
	s.t.Helper()
	m, err := s.read()
	if err != nil {
		s.t.Fatalf("read the stream: %v", err)
	}
	if m.event != "" {
		conform(s.t, m.event, m.data)
	}
	return m
}

// read returns the next message of the stream. It does not check the message's data.
func (s *stream) read() (m message, _ error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return m, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			return m, nil
		case field == "":
			m.comment = true
		case field == "event" && m.event == "":
			m.event = value
		case field == "id" && m.id == "":
			m.id = value
		case field == "data" && m.data == "":
			m.data = value
		default:
			return m, errors.New("a line that no message has: " + line)
		}
	}
}

// want reads messages from an event stream and fails the test unless they have these names: ":"
// stands for a comment and "" for a heartbeat with an id. It returns the last message.
func (s *stream) want(events ...string) (m message) {
	s.t.Helper()
	for _, want := range events {
		m = s.next()
		got := m.event
		if m.comment {
			got = ":"
		}
		if got != want {
			s.t.Fatalf("got %+v, want %q", m, want)
		}
	}
	return m
}

// wantEnd fails the test unless the stream ends now and the response is complete.
func (s *stream) wantEnd() {
	s.t.Helper()
	if m, err := s.read(); err != io.EOF {
		s.t.Errorf("got %+v, %v; want the end of the stream", m, err)
	}
}

// wantBye fails the test unless the next message is bye with the given data and the stream then
// ends.
func (s *stream) wantBye(data string) {
	s.t.Helper()
	if m := s.want("bye"); m.data != data || m.id != "" {
		s.t.Errorf("bye is %+v, want %s", m, data)
	}
	s.wantEnd()
}
