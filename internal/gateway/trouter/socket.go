package trouter

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/token"
)

// Limits on the events that a socket may hold and on the frames that its client may send.
const (
	maxUnanswered = 256       // maximum number of events that the client may leave unanswered
	maxFlying     = 512 << 10 // maximum number of bytes of unanswered events; a single event may be larger
	// maximum number of events written since the oldest unanswered event, counting that event too
	maxSpan   = 1024
	perSecond = 50 // maximum number of frames that a client may send in a second
	perFrame  = 3  // number of further frames that a client may send for each event that it gets
	silence   = 100 * time.Second
	// answerTime is the time after which an event counts as answered if the client still sends
	// frames but has not answered it.
	// Unverified: whether native clients answer; the browser build answers within 5 s.
	answerTime = 30 * time.Second
	// lingering is how long a socket stays open after its client has opened another one because the
	// server has asked it to. The browser build closes the old socket after 60 s.
	lingering = 75 * time.Second
)

// wire is the transport of a socket: a WebSocket or long polls.
type wire interface {
	// frame appends to b the packet that consists of head and tail, in the form of the
	// transport.
	frame(b, head, tail []byte) []byte
	// write sends frames to the client. It fails if the client reads no byte for the time
	// Options.WriteTimeout. When the client has received the frames, the transport calls
	// socket.taken(last).
	write(b []byte, last uint64) error
	// again sends frames a second time, after the client has refused them. It may be called while
	// the method write runs.
	again(b []byte) error
	// interrupt makes a running write, and each later write, return soon.
	interrupt()
	// close closes the transport. If cut is true, it closes the connection without a close
	// frame.
	close(cut bool)
}

// socket is one connection of an endpoint. It is the gateway.Sink of a session.
type socket struct {
	h         *Handler
	e         *endpoint
	session   *gateway.Session
	wire      wire
	path      string // path of the connection's URL
	recipient string // the part of a packet that names the user, as recipientField returns it
	from      string // the address of the client
	agent     string // the client's User-Agent

	// The mutex mu of the endpoint guards the fields from timer to frames.

	// asks the client for another socket, or ends the socket after it was replaced; may be nil
	timer *time.Timer
	last  uint64             // id of the last request with which an event was sent to the client
	byID  map[uint64]*flight // events that the client has not answered, by the id of their request
	// events in the order in which they were written, from the oldest unanswered event on
	sent       []*flight
	unanswered int
	bytes      int  // size of the unanswered events
	waiting    bool // the session waits for answers
	handedOver bool // true if the client was asked to open another socket
	heard      bool // true if the client has sent a frame
	credit     int  // number of frames that the client may send in addition to perSecond
	second     time.Time
	frames     int // number of frames that the client has sent in the second that began at the time second

	mu     sync.Mutex // guards the fields below
	why    gateway.Reason
	record gateway.Record // the record for the access log when the socket is closed; not written if its Status is 0
}

// openTime is the longest time for which the server tries to open a socket while the store
// does not respond.
const openTime = 13 * time.Second

// open opens the session of the socket s, at the cursor up to which the client of its endpoint
// has answered all events. It makes s the endpoint's current socket. It fails with a *refusal.
func (h *Handler) open(ctx context.Context, c token.Claims, p params, s *socket) error {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	e := h.endpoints.lock(c.User, p.endpoint)
	defer e.opening.Unlock()
	defer h.endpoints.settle(e, h.saveSoon)
	s.h, s.e = h, e
	s.path, s.recipient = pathOf(p.connection), recipientField(c.User)
	from, known, err := h.endpoints.load(ctx, e, p, h.now())
	if err != nil {
		return requests.Away(ctx, err)
	}
	start := &from
	if !known {
		h.stats.forgotten.Add(1)
		start = nil
	}
	o := gateway.SessionOptions{Protocol: gateway.Trouter, From: s.from, Agent: s.agent}
	s.session, err = h.hub.Open(ctx, c, start, o, s)
	if why := reasonOf(err); why == gateway.UserFull && h.yield(ctx, e) {
		s.session, err = h.hub.Open(ctx, c, start, o, s)
	}
	if err != nil {
		return refused(err)
	}
	at := s.session.At()
	if err := h.endpoints.create(ctx, e, at, h.now()); err != nil {
		s.session.End(gateway.Away)
		return requests.Away(ctx, err)
	}
	h.log.Debug("a socket opens", "user", c.User, "endpoint", e.id, "after", at.Position, "known", known)
	if older := e.attach(s, at, h.now()); older != nil {
		older.replaced()
	}
	return nil
}

