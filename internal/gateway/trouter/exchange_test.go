package trouter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/token"
)

// TestWholeExchange makes the requests of docs/contract/realtime.md §1 in order and checks
// each answer: configuration, allocation, handshake, WebSocket, registration, one event
// with its answer, a ping, and the end.
func TestWholeExchange(t *testing.T) {
	h := newHouse(t, nil)
	ann, bob := h.person(), h.person()
	for _, path := range []string{"/chat/config/realTimeNotifications", "//chat/config/realTimeNotifications"} {
		resp, body := h.do("GET", path+"?api-version=2024-09-01", "", "", "Authorization", "Bearer "+ann.token)
		want := `{"cloudType":"Public","registrarServiceUrl":"` + h.srv.URL + `","trouterServiceUrl":"` + h.srv.URL + `"}`
		if resp.StatusCode != 200 || body != want {
			t.Errorf("GET %s: %s, %s\nwant %s", path, resp.Status, body, want)
		}
	}
	a := h.allocate(ann, "0f0e-epid")
	if a.SocketIO != h.srv.URL+"/" || a.SURL != h.srv.URL+"/v4/f/"+a.ID+"/" || a.URL != a.SURL || a.TTL != "86400" {
		t.Errorf("allocation: %+v", a)
	}
	for k, v := range a.Params {
		if !regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(v) {
			t.Errorf("the parameter %s=%s would have to be encoded", k, v)
		}
	}
	c, resp, err := h.dial(h.handshake(a), a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if got := resp.Header.Get("Sec-WebSocket-Extensions") + resp.Header.Get("Sec-WebSocket-Protocol"); got != "" {
		t.Errorf("the server negotiated %q", got)
	}
	tab := &tab{h, a, c}
	tab.want("1::")
	tab.want(`5:::{"name":"trouter.connected","args":[{"ttl":86*`)
	tab.say(`5:1+::{"name":"user.activity","args":[{"state":"active","cv":"x.1"}]}`)
	tab.want(`6:::1+["ok"]`)
	registration := `{"clientDescription":{"appId":"AcsWeb","templateKey":"AcsWeb_Chat_2.1"},"registrationId":"0f0e-epid","nodeId":"",
		"transports":{"TROUTER":[{"context":"","path":"` + a.SURL + `","ttl":7200}]}}`
	if resp, body := h.do("POST", "/v3/registrations", ann.token, registration); resp.StatusCode != 202 || body != "" {
		t.Errorf("register: %s %s", resp.Status, body)
	}
	thread := h.thread("plans", bob, ann)
	n := tab.notice()
	if n.Method != "POST" || n.URL != "/v4/f/"+a.ID+"/chatThreadCreated" || n.Headers["Content-Type"] != "application/json; charset=utf-8" {
		t.Errorf("got %+v", n)
	}
	tab.answer(n, 200)
	tab.say(`5:2+::{"name":"ping"}`)
	tab.want(`6:::2+["pong"]`)
	h.send(bob, thread, "안녕 100% \"<b>\"\n\u2028 😀 :::")
	tab.message("안녕 100% \"<b>\"\n\u2028 😀 :::", 200)
	tab.say(`5:3+::{"name":"something.else"}`)
	tab.want(`6:::3+["ok"]`)
	tab.say(`5:4::{"name":"something.else"}`)
	tab.want(`6:::4`)
	tab.say(`2::`)
	tab.say("0::")
	tab.wantClosed()
	h.wantEnded(gateway.Gone)
	for range 2 { // twice, because unregistering an unknown id must succeed too
		if resp, _ := h.do("DELETE", "/v3/registrations/0f0e-epid", ann.token, ""); resp.StatusCode != 202 {
			t.Errorf("unregister: %s", resp.Status)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	records, err := json.Marshal(h.records)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{a.Params["sig"], ann.token, "websocket/"} {
		if secret != "websocket/" && strings.Contains(string(records), secret) {
			t.Errorf("the access log has %q", secret)
		}
	}
	for _, r := range h.records {
		if r.Status == 101 && (r.Path != "/socket.io/1/websocket/{id}" || r.User != ann.ID || r.Operation != "open live socket") {
			t.Errorf("the socket is recorded as %+v", r)
		}
	}
}

// TestUnansweredEventsComeAgain answers some of five events and cuts the socket. It checks that the
// next socket gets the unanswered events and then the events that came while there was no socket.
// It checks the same after a restart of the server.
func TestUnansweredEventsComeAgain(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		h.send(ann, thread, text)
	}
	tab.message("one", 200)
	tab.message("two", 0)
	tab.message("three", 404)
	tab.message("four", 0)
	tab.message("five", 200)
	tab.sync()
	tab.CloseNow()
	h.closed()
	h.send(ann, thread, "six")
	tab = h.tab(ann, "tab")
	tab.message("two", 200)
	tab.message("four", 0)
	tab.message("six", 200)
	tab.sync()
	if got := h.h.Stats(); got.Unhandled != 1 || got.Forgotten != 0 {
		t.Errorf("stats: %+v", got)
	}
	tab.CloseNow()
	h.restart()
	h.send(ann, thread, "seven")
	tab = h.tab(ann, "tab")
	tab.message("four", 0)
	tab.message("seven", 200)
	tab.sync()
	tab.CloseNow()
	h.restart()
	tab = h.tab(ann, "tab")
	tab.message("four", 200)
	tab.sync()
	tab.CloseNow()
	h.restart()
	tab = h.tab(ann, "tab")
	tab.sync()
	another := h.tab(ann, "other")
	another.sync() // sync fails if the server sends an event from before the allocation
}

// TestEventsSinceAllocation checks that the first socket of an endpoint gets the events since
// its allocation.
func TestEventsSinceAllocation(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	a := h.allocate(ann, "tab")
	h.send(ann, thread, "one")
	sid := h.handshake(a)
	h.send(ann, thread, "two")
	c, _, err := h.dial(sid, a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	tab := &tab{h, a, c}
	tab.want("1::")
	tab.want("5:::*")
	tab.message("one", 200)
	tab.message("two", 200)
}

// TestForgottenEndpoint opens a socket for an endpoint that the store no longer has, long
// after its allocation. It checks that no old event is sent and that a gap is counted.
func TestForgottenEndpoint(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	a := h.allocate(ann, "tab")
	h.send(ann, thread, "one")
	if err := h.clock.Advance(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	h.restart()
	c, _, err := h.dial(h.handshake(a), a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	tab := &tab{h, a, c}
	tab.want("1::")
	tab.want("5:::*")
	h.send(ann, thread, "two")
	tab.message("two", 200)
	if got := h.h.Stats().Forgotten; got != 1 {
		t.Errorf("%d forgotten endpoints, want 1", got)
	}
}

// TestStatus504 answers an event with status 504. It checks that the server sends the event once
// more on the same socket, and, after another answer with 504, again on the next socket.
func TestStatus504(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	h.send(ann, thread, strings.Repeat("long ", 5000))
	n := tab.notice()
	tab.answer(n, 504)
	again := tab.notice()
	if again.Body != n.Body || again.ID != n.ID {
		t.Errorf("another event came again")
	}
	tab.answer(again, 504)
	tab.sync()
	tab.CloseNow()
	h.closed()
	tab = h.tab(ann, "tab")
	if tab.notice().Body != n.Body {
		t.Errorf("another event came on the next socket")
	}
	if got := h.h.Stats().Again; got != 1 {
		t.Errorf("%d events were written twice, want 1", got)
	}
}

// TestFullSocket sends more events than a client may leave unanswered, both new and missed ones. It
// checks that the server sends the remaining events when the client answers, and each event once.
func TestFullSocket(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	texts := make([]string, 600)
	for i := range texts {
		texts[i] = strings.Repeat("x", i+1)
		h.send(ann, thread, texts[i])
		if i == 299 { // close the socket, so that the other messages are sent while the client has none
			tab.CloseNow()
			h.closed()
		}
	}
	tab = h.tab(ann, "tab")
	var first []notice
	for len(first) < 256 {
		n := tab.notice()
		if got := n.field("messageBody"); got != texts[len(first)] {
			t.Fatalf("message %d has %d characters", len(first), len(got))
		}
		first = append(first, n)
	}
	tab.sync() // sync fails if the server sends another event
	for i, n := range first {
		tab.answer(n, 200)
		if next := i + 256; next < len(texts) {
			tab.message(texts[next], 200)
		}
	}
	for _, text := range texts[512:] {
		tab.message(text, 200)
	}
	tab.sync()
}

// TestReplaced opens a second socket for an endpoint. It checks that the first socket ends, that
// the second socket gets the events, and that another endpoint of the same user gets them too.
func TestReplaced(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	first, other := h.tab(ann, "tab"), h.tab(ann, "other")
	second := h.tab(ann, "tab")
	first.want("0:::dup")
	first.wantClosed()
	h.wantEnded(gateway.Replaced)
	h.send(ann, thread, "one")
	second.message("one", 200)
	other.message("one", 200)
}

// TestEndOfTokens checks that the socket of a user whose token was revoked or has expired, or
// who was deleted, ends with the packet that makes the client ask for a new token, and that
// allocations are refused afterwards.
func TestEndOfTokens(t *testing.T) {
	h := newHouse(t, nil)
	ends := []struct {
		why gateway.Reason
		end func(person) error
	}{
		{gateway.Revoked, func(p person) error { return h.core.RevokeTokens(t.Context(), p.ID) }},
		{gateway.Deleted, func(p person) error { return h.core.DeleteUser(t.Context(), p.ID) }},
		{gateway.Expired, func(person) error {
			err := h.clock.Advance(2 * time.Hour)
			h.hub.Judge()
			return err
		}},
	}
	for _, e := range ends {
		ann := h.person()
		tab := h.tab(ann, "tab")
		a := h.allocate(ann, "tab")
		sid := h.handshake(a)
		if err := e.end(ann); err != nil {
			t.Fatal(err)
		}
		tab.want(`0:::{"reason":"unauthorized"}`)
		tab.wantClosed()
		h.wantEnded(e.why)
		if resp, _ := h.do("POST", "/v4/a?epid=tab", ann.token, ""); resp.StatusCode != 401 {
			t.Errorf("%v: allocate: %s", e.why, resp.Status)
		}
		if resp, _ := h.do("GET", "/socket.io/1/?"+a.query(), "", ""); resp.StatusCode != 401 {
			t.Errorf("%v: handshake: %s", e.why, resp.Status)
		}
		if _, resp, err := h.dial(sid, a.query()); err == nil || resp == nil || resp.StatusCode != 401 {
			t.Errorf("%v: open a socket: %v", e.why, err)
		}
	}
}

// TestHandOver opens a socket shortly before its allocation expires, with a token that is
// valid for longer. It checks that the server asks the client to open another socket, that the
// old socket then stays open but gets no events, and that an answer on the old socket still
// counts.
func TestHandOver(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	ann.token = h.token(ann.User, token.Chat, 48*time.Hour)
	thread := h.thread("plans", ann)
	a := h.allocate(ann, "tab")
	if err := h.clock.Advance(23*time.Hour + 56*time.Minute); err != nil {
		t.Fatal(err)
	}
	c, _, err := h.dial(h.handshake(a), a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	old := &tab{h, a, c}
	old.want("1::")
	old.want(`5:::{"name":"trouter.connected","args":[{"ttl":2*`)
	old.want(`5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`)
	h.send(ann, thread, "one")
	one := old.notice()
	newer := h.tab(ann, "tab")
	newer.message("one", 0) // the newer socket gets this event too, because the client has not answered it yet
	old.answer(one, 200)
	old.sync()
	h.send(ann, thread, "two")
	newer.message("two", 200)
	newer.sync()
	old.sync() // sync fails if the old socket got an event
	newer.CloseNow()
	old.say("0::")
	h.closed()
	// sync fails if the server sends an event again, because the client has answered all of them
	h.tab(ann, "tab").sync()
}

// TestDrain drains a server. It checks that clients are told, and that allocations, handshakes
// and new sockets are refused with 503.
func TestDrain(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	tab := h.tab(ann, "tab")
	a := h.allocate(ann, "tab")
	sid := h.handshake(a)
	h.h.Drain(t.Context())
	resp, _ := h.do("POST", "/v4/a?epid=tab", ann.token, "", "Origin", "https://app.example")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("allocate: %s, %v", resp.Status, resp.Header)
	}
	h.hub.Drain(t.Context())
	tab.want("0::")
	tab.wantClosed()
	if resp, _ := h.do("GET", "/socket.io/1/?"+a.query(), "", ""); resp.StatusCode != 503 {
		t.Errorf("handshake: %s", resp.Status)
	}
	if _, resp, err := h.dial(sid, a.query()); err == nil || resp == nil || resp.StatusCode != 503 {
		t.Errorf("open a socket: %v", err)
	}
}

// TestDrainWithHandOver drains one of several servers. It checks that clients are asked to
// open sockets at another server before their present ones end.
func TestDrainWithHandOver(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	h.stop()
	h.start(func(o *trouter.Options) { o.Handover, o.Polling = 20*time.Second, false })
	a := h.allocate(ann, "tab")
	_, body := h.do("GET", "/socket.io/1/?"+a.query(), "", "")
	sid, rest, _ := strings.Cut(body, ":")
	if rest != "180:180:websocket" {
		t.Errorf("handshake without polling: %s", body)
	}
	c, _, err := h.dial(sid, a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	tab := &tab{h, a, c}
	tab.want("1::")
	tab.want("5:::*")
	drained := make(chan struct{})
	go func() {
		h.h.Drain(t.Context())
		close(drained)
	}()
	tab.want(`5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`)
	tab.say("0::") // the client closes this socket, because it has opened another one
	<-drained
}

// TestRegistrations sends valid and invalid registrations and checks which are refused.
func TestRegistrations(t *testing.T) {
	h := newHouse(t, nil)
	ann, bob := h.person(), h.person()
	a := h.allocate(ann, "tab")
	body := func(id, path string) string {
		return `{"registrationId":"` + id + `","transports":{"TROUTER":[{"path":"` + path + `"}]}}`
	}
	for _, c := range []struct {
		token, body string
		want        int
	}{
		{ann.token, body("tab", a.SURL), 202},
		{ann.token, `{"registrationId":"tab"}`, 202},
		{ann.token, "\ufeff" + body("tab", a.SURL), 202},
		{bob.token, body("tab", a.SURL), 403},
		{ann.token, body("tab", "https://elsewhere.example/x"), 403},
		{ann.token, body("tab", "%zz"), 400},
		{ann.token, body("", a.SURL), 400},
		{ann.token, "{", 400},
		{ann.token, strings.Repeat(" ", 20_000), 400},
		{"", body("tab", a.SURL), 401},
		{"x", body("tab", a.SURL), 401},
		{h.token(ann.User, token.VoIP, time.Hour), body("tab", a.SURL), 403},
	} {
		if resp, text := h.do("POST", "/v3/registrations", c.token, c.body); resp.StatusCode != c.want {
			t.Errorf("register %.80s: %s %s, want %d", c.body, resp.Status, text, c.want)
		}
	}
	resp, text := h.do("POST", "/v3/registrations", ann.token, body("tab", a.SURL), "Content-Encoding", "gzip")
	if resp.StatusCode != 415 || !strings.Contains(text, "The Content-Encoding gzip is not supported.") || resp.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("register with a compressed body: %s %s", resp.Status, text)
	}
	if resp, _ := h.do("DELETE", "/v3/registrations/tab", "x", ""); resp.StatusCode != 401 {
		t.Errorf("unregister with another token: %s", resp.Status)
	}
}

// TestNamesOfParameters allocates a socket and makes the handshake with the names of query
// parameters in upper or mixed case.
func TestNamesOfParameters(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	resp, body := h.do("POST", "/v4/a?EPID=tab", ann.token, "")
	a := allocation{epid: "tab"}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("allocate: %s %s, %v", resp.Status, body, err)
	}
	query := strings.NewReplacer("sig=", "SIG=", "sr=", "Sr=", "&epid=", "&Epid=").Replace(a.query())
	// the handshake must accept this query, because it names the endpoint of the allocation
	if resp, body := h.do("GET", "/socket.io/1/?"+query, "", ""); resp.StatusCode != 200 {
		t.Errorf("handshake: %s %s", resp.Status, body)
	}
	if resp, _ := h.do("GET", "/socket.io/1/?"+strings.Replace(query, "Epid=tab", "Epid=other", 1), "", ""); resp.StatusCode != 401 {
		t.Errorf("handshake for another endpoint: %s, want 401", resp.Status)
	}
}

// TestUnregister lets a client unregister while it has a socket and after its socket was closed. It
// checks that the client does not get the events in between when it connects again, but gets them
// if it has registered again.
func TestUnregister(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	h.do("DELETE", "/v3/registrations/tab", ann.token, "") // the client is still connected
	h.do("POST", "/v3/registrations", ann.token, `{"registrationId":"tab"}`)
	h.send(ann, thread, "one")
	tab.message("one", 0)
	tab.CloseNow()
	h.closed()
	tab = h.tab(ann, "tab")
	tab.message("one", 0)
	tab.CloseNow()
	h.closed()
	h.do("DELETE", "/v3/registrations/tab", ann.token, "")
	es, err := h.store.Endpoints(t.Context(), ann.ID)
	if err != nil || len(es) != 0 {
		t.Errorf("endpoints %v, %v", es, err)
	}
	h.send(ann, thread, "two")
	// wait until the hub has handed on the event, because the next socket could otherwise get it as
	// a new event
	h.told()
	tab = h.tab(ann, "tab")
	tab.sync()
	h.send(ann, thread, "three")
	tab.message("three", 200)
	h.do("DELETE", "/v3/registrations/tab", ann.token, "")
	tab.CloseNow()
	h.closed()
	h.send(ann, thread, "four")
	h.told()
	tab = h.tab(ann, "tab")
	tab.sync()
	h.send(ann, thread, "five")
	tab.message("five", 200)
	if es, err := h.store.Endpoints(t.Context(), ann.ID); err != nil || len(es) != 1 {
		t.Errorf("endpoints %v, %v", es, err)
	}
}

// TestEndpointsOfUserAreBounded opens and closes sockets of more endpoints than the store
// keeps for a user, and checks that the store deletes the oldest ones.
func TestEndpointsOfUserAreBounded(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	names := "abcdefghijklmnopqrstuvwxyz"
	for _, name := range strings.Split(names, "") {
		tab := h.tab(ann, name)
		tab.CloseNow()
		h.closed()
		if err := h.clock.Advance(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	es, err := h.store.Endpoints(t.Context(), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, e := range es {
		got = e.ID + got
	}
	if want := names[len(names)-core.MaxEndpoints:]; got != want {
		t.Errorf("the store has the endpoints %s, want %s", got, want)
	}
}

// TestClosedSocketsHoldLittle opens and closes sockets of more endpoints than the store keeps
// for a user. Each client leaves one event unanswered. The test checks that no event stays in
// memory, and that only the endpoints in the store remember which events were unanswered.
func TestClosedSocketsHoldLittle(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	h.told()
	const more = 5
	for i := range core.MaxEndpoints + more {
		tab := h.tab(ann, fmt.Sprint(i))
		h.send(ann, thread, "one")
		tab.message("one", 0)
		tab.CloseNow()
		h.closed()
		h.until("the closed socket holds no event", func() bool {
			_, events := h.h.Held()
			return events == 0
		})
		if err := h.clock.Advance(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if flights, events := h.h.Held(); flights != core.MaxEndpoints || events != 0 {
		t.Errorf("%d events are not answered and %d are held, want %d and none", flights, events, core.MaxEndpoints)
	}
}

// TestGap opens a socket of an endpoint when events after the endpoint's cursor are missing from
// the event log. It checks that the hub counts a gap, that the socket gets new events, and that the
// next socket has no gap.
func TestGap(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	h.send(ann, thread, "zero")
	_, err := h.store.PutEndpoints(t.Context(), []core.Endpoint{{User: ann.ID, ID: "tab", At: core.Cursor{Epoch: "first", Position: 1, Check: 7}, Seen: 1}})
	if err != nil {
		t.Fatal(err)
	}
	tab := h.tab(ann, "tab")
	h.until("the gap is counted", func() bool { return h.hub.Stats().Gaps["lost"] == 1 })
	h.send(ann, thread, "one")
	tab.message("one", 200)
	tab.sync()
	tab.CloseNow()
	h.closed()
	h.send(ann, thread, "two")
	h.tab(ann, "tab").message("two", 200)
	if got := h.hub.Stats().Gaps["lost"]; got != 1 {
		t.Errorf("%d gaps, want 1", got)
	}
}

// broken is a store whose endpoints cannot be read or written.
type broken struct{ core.Store }

func (broken) Endpoints(context.Context, string) ([]core.Endpoint, error) {
	return nil, errors.New("the disk is gone")
}

func (broken) DropEndpoints(context.Context, []core.Endpoint) error {
	return errors.New("the disk is gone")
}

// TestStoreAway checks that a socket is refused with 503 if its endpoint cannot be read from the
// store, and that the response does not contain the cause.
func TestStoreAway(t *testing.T) {
	h := newHouse(t, func(o *trouter.Options) { o.Store = broken{o.Store} })
	ann := h.person()
	a := h.allocate(ann, "tab")
	_, resp, err := h.dial(h.handshake(a), a.query())
	if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("open a socket: %v", err)
	}
	resp, body := h.do("DELETE", "/v3/registrations/tab", ann.token, "")
	if resp.StatusCode != 503 || strings.Contains(body, "disk") {
		t.Errorf("unregister: %s %s", resp.Status, body)
	}
}

// TestRandomCuts sends events to two endpoints. Their clients answer at random with 200, 404
// or 504 or not at all, and at random cut their sockets or open new ones before they close the
// old ones. It checks that each client gets every event at least once, and none again after
// its answer.
func TestRandomCuts(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	const events = 400
	sent := make(chan struct{})
	var clients sync.WaitGroup
	for _, epid := range []string{"one", "two"} {
		c := &randomClient{h: h, tab: h.tab(ann, epid), seen: map[string]int{}, answered: map[string]bool{}, pace: time.NewTicker(25 * time.Millisecond)}
		clients.Go(func() {
			defer c.pace.Stop()
			for done := false; !done; {
				select {
				case <-sent:
					done = true
				default:
				}
				c.step(ann, epid)
			}
			c.steady = true
			c.reopen(ann, epid)
			for deadline := time.Now().Add(20 * time.Second); len(c.seen) < events; c.sync() {
				if time.Now().After(deadline) {
					t.Errorf("endpoint %s got %d events, want %d", epid, len(c.seen), events)
					return
				}
			}
		})
	}
	for i := range events {
		h.send(ann, thread, fmt.Sprint(i))
	}
	close(sent)
	clients.Wait()
}

// randomClient is a client of TestRandomCuts: its socket, and the events that it has received and
// answered.
type randomClient struct {
	h    *house
	tab  *tab
	seen map[string]int
	// texts of events that the client has answered on this socket; the server may not have read
	// these answers yet
	fresh []string
	// texts of events whose answer the server has read, so these events must not be sent again
	answered map[string]bool
	steady   bool         // answer everything with 200
	pace     *time.Ticker // limits the pings, because the server ends the socket of a client that sends too many
}

// step sends a ping and answers the events that have arrived. Sometimes it then opens a new socket.
func (c *randomClient) step(u person, epid string) {
	c.sync()
	switch rand.IntN(10) {
	case 0:
		c.tab.CloseNow()
		c.reopen(u, epid)
	case 1:
		old := c.tab
		c.reopen(u, epid)
		old.CloseNow()
	}
}

// reopen opens a new socket for the same endpoint.
func (c *randomClient) reopen(u person, epid string) { c.tab, c.fresh = c.h.tab(u, epid), nil }

// sync sends a ping and answers the events that come before the server's answer to it. It
// returns their number.
func (c *randomClient) sync() (n int) {
	t := c.h.t
	before := len(c.fresh)
	<-c.pace.C
	c.tab.say(`5:7+::{"name":"ping"}`)
	for {
		packet, err := c.tab.read()
		if err != nil {
			t.Fatal(err)
		}
		if packet == `6:::7+["pong"]` {
			for _, text := range c.fresh[:before] {
				c.answered[text] = true
			}
			c.fresh = c.fresh[before:]
			return n
		}
		n++
		notice := noticeOf(t, packet)
		text := notice.field("messageBody")
		if c.answered[text] {
			t.Errorf("the event %s came again after its answer", text)
		}
		c.seen[text]++
		switch r := rand.IntN(10); {
		case c.steady || r < 7:
			c.tab.answer(notice, 200)
			c.fresh = append(c.fresh, text)
		case r == 7:
			c.tab.answer(notice, 404)
			c.fresh = append(c.fresh, text)
		case r == 8:
			c.tab.answer(notice, 504)
		}
	}
}
