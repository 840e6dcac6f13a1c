package trouter

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/why"
)

// pollTime is the time after which the server answers a long poll even if there is no event.
// The browser build waits for 40 s.
const pollTime = 30 * time.Second

// poll is the transport of a socket over long polls (docs/contract/realtime.md §9). Packets that
// were written wait in memory for the client's next GET.
type poll struct {
	socket *socket
	sid    string
	h      *Handler
	room   chan struct{} // has capacity 1; an element tells write that the client has taken the waiting packets
	ready  chan struct{} // has capacity 1; an element tells get that packets wait or that the transport is closed

	mu          sync.Mutex    // guards the fields below
	waits       []byte        // the packets that wait for the client's next GET, in the form of a payload
	last        uint64        // id of the last request that was written to the transport
	turn        chan struct{} // closed when the client's next GET arrives; nil before the first GET
	quiet       *time.Timer   // ends the socket if the client sends no request for the time silence
	interrupted bool
	closed      bool
}

// poll serves the long polls of a client: a GET waits for packets from the server, and a POST
// brings packets from the client. The first GET with a sid, the one-time id from a handshake, opens
// the socket.
func (h *Handler) poll(req *request) error {
	if !h.o.Polling {
		return &refusal{Status: http.StatusNotFound, Message: "polling is not offered",
			Why: why.Because(why.NotServed, "problem", "Long polls need one server, and several may share this database.")}
	}
	p := h.sids.poll(req.id)
	if p == nil && req.Method == http.MethodGet {
		var err error
		if p, err = h.openPoll(req); err != nil {
			return err
		}
	}
	if p == nil {
		return requests.Unauthorized("sid refused", why.Because(why.LiveSid))
	}
	req.record.User = p.socket.session.Claims().User
	req.silent = true
	p.renew()
	if req.Method == http.MethodPost {
		return p.post(req)
	}
	return p.get(req)
}

// openPoll opens a socket for long polls with a sid, the one-time id from a handshake.
func (h *Handler) openPoll(req *request) (*poll, error) {
	if err := h.fault(req); err != nil {
		return nil, err
	}
	pending, mute := h.sids.takePoll(req.id)
	if pending == nil {
		return nil, requests.Unauthorized("sid refused", why.Because(why.LiveSid))
	}
	if mute != nil {
		mute.session.End(gateway.Replaced)
	}
	p := &poll{sid: pending.sid, h: h, room: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
	s := &socket{wire: p, from: req.record.Client, agent: req.record.UserAgent}
	p.socket = s
	req.record.User = pending.claims.User
	if err := h.allow(req, pending.claims.User); err != nil {
		return nil, err
	}
	if err := h.open(req.Context(), pending.claims, pending.params, s); err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.quiet = time.AfterFunc(silence, func() { s.session.End(gateway.Silent) })
	p.mu.Unlock()
	record := req.record
	record.Status = http.StatusOK
	s.setRecord(record)
	h.opened(record)
	h.sids.addPoll(p.sid, p)
	s.start(time.Since(pending.made), pending.params)
	if req.drop {
		s.session.End(gateway.Dropped)
	}
	return p, nil
}

// renew restarts the timer that ends the socket if the client sends no request for the time
// silence.
func (p *poll) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.quiet.Reset(silence)
	}
}

// get responds to a GET with the waiting packets, as soon as there are any. After pollTime, or when
// the client sends another GET, it responds with a packet without meaning.
func (p *poll) get(req *request) error {
	// ignore the error: only a response recorder in a test cannot set a deadline
	http.NewResponseController(req.w).SetWriteDeadline(time.Now().Add(pollTime + p.h.o.WriteTimeout))
	turn := p.takeTurn()
	timer := time.NewTimer(pollTime)
	defer timer.Stop()
	for {
		b, last, over := p.take()
		if len(b) > 0 {
			err := p.answer(req, b)
			p.socket.taken(last)
			return err
		}
		if over {
			p.h.sids.removePoll(p.sid)
			return requests.Unauthorized("the connection has ended", why.Because(why.LiveEnded))
		}
		select {
		case <-p.ready:
		case <-turn:
			return p.answer(req, []byte{noop, ':', ':'})
		case <-timer.C:
			return p.answer(req, []byte{noop, ':', ':'})
		case <-req.Context().Done():
			return p.answer(req, nil)
		}
	}
}