// yield ends the present socket of an endpoint, so that the client can open another one even if its
// user has the maximum number of sessions. It returns false if the endpoint has no socket.
func (h *Handler) yield(ctx context.Context, e *endpoint) bool {
	e.mu.Lock()
	s := e.current
	e.mu.Unlock()
	if s == nil {
		return false
	}
	s.session.End(gateway.Replaced)
	select {
	case <-s.session.Done():
	case <-ctx.Done():
	}
	return true
}

// start writes the first two packets of the socket and then lets the session write events. If
// the token stays valid for longer than the allocation, start sets a timer that asks the
// client for another socket shortly before the allocation expires.
func (s *socket) start(waited time.Duration, p params) {
	ends := p.issued.Add(paramsLife)
	ttl := ends.Sub(s.h.now())
	b := s.packet(nil, "1::")
	connected := `5:::{"name":"trouter.connected","args":[{"ttl":` + strconv.FormatInt(int64(ttl/time.Second), 10) +
		`,"dur":"` + strconv.FormatInt(waited.Milliseconds(), 10) + `"}]}`
	if !s.session.Start(s.packet(b, connected)) {
		// detach again, because the session may have ended before it became the endpoint's socket
		s.detach(s.session.Why())
		return
	}
	if ends.Before(s.session.Claims().Expires) {
		s.e.mu.Lock()
		defer s.e.mu.Unlock()
		if s.e.current == s {
			s.timer = time.AfterFunc(ttl-overlap, s.handOver)
		}
	}
}

// setRecord sets the record that is written to the access log when the socket is closed. Call
// it when the request that opens the socket is answered.
func (s *socket) setRecord(r gateway.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = r
	s.record.Took = time.Since(r.Time)
}

// abort ends a socket for which start was not called.
func (s *socket) abort(why gateway.Reason) {
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	s.session.End(why)
}

// mute reports whether the client has sent no frame on this socket yet.
func (s *socket) mute() bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return !s.heard
}

// handOver asks the client to open another socket. This socket stays open until the client has
// done so.
func (s *socket) handOver() {
	s.e.mu.Lock()
	s.handedOver = true
	s.e.mu.Unlock()
	s.session.Control(s.packet(nil, `5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`))
}

// replaced ends the socket because its client has opened another one. If the server had asked the
// client to open another one, the socket ends after the time lingering, and otherwise at once.
func (s *socket) replaced() {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	wait := time.Duration(0)
	if s.handedOver {
		wait = lingering
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(wait, func() { s.session.End(gateway.Replaced) })
}

// Append implements gateway.Sink. It appends the packet that brings an event to the client. It
// appends nothing if the client has a newer socket or has answered the event already.
func (s *socket) Append(b []byte, ev *gateway.Event, at core.Cursor) []byte {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.current != s:
		return b
	case ev == nil:
		e.reached = at
		e.settle()
		return b
	case ev.Gap != 0: // this protocol has no packet for a gap (missing events); the hub counts the gap
		e.breakOff(at)
		return b
	}
	f := &flight{at: at, lasting: ev.Position != 0}
	if f.lasting {
		e.reached = at
		if at.Epoch == e.low.Epoch && at.Position <= e.low.Position {
			return b // the client has answered the event on its earlier socket while this socket was opening
		}
		i, found := e.find(at.Position)
		if found {
			f = e.flights[i]
			f.at = at
		} else {
			e.flights = append(e.flights, nil)
			copy(e.flights[i+1:], e.flights[i:])
			e.flights[i] = f
		}
		if f.answered {
			e.settle()
			return b
		}
	}
	if f.socket != nil { // an earlier socket has written this event before
		f.socket.unanswered--
		f.socket.bytes -= f.size
	}
	s.last++
	f.socket, f.id, f.event, f.written = s, s.last, ev, time.Time{}
	was := len(b)
	b = s.request(b, f)
	f.size = len(b) - was
	e.settle()
	s.unanswered, s.bytes, s.credit = s.unanswered+1, s.bytes+f.size, min(s.credit+perFrame, perFrame*maxSpan)
	if s.byID == nil {
		s.byID = map[uint64]*flight{}
	}
	s.byID[f.id] = f
	s.sent = append(s.sent, f)
	return b
}

