package trouter_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
)

// TestPreflights sends the preflight requests of docs/contract/realtime.md §7 and checks the
// CORS headers of the responses, also of responses with errors.
func TestPreflights(t *testing.T) {
	h := newHouse(t, nil)
	const origin = "https://app.example:8443"
	for _, c := range []struct{ path, method, headers string }{
		{"/chat/config/realTimeNotifications", "GET", "authorization,x-ms-client-request-id,x-ms-useragent"},
		{"//chat/config/realTimeNotifications", "GET", "authorization,x-ms-client-request-id,x-ms-useragent"},
		{"/v4/a", "POST", "x-skypetoken"},
		{"/socket.io/1/", "GET", "x-skypetoken"},
		{"/socket.io/1/xhr-polling/abc", "GET", "x-skypetoken"},
		{"/socket.io/1/xhr-polling/abc", "POST", "x-skypetoken"},
		{"/v3/registrations", "POST", "content-type,x-skypetoken"},
		{"/v3/registrations/abc", "DELETE", "x-skypetoken"},
	} {
		check := func(resp *http.Response, want int) {
			t.Helper()
			head := resp.Header
			if resp.StatusCode != want || head.Get("Access-Control-Allow-Origin") != origin ||
				head.Get("Access-Control-Allow-Credentials") != "true" || head.Get("Vary") == "" {
				t.Errorf("%s %s: %s %v", c.method, c.path, resp.Status, head)
			}
		}
		resp, _ := h.do("OPTIONS", c.path, "", "", "Origin", origin, "Access-Control-Request-Method", c.method, "Access-Control-Request-Headers", c.headers)
		check(resp, 204)
		if !strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), c.method) || resp.Header.Get("Access-Control-Allow-Headers") != c.headers {
			t.Errorf("%s %s: %v", c.method, c.path, resp.Header)
		}
		resp, _ = h.do(c.method, c.path, "", "", "Origin", origin)
		check(resp, 401)
		if resp, _ := h.do("OPTIONS", c.path, "", ""); resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("OPTIONS %s without an origin: %s %v", c.path, resp.Status, resp.Header)
		}
	}
	if resp, _ := h.do("PUT", "/v4/a", "", "", "Origin", origin); resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("PUT: %s %v", resp.Status, resp.Header)
	}
}

// TestRecordsAreShort sends a request with a long User-Agent and a long method, and checks
// that the access record is short, because a socket keeps its record in memory while it is
// open.
func TestRecordsAreShort(t *testing.T) {
	h := newHouse(t, nil)
	h.do(strings.Repeat("M", 5000), "/v4/a", "", "", "User-Agent", strings.Repeat("x", 5000))
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.records) != 1 {
		t.Fatalf("%d records", len(h.records))
	}
	if r := h.records[0]; len(r.UserAgent) > 300 || len(r.Method) > 300 {
		t.Errorf("the agent has %d bytes and the method %d", len(r.UserAgent), len(r.Method))
	}
}

// TestHandles checks which paths belong to the protocol.
func TestHandles(t *testing.T) {
	h := trouter.New(trouter.Options{Hub: gateway.NewHub(gateway.Options{})})
	for path, want := range map[string]bool{
		"/chat/config/realTimeNotifications": true, "///chat//config/realTimeNotifications": true, "/v4/a": true, "/socket.io/1/": true,
		"/socket.io/1/websocket/x": true, "/socket.io/1/websocket/": false, "/socket.io/1/websocket/x/y": false, "/v3/registrations": true,
		"/v3/registrations/x": true, "/": false, "/chat/threads": false, "/v4/f/x/y": false,
	} {
		if got := h.Handles(path); got != want {
			t.Errorf("Handles(%q) is %v", path, got)
		}
	}
}

// TestHostileFrames sends each kind of broken frame on one of two sockets, and checks that
// this socket ends as hostile while the other one stays open.
func TestHostileFrames(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	good := h.tab(ann, "good")
	text := func(s string) func(*tab) {
		return func(b *tab) { b.Write(t.Context(), websocket.MessageText, []byte(s)) }
	}
	for name, attack := range map[string]func(*tab){
		"garbage":        text("garbage"),
		"empty":          text(""),
		"no JSON":        text("3:::{"),
		"no status":      text(`3:::{"id":1}`),
		"no id":          text(`3:::{"status":200}`),
		"no event":       text("5:1+::x"),
		"long id":        text("5:" + strings.Repeat("1", 20) + "+::{}"),
		"not UTF-8":      text("5:::\xff"),
		"oversize":       text("2::" + strings.Repeat("x", 16<<10)),
		"binary":         func(b *tab) { b.Write(t.Context(), websocket.MessageBinary, []byte("2::")) },
		"too many":       func(b *tab) { flood(t, b, "2::") },
		"too many pings": func(b *tab) { flood(t, b, `5:1+::{"name":"ping"}`) },
	} {
		bad := h.tab(ann, "bad")
		attack(bad)
		for {
			if got, err := bad.read(); err != nil {
				break
			} else if !strings.HasPrefix(got, "6:::") {
				t.Errorf("%s: got %q", name, got)
			}
		}
		h.until(name+" ends as hostile", func() bool {
			notes := h.ended()
			return len(notes) > 0 && notes[len(notes)-1] == gateway.Hostile.String()
		})
		h.mu.Lock()
		h.records = nil
		h.mu.Unlock()
		good.sync()
	}
}