// takeTurn makes the client's earlier GET return, if one waits. It returns a channel that is
// closed when the client sends a later GET.
func (p *poll) takeTurn() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turn != nil {
		close(p.turn)
	}
	p.turn = make(chan struct{})
	return p.turn
}

// take removes and returns the waiting packets, with the id of the last request that was written to
// the transport. over is true if the transport is closed, so that no packets will follow.
func (p *poll) take() (b []byte, last uint64, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, p.waits = p.waits, nil
	if len(b) > 0 {
		signal(p.room)
	}
	return b, p.last, p.closed
}

// answer writes b, the payload of packets, as the response to a GET. If there is only one packet,
// it writes the packet without its length.
func (p *poll) answer(req *request, b []byte) error {
	if packets, err := parsePayload(string(b)); err == nil && len(packets) == 1 {
		b = []byte(packets[0])
	}
	req.respond(http.StatusOK, "text/plain; charset=utf-8", b)
	return nil
}

// post handles the packets in the body of a client's POST.
func (p *poll) post(req *request) error {
	b, err := req.readBody()
	if errors.As(err, new(*refusal)) {
		return err
	}
	if err != nil {
		p.socket.session.End(gateway.Hostile)
		return &refusal{Status: http.StatusRequestEntityTooLarge, Message: "the packets are too long or did not arrive",
			Why: why.Because(why.LiveFrame, "problem", "the packets are too long or did not arrive")}
	}
	packets, err := parsePayload(string(b))
	if err != nil {
		p.socket.session.End(gateway.Hostile)
		return requests.BadRequest(err.Error(), why.Because(why.LiveFrame, "problem", err.Error()))
	}
	for _, text := range packets {
		p.socket.receive(text)
	}
	req.respond(http.StatusOK, "text/plain; charset=utf-8", []byte("1"))
	return nil
}

// frame implements wire. It appends a packet in the form of a polling payload.
func (p *poll) frame(b, head, tail []byte) []byte { return appendPayload(b, head, tail) }

// write implements wire. It waits until the client has taken all earlier packets.
func (p *poll) write(b []byte, last uint64) error {
	timer := time.NewTimer(p.h.o.WriteTimeout)
	defer timer.Stop()
	for !p.put(b, last) {
		select {
		case <-p.room:
		case <-timer.C:
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// again implements wire. Unlike write it does not wait for the client, because it runs during
// a POST of the client, which must get its response.
func (p *poll) again(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(b)
	return nil
}

// put adds the packets in b to the packets that wait for the client's next GET. If packets wait
// already, it adds nothing and returns false, unless the socket is about to end.
func (p *poll) put(b []byte, last uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waits) > 0 && !p.interrupted {
		return false
	}
	p.last = last
	p.add(b)
	return true
}

// add adds the packets in b to the packets that wait for the client's next GET. The caller holds
// p.mu.
func (p *poll) add(b []byte) {
	p.waits = append(p.waits, b...)
	signal(p.ready)
}

// interrupt implements wire. It makes a running write, which waits for the client, return at once
// without an error.
func (p *poll) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted = true
	signal(p.room)
}

// close implements wire. For the time sidLife the client can still take the last packets with a
// GET.
func (p *poll) close(bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	signal(p.ready)
	if p.quiet != nil {
		p.quiet.Stop()
	}
	time.AfterFunc(sidLife, func() { p.h.sids.removePoll(p.sid) })
}

// signal sends to a channel of capacity 1 without blocking. It does nothing if the channel is
// full.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