// heads holds buffers for the first parts of packets, which name the recipient of an event.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// request appends to b the packet that brings the event f.event to the client.
func (s *socket) request(b []byte, f *flight) []byte {
	head := heads.Get().(*[]byte)
	defer heads.Put(head)
	*head = appendHead((*head)[:0], f.id, f.event, s.path, s.recipient)
	return s.wire.frame(b, *head, f.event.Encoded(gateway.Trouter, encode))
}

// packet appends a packet with this text to b, in the form that the transport sends.
func (s *socket) packet(b []byte, text string) []byte { return s.wire.frame(b, []byte(text), nil) }

// Full implements gateway.Sink. It reports whether the client must answer events before it
// gets more.
func (s *socket) Full() bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.waiting = s.full()
	return s.waiting
}

// full reports whether the client must answer events before it gets more. The caller holds the
// mu of the endpoint.
func (s *socket) full() bool {
	n := len(s.e.flights)
	// if reached is smaller, flights has events that the session must still write, so it must not
	// wait
	wide := n >= maxSpan && s.e.flights[n-1].at.Position <= s.e.reached.Position
	return s.e.current == s && (s.unanswered >= maxUnanswered || s.bytes >= maxFlying || len(s.sent) >= maxSpan || wide)
}

// Write implements gateway.Sink. It sends the packets in b to the client.
func (s *socket) Write(b []byte) error {
	s.e.mu.Lock()
	last := s.last
	s.e.mu.Unlock()
	return s.wire.write(b, last)
}

// taken records the present time as the time at which the requests with ids up to last were written
// to the client.
func (s *socket) taken(last uint64) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	now := time.Now()
	for i := len(s.sent) - 1; i >= 0; i-- {
		switch f := s.sent[i]; {
		case f.socket != s || f.id > last:
		case f.written.IsZero():
			f.written = now
		default:
			return
		}
	}
}

// Interrupt implements gateway.Interrupter.
func (s *socket) Interrupt() { s.wire.interrupt() }

// farewells maps reasons for the end of a socket to the packet that tells the client. For
// other reasons the socket is closed without such a packet.
var farewells = map[gateway.Reason]string{
	gateway.Expired:  `0:::{"reason":"unauthorized"}`,
	gateway.Revoked:  `0:::{"reason":"unauthorized"}`,
	gateway.Deleted:  `0:::{"reason":"unauthorized"}`,
	gateway.Replaced: `0:::dup`,
	gateway.Draining: `0::`,
	gateway.Away:     `0::`,
}

// End implements gateway.Sink. It appends the packet that tells the client why the socket
// ends, if there is one.
func (s *socket) End(b []byte, why gateway.Reason) []byte {
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	if text := farewells[why]; text != "" {
		b = s.packet(b, text)
	}
	return b
}

// Close implements gateway.Sink. It closes the transport and writes the access record.
func (s *socket) Close() {
	s.mu.Lock()
	why, record := s.why, s.record
	s.mu.Unlock()
	s.wire.close(why == gateway.Dropped)
	s.detach(why)
	s.h.saveSoon()
	if record.Status != 0 {
		record.Duration, record.Note, record.Ended = time.Since(record.Time), why.String(), true
		s.h.checks.Access(record)
	}
}

// detach tells the endpoint that the socket is closed, for the reason why. It deletes the
// endpoint's row if the user was deleted or the client has unregistered.
func (s *socket) detach(why gateway.Reason) {
	if !s.e.detach(s, why) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeEvery)
	defer cancel()
	if err := s.h.endpoints.deleteRow(ctx, s.e.user, s.e.id); err != nil {
		s.h.log.Error("forget a client that has unregistered or whose user was deleted", "error", err)
	}
}

