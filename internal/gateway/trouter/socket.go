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

// Bounds of a socket.
const (
	maxUnanswered = 256       // events that the client has not answered
	maxFlying     = 512 << 10 // their bytes, or one event, whichever is more
	maxSpan       = 1024      // events since the oldest one that the client has not answered
	perSecond     = 50        // frames that a client may send in a second,
	perFrame      = 3         // and in addition for each event that it gets
	silence       = 100 * time.Second
	// answerTime is the time after which a client that is still there counts as having
	// answered an event.
	// Unverified: whether native clients answer; the browser build answers within 5 s.
	answerTime = 30 * time.Second
	// lingering is the time for which the old socket stays open in a hand-over. The browser
	// build closes it after 60 s.
	lingering = 75 * time.Second
)

// wire is the transport of a socket.
type wire interface {
	// frame appends a packet, which has two parts, in the transport's form.
	frame(b, head, tail []byte) []byte
	// write writes frames, or fails after Options.WriteTimeout if the client takes none. When
	// the client has taken them, it calls socket.taken with last.
	write(b []byte, last uint64) error
	// again writes frames that were refused before, besides write.
	again(b []byte) error
	// interrupt makes writes return soon.
	interrupt()
	// close closes the transport, without any words of its own if cut is set.
	close(cut bool)
}

// socket is one connection of an endpoint, and the sink of its session.
type socket struct {
	h         *Handler
	e         *endpoint
	session   *gateway.Session
	wire      wire
	path      string // of the connection's URL
	recipient string // as recipientField returns it

	// The mu of the endpoint guards these.
	timer      *time.Timer        // asks for another socket, or ends one that was replaced; may be nil
	last       uint64             // id of the last request
	byID       map[uint64]*flight // written and not answered
	sent       []*flight          // in the order of writing, from the oldest one that is not answered
	unanswered int
	bytes      int  // of what is unanswered
	waiting    bool // the session waits for answers
	handedOver bool // the client was asked to open another socket
	heard      bool // the client has sent a frame
	credit     int  // frames that the client may send besides perSecond
	second     time.Time
	frames     int // in the second that began at second

	mu     sync.Mutex // guards the fields below
	why    gateway.Reason
	record gateway.Record // for the access log, when the socket is closed; without Status: do not log
}

// openTime is the longest time that a socket may take to open when the store is silent.
const openTime = 13 * time.Second

// open opens the session of a socket at the place where its endpoint continues. It fails
// with a *refusal.
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
	o := gateway.SessionOptions{Protocol: gateway.Trouter}
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

// yield ends the socket of an endpoint whose client opens another one, so that the user's
// sessions suffice. It returns false if there is none.
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

