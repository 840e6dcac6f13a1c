package trouter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/trouter"
)

// poller is a client that uses long polls.
type poller struct {
	h    *house
	a    allocation
	path string
}

// get sends a GET and returns the packets of the response.
func (p *poller) get() []string {
	p.h.t.Helper()
	resp, body := p.h.do("GET", p.path+"&t=1", "", "")
	if resp.StatusCode != 200 {
		p.h.t.Fatalf("GET: %s %s", resp.Status, body)
	}
	packets, err := trouter.ParsePayload(body)
	if err != nil {
		p.h.t.Fatal(err)
	}
	return packets
}

// post sends packets in a POST and returns the status of the response.
func (p *poller) post(body string) int {
	p.h.t.Helper()
	resp, _ := p.h.do("POST", p.path+"&t=1", "", body, "Content-Type", "text/plain;charset=UTF-8")
	return resp.StatusCode
}

// poller opens a socket over long polls for an endpoint of a user.
func (h *house) poller(u person, epid string) *poller {
	h.t.Helper()
	a := h.allocate(u, epid)
	p := &poller{h, a, "/socket.io/1/xhr-polling/" + h.handshake(a) + "?" + a.query()}
	if got := p.get(); len(got) != 2 || got[0] != "1::" || !strings.HasPrefix(got[1], `5:::{"name":"trouter.connected"`) {
		h.t.Fatalf("the first answer has %q", got)
	}
	return p
}

// TestPollingCompressed posts compressed packets, and checks that they are refused and that
// the connection stays usable.
func TestPollingCompressed(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	p := h.poller(ann, "tab")
	resp, text := h.do("POST", p.path+"&t=1", "", "0::", "Content-Type", "text/plain;charset=UTF-8", "Content-Encoding", "gzip")
	if resp.StatusCode != 415 || !strings.Contains(text, "The Content-Encoding gzip is not supported.") || resp.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("compressed packets: %s %s", resp.Status, text)
	}
	h.send(ann, thread, "still here")
	if got := p.get(); len(got) != 1 || noticeOf(t, got[0]).field("messageBody") != "still here" {
		t.Errorf("afterwards: %q", got)
	}
}

// TestPolling uses the protocol over long polls. It reads one event and several events in a
// response, sends one answer and several answers in a request, answers with status 504, leaves an
// event unanswered until the next socket, and closes the connection.
func TestPolling(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	thread := h.thread("plans", ann)
	p := h.poller(ann, "tab")
	h.send(ann, thread, "안녕 😀")
	one := p.get()
	if len(one) != 1 || noticeOf(t, one[0]).field("messageBody") != "안녕 😀" {
		t.Fatalf("got %q", one)
	}
	if got := p.post(fmt.Sprintf(`3:::{"id":%d,"status":504}`, noticeOf(t, one[0]).ID)); got != 200 {
		t.Errorf("POST: %d", got)
	}
	if again := p.get(); len(again) != 1 || again[0] != one[0] {
		t.Errorf("got %q, want the event again", again)
	}
	h.send(ann, thread, "two")
	h.send(ann, thread, "three")
	var got []string
	for len(got) < 2 {
		got = append(got, p.get()...)
	}
	var answers []byte
	for _, packet := range []string{one[0], got[0]} {
		answers = trouter.AppendPayload(answers, fmt.Appendf(nil, `3:::{"id":%d,"status":200,"headers":{"x":"é"},"body":""}`, noticeOf(t, packet).ID), nil)
	}
	answers = trouter.AppendPayload(answers, []byte(`5:1+::{"name":"ping"}`), nil)
	if got := p.post(string(answers)); got != 200 {
		t.Errorf("POST: %d", got)
	}
	if got := p.get(); len(got) != 1 || got[0] != `6:::1+["pong"]` {
		t.Errorf("got %q", got)
	}
	if got := p.post("0::"); got != 200 {
		t.Errorf("POST: %d", got)
	}
	h.closed()
	if resp, _ := h.do("GET", p.path, "", ""); resp.StatusCode != 401 {
		t.Errorf("a GET after the end: %s", resp.Status)
	}
	h.tab(ann, "tab").message("three", 200)
}

// TestPollingEnds checks that a polling client is told why its connection ends.
func TestPollingEnds(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	p := h.poller(ann, "tab")
	if err := h.core.RevokeTokens(t.Context(), ann.ID); err != nil {
		t.Fatal(err)
	}
	if got := p.get(); len(got) != 1 || got[0] != `0:::{"reason":"unauthorized"}` {
		t.Errorf("got %q", got)
	}
	h.closed()
	if got := p.post("0::"); got != 200 && got != 401 {
		t.Errorf("POST: %d", got)
	}
}

// TestHostilePolls posts broken payloads and checks that the server ends the connection.
func TestHostilePolls(t *testing.T) {
	h := newHouse(t, nil)
	for _, body := range []string{"\ufffd5\ufffdx", "garbage", strings.Repeat("x", 17<<10), "\xff"} {
		p := h.poller(h.person(), "tab")
		p.post(body)
		h.closed()
	}
	h.until("four connections have ended as hostile", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		n := 0
		for _, r := range h.records {
			if r.Path == "/socket.io/1/xhr-polling/{id}" && r.Note == gateway.Hostile.String() && r.Status == 200 {
				n++
			}
		}
		return n == 4
	})
}

// TestMuteWebSocket opens a WebSocket and sends nothing on it, then uses its sid (one-time id) for
// long polls, as the browser build does if a proxy delays frames. It checks that the WebSocket
// ends. TestSidsAndParameters tests the sid of a WebSocket on which the client has sent something.
func TestMuteWebSocket(t *testing.T) {
	h := newHouse(t, nil)
	ann := h.person()
	a := h.allocate(ann, "tab")
	sid := h.handshake(a)
	c, _, err := h.dial(sid, a.query())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	ws := &tab{h, a, c}
	ws.want("1::")
	ws.want("5:::*")
	p := &poller{h, a, "/socket.io/1/xhr-polling/" + sid + "?" + a.query()}
	if got := p.get(); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	ws.want("0:::dup")
	ws.wantClosed()

}