// receive handles a packet from the client. It ends the socket if the client breaks the rules
// of the protocol.
func (s *socket) receive(text string) {
	if !s.alive() {
		s.session.End(gateway.Hostile)
		return
	}
	p, err := parsePacket(text)
	if err != nil {
		s.session.End(gateway.Hostile)
		return
	}
	switch p.kind {
	case disconnect:
		s.session.End(gateway.Gone)
	case message:
		s.answered(p.data)
	case event:
		s.event(p)
	}
}

// alive records that the client has sent a frame. It returns false if the client sends too many
// frames. It marks events that were written at least answerTime ago as answered.
func (s *socket) alive() bool {
	now := time.Now()
	s.e.mu.Lock()
	s.heard, s.e.seen = true, s.h.now()
	if now.Sub(s.second) >= time.Second {
		s.second, s.frames = now, 0
	}
	ok := true
	switch {
	case s.frames < perSecond:
		s.frames++
	case s.credit > 0:
		s.credit--
	default:
		ok = false
	}
	s.trim()
	for len(s.sent) > 0 && !s.sent[0].written.IsZero() && now.Sub(s.sent[0].written) >= answerTime {
		s.settled(s.sent[0])
	}
	wake := s.enough()
	s.e.mu.Unlock()
	if wake {
		s.session.Wake()
	}
	return ok
}

// settled records that the server no longer waits for the client's answer to the event f. The
// caller holds the mu of the endpoint.
func (s *socket) settled(f *flight) {
	delete(s.byID, f.id)
	s.e.answer(f)
	s.trim()
}

// trim removes events from the front of s.sent: those that the client has answered, and those that
// were written again to a later socket. The caller holds the mu of the endpoint.
func (s *socket) trim() {
	n := 0
	for n < len(s.sent) && (s.sent[n].answered || s.sent[n].socket != s) {
		n++
	}
	if s.sent = s.sent[n:]; len(s.sent) == 0 {
		s.sent = nil
	}
}

// enough reports whether the session waits for answers and the client has now sent enough answers.
// If so, the caller must call Session.Wake. The caller holds the mu of the endpoint.
func (s *socket) enough() bool {
	if s.waiting && !s.full() {
		s.waiting = false
		return true
	}
	return false
}

// answered handles the client's answer to an event. After status 504 the event is written once
// more. After a second 504 it stays unanswered, so the client's next socket gets it again, unless
// the client stays on this socket for answerTime.
func (s *socket) answered(text string) {
	a, ok := readAnswer(text)
	if !ok {
		s.session.End(gateway.Hostile)
		return
	}
	s.e.mu.Lock()
	f := s.byID[a.id]
	var again []byte
	switch {
	case f == nil: // the client has answered the event before, or answerTime has passed
	case a.status != 504:
		s.settled(f)
	case !f.again && f.event != nil && s.e.current == s && f.socket == s && s.session.Why() == 0:
		f.again = true
		again = s.request(nil, f)
	}
	if f != nil && f.socket != s && a.status != 504 {
		defer s.wakeNewest()
	}
	wake := s.enough()
	s.e.mu.Unlock()
	if f != nil && a.status == 404 {
		s.h.stats.unhandled.Add(1)
		s.h.log.Debug("a client has no handler for an event", "user", s.session.Claims().User, "request", a.id)
	}
	if again != nil {
		s.h.stats.again.Add(1)
		if err := s.wire.again(again); err != nil {
			s.session.End(gateway.WhyOf(err))
		}
	}
	if wake {
		s.session.Wake()
	}
}

// wakeNewest wakes the session of the endpoint's newest socket if that session waits for answers
// that the client has sent on this older socket.
func (s *socket) wakeNewest() {
	s.e.mu.Lock()
	newest := s.e.current
	wake := newest != nil && newest.enough()
	s.e.mu.Unlock()
	if wake {
		newest.session.Wake()
	}
}

// event acknowledges an event that a client has sent, if the client asks for an acknowledgement. It
// ignores the event's name, except that it answers "pong" to a ping.
func (s *socket) event(p packet) {
	name, ok := readName(p.data)
	if !ok {
		s.session.End(gateway.Hostile)
		return
	}
	if p.id == "" {
		return
	}
	text := "6:::" + p.id
	switch {
	case p.ack && name == "ping":
		text += `+["pong"]`
	case p.ack:
		text += `+["ok"]`
	}
	s.session.Control(s.packet(nil, text))
}