// flood sends 1,000 frames at once, which is more than a client may send. It stops when the
// server closes the connection.
func flood(t *testing.T, b *tab, frame string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 1000 {
		if err := b.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
			return
		}
	}
}

// TestAnswersOutOfOrder answers events in another order than the server has sent them, answers one
// of them twice, and answers events that were never sent. It checks that the socket stays open and
// that each event counts as answered.
func TestAnswersOutOfOrder(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	tab := h.tab(ann, "tab")
	for i := range 4 {
		h.send(ann, thread, fmt.Sprint("m", i))
	}
	var all []notice
	for range 4 {
		all = append(all, tab.notice())
	}
	for _, i := range []int{3, 1, 1, 0, 2} {
		tab.answer(all[i], 200)
	}
	tab.say(`3:::{"id":99,"status":200}`)
	tab.say(`3:::{"id":"98","status":200}`)
	tab.say("6:::5")
	tab.say("4:::{}")
	tab.sync()
	tab.CloseNow()
	h.closed()
	h.tab(ann, "tab").sync()
}

// TestSidsAndParameters checks that a sid, the one-time id from a handshake, opens only one socket,
// on only one transport, and that parameters are refused if they are missing, changed, mixed with
// the parameters of another allocation, or issued by another server.
func TestSidsAndParameters(t *testing.T) {
	h := newHouse(t, nil)
	ann, bob := h.person(), h.person()
	a, b := h.allocate(ann, "tab"), h.allocate(bob, "tab")
	sid := h.handshake(a)
	c, _, err := h.dial(sid, a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	ws := &tab{h, a, c}
	ws.want("1::")
	ws.want("5:::*")
	ws.sync()
	for _, s := range []string{sid, "x", strings.Repeat("A", 32)} {
		if _, resp, err := h.dial(s, a.query()); err == nil || resp == nil || resp.StatusCode != 401 {
			t.Errorf("sid %.3s: %v", s, err)
		}
		for _, method := range []string{"GET", "POST"} {
			if resp, _ := h.do(method, "/socket.io/1/xhr-polling/"+s, "", "0::"); resp.StatusCode != 401 {
				t.Errorf("%s sid %.3s: %s", method, s, resp.Status)
			}
		}
	}
	ws.sync()
	mixed := a
	mixed.Params = map[string]string{"sr": a.Params["sr"], "sig": b.Params["sig"]}
	other := a
	other.epid = "other"
	changed := a
	changed.Params = map[string]string{"sr": a.Params["sr"], "sig": a.Params["sig"][:40] + "x" + a.Params["sig"][41:]}
	foreign := newHouse(t, nil)
	// a user of the other server, which has the same keys; this server does not know the user
	stranger := foreign.allocate(foreign.person(), "tab")
	for name, c := range map[string]struct {
		a     allocation
		token string
	}{
		"none": {allocation{epid: "tab"}, ""}, "mixed": {mixed, ""}, "of another endpoint": {other, ""}, "changed": {changed, ""},
		"with the token of another user": {a, bob.token}, "with a broken token": {a, "x"}, "of an unknown user": {stranger, ""},
	} {
		if resp, body := h.do("GET", "/socket.io/1/?"+c.a.query(), c.token, ""); resp.StatusCode != 401 {
			t.Errorf("parameters %s: %s %s", name, resp.Status, body)
		}
	}
	if resp, _ := h.do("GET", "/socket.io/1/?"+a.query(), ann.token, ""); resp.StatusCode != 200 {
		t.Errorf("parameters with their token: %s", resp.Status)
	}
	for name, tok := range map[string]string{"none": "", "broken": "x", "sealed": a.Params["sig"]} {
		if resp, _ := h.do("POST", "/v4/a?epid=tab", tok, ""); resp.StatusCode != 401 {
			t.Errorf("allocate with the token %s: %s", name, resp.Status)
		}
	}
	voip := h.token(ann.User, token.VoIP, time.Hour)
	if resp, _ := h.do("POST", "/v4/a?epid=tab", voip, ""); resp.StatusCode != 403 {
		t.Errorf("allocate without a chat scope: %s", resp.Status)
	}
	if resp, _ := h.do("POST", "/v4/a?epid="+strings.Repeat("x", 65), ann.token, ""); resp.StatusCode != 400 {
		t.Errorf("allocate for a long endpoint: %s", resp.Status)
	}
	if resp, _ := h.do("POST", "/v4/a", ann.token, ""); resp.StatusCode != 200 {
		t.Errorf("allocate for no endpoint: %s", resp.Status)
	}
	if resp, _ := h.do("GET", "/socket.io/1/websocket/"+h.handshake(a), "", ""); resp.StatusCode != 400 {
		t.Errorf("a plain GET: %s", resp.Status)
	}
}

// TestTooManySids makes more handshakes than a user may have unused sids (one-time ids), and checks
// that the last one is refused and that other users can still make a handshake.
func TestTooManySids(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	a := h.allocate(ann, "tab")
	for range 40 {
		h.handshake(a)
	}
	if resp, _ := h.do("GET", "/socket.io/1/?"+a.query(), "", ""); resp.StatusCode != 503 {
		t.Errorf("one sid too many: %s", resp.Status)
	}
	h.handshake(h.allocate(h.person(), "tab"))
}

// TestTooManySockets opens as many sockets as a user may have. It checks that an allocation
// for another endpoint is refused, and that an endpoint that already has a socket can replace
// it.
func TestTooManySockets(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	for i := range 20 {
		h.tab(ann, fmt.Sprint("tab", i))
	}
	if resp, body := h.do("POST", "/v4/a?epid=other", ann.token, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "10" {
		t.Errorf("one socket too many: %s %s", resp.Status, body)
	}
	h.tab(ann, "tab7").sync()
}

// TestEarlyFrames sends a WebSocket frame before the server has answered the upgrade request,
// and checks that the server closes the connection.
func TestEarlyFrames(t *testing.T) {
	h := newHouse(t, nil)
	a := h.allocate(h.person(), "tab")
	sid := h.handshake(a)
	c, err := tls.Dial("tcp", h.srv.Listener.Addr().String(), h.srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /socket.io/1/websocket/%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x83\x00\x00\x00\x002::", sid)
	var b bytes.Buffer
	b.ReadFrom(c)
	if strings.Contains(b.String(), "1::") {
		t.Errorf("got %q", b.String())
	}
	h.wantEnded(gateway.Hostile)
}

// TestLimits checks that the rate limits of a user apply to requests of this protocol.
func TestLimits(t *testing.T) {
	now := time.Now()
	still := func() time.Time { return now } // a clock that stands still, because the requests may take longer than the window of the limit
	h := newHouse(t, func(o *trouter.Options) { o.Limiter = limits.New(limits.Fair, still) })
	ann := h.person()
	for range 1001 {
		if resp, _ := h.do("GET", "/chat/config/realTimeNotifications", "", "", "Authorization", "Bearer "+ann.token); resp.StatusCode == 429 {
			if resp.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return
		}
	}
	t.Error("1001 requests are allowed")
}

// TestFaults injects faults as a development server does, and checks how the requests and
// connections of a client then end.
func TestFaults(t *testing.T) {
	faults := dev.NewFaults(limits.Operations())
	h := newHouse(t, func(o *trouter.Options) { o.Faults = faults })
	ann := h.person()
	add := func(f rest.Fault) {
		t.Helper()
		if _, err := faults.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	add(rest.Fault{Operation: "allocate live socket", Status: 503, RetryAfter: 1500 * time.Millisecond})
	if resp, _ := h.do("POST", "/v4/a?epid=tab", ann.token, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("allocate: %s", resp.Status)
	}
	for _, drop := range []rest.Drop{rest.DropBefore, rest.DropAfter} {
		add(rest.Fault{Operation: "register live client", Drop: drop})
		r, _ := http.NewRequestWithContext(t.Context(), "POST", h.srv.URL+"/v3/registrations", strings.NewReader("{}"))
		if resp, err := h.srv.Client().Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("drop %s: %s", drop, resp.Status)
		}
	}
	a := h.allocate(ann, "tab")
	add(rest.Fault{Operation: "open live socket", Status: 500})
	sid := h.handshake(a)
	if _, resp, err := h.dial(sid, a.query()); err == nil || resp.StatusCode != 500 {
		t.Errorf("open a socket: %v", err)
	}
	add(rest.Fault{Operation: "open live socket", Drop: rest.DropAfter})
	c, _, err := h.dial(sid, a.query()) // the sid, a one-time id, must still be valid after the refused request
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for {
		if _, err := (&tab{h, a, c}).read(); err != nil {
			break
		}
	}
	h.wantEnded(gateway.Dropped)
}