// start writes the first frames of the socket, and then its events. Before the parameters
// of its allocation end, it asks the client for another socket, unless the token ends
// first.
func (s *socket) start(waited time.Duration, p params) {
	ends := p.issued.Add(paramsLife)
	ttl := ends.Sub(s.h.now())
	b := s.packet(nil, "1::")
	connected := `5:::{"name":"trouter.connected","args":[{"ttl":` + strconv.FormatInt(int64(ttl/time.Second), 10) +
		`,"dur":"` + strconv.FormatInt(waited.Milliseconds(), 10) + `"}]}`
	if !s.session.Start(s.packet(b, connected)) {
		s.detach(s.session.Why()) // again: it may have ended before the endpoint knew it
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

// setRecord sets the record for the access log, which is written when the socket is closed.
// Call it when the request is answered.
func (s *socket) setRecord(r gateway.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = r
	s.record.Took = time.Since(r.Time)
}

// abort ends a socket that was not started.
func (s *socket) abort(why gateway.Reason) {
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	s.session.End(why)
}

// mute reports whether the client has sent nothing.
func (s *socket) mute() bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return !s.heard
}

// handOver asks the client to open another socket. This one stays open until it has.
func (s *socket) handOver() {
	s.e.mu.Lock()
	s.handedOver = true
	s.e.mu.Unlock()
	s.session.Control(s.packet(nil, `5:::{"name":"trouter.reconnect","args":[{"target":"self"}]}`))
}

// replaced ends the socket because its client has opened another one: at once, or after
// some time if the client was asked to.
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

// Append implements gateway.Sink. It appends the request that brings an event. It appends
// nothing to a socket that was replaced, nor an event that the client has answered.
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
	case ev.Gap != 0: // this protocol cannot say it; the hub counts it
		e.breakOff(at)
		return b
	}
	f := &flight{at: at, lasting: ev.Position != 0}
	if f.lasting {
		e.reached = at
		if at.Epoch == e.low.Epoch && at.Position <= e.low.Position {
			return b // answered on the earlier socket while this one opened
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
	if f.socket != nil { // it was written to an earlier socket
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

// heads holds buffers for the parts of requests that are not shared.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// request appends the request that brings an event.
func (s *socket) request(b []byte, f *flight) []byte {
	head := heads.Get().(*[]byte)
	defer heads.Put(head)
	*head = appendHead((*head)[:0], f.id, f.event, s.path, s.recipient)
	return s.wire.frame(b, *head, f.event.Encoded(gateway.Trouter, encode))
}

// packet appends a packet.
func (s *socket) packet(b []byte, text string) []byte { return s.wire.frame(b, []byte(text), nil) }

// Full implements gateway.Sink. It reports whether the client must answer first.
func (s *socket) Full() bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.waiting = s.full()
	return s.waiting
}

// full reports whether the client must answer first. The caller holds the endpoint's mu.
func (s *socket) full() bool {
	n := len(s.e.flights)
	wide := n >= maxSpan && s.e.flights[n-1].at.Position <= s.e.reached.Position // else those come again that it has already
	return s.e.current == s && (s.unanswered >= maxUnanswered || s.bytes >= maxFlying || len(s.sent) >= maxSpan || wide)
}

// Write implements gateway.Sink.
func (s *socket) Write(b []byte) error {
	s.e.mu.Lock()
	last := s.last
	s.e.mu.Unlock()
	return s.wire.write(b, last)
}

// taken records that the requests up to the id last were written to the client.
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

// farewells has the packet that tells a client why its socket ends. For the other reasons
// the socket just closes.
var farewells = map[gateway.Reason]string{
	gateway.Expired:  `0:::{"reason":"unauthorized"}`,
	gateway.Revoked:  `0:::{"reason":"unauthorized"}`,
	gateway.Deleted:  `0:::{"reason":"unauthorized"}`,
	gateway.Replaced: `0:::dup`,
	gateway.Draining: `0::`,
	gateway.Away:     `0::`,
}

// End implements gateway.Sink.
func (s *socket) End(b []byte, why gateway.Reason) []byte {
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	if text := farewells[why]; text != "" {
		b = s.packet(b, text)
	}
	return b
}

// Close implements gateway.Sink.
func (s *socket) Close() {
	s.mu.Lock()
	why, record := s.why, s.record
	s.mu.Unlock()
	s.wire.close(why == gateway.Dropped)
	s.detach(why)
	s.h.saveSoon()
	if record.Status != 0 {
		record.Duration, record.Note = time.Since(record.Time), why.String()
		s.h.checks.Access(record)
	}
}

// detach tells the endpoint that the socket is closed, and deletes the endpoint's row if it is
// forgotten.
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

// receive handles a packet from the client. A client that breaks the rules loses its
// socket.
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

// alive records a frame from the client. It returns false if the client sends too many.
// Events that were written some time before count as answered.
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

// settled records that an event needs no answer any more. The caller holds the endpoint's
// mu.
func (s *socket) settled(f *flight) {
	delete(s.byID, f.id)
	s.e.answer(f)
	s.trim()
}

// trim removes the events from the front of s.sent that the client has answered, or that
// were written to a later socket. The caller holds the endpoint's mu.
func (s *socket) trim() {
	n := 0
	for n < len(s.sent) && (s.sent[n].answered || s.sent[n].socket != s) {
		n++
	}
	if s.sent = s.sent[n:]; len(s.sent) == 0 {
		s.sent = nil
	}
}

// enough reports whether the session waits for answers and has got enough of them. The caller
// holds the endpoint's mu, and calls Session.Wake afterwards.
func (s *socket) enough() bool {
	if s.waiting && !s.full() {
		s.waiting = false
		return true
	}
	return false
}

// answered handles the answer to a request. After status 504 the request is written once
// more; after a second 504 it stays unanswered, so that the next socket gets the event,
// unless the client stays for answerTime.
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
	case f == nil: // answered before, or after answerTime
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

// wakeNewest wakes the session of the newest socket if it waits for answers that have come
// on this one.
func (s *socket) wakeNewest() {
	s.e.mu.Lock()
	newest := s.e.current
	wake := newest != nil && newest.enough()
	s.e.mu.Unlock()
	if wake {
		newest.session.Wake()
	}
}

// event acknowledges an event that the client asks an answer for, whatever its name.
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
