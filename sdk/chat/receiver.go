package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

const (
	// silence is the time without a byte from the server after which a connection counts as dead:
	// three heartbeats (docs/events.md).
	silence = 45 * time.Second

	// renewBefore is the time before the expiry of its token at which a stream is replaced by a
	// stream with a new token. The credentials of package communication refresh a token at the same
	// time before its expiry.
	renewBefore = 2 * time.Minute

	// maxBroken is the number of streams in a row that may be broken, or have no token. The loop
	// then ends with an error.
	maxBroken = 8

	// maxDelay is the longest pause that a server can ask for.
	maxDelay = time.Hour

	// maxSeen is the number of events that may arrive on a stream while the next stream is opened.
	// If there are more, the next stream is given up and opened again later.
	maxSeen = 10_000
)

// receiver is the state of one loop over the events. All of it belongs to the goroutine of the loop.
// Each stream has a goroutine that reads and hands over messages, and the loop waits for their end.
type receiver struct {
	client  *Client
	threads string // ids, separated by commas; "" for all threads
	cursor  string // the place after the last event or heartbeat; "" before the first stream

	current *stream
	next    *stream          // replaces current when it is ready; usually nil
	renew   <-chan time.Time // when to open next
	retry   time.Duration    // when to open next again if it fails

	started  bool  // Started has been yielded
	failures int   // ends of streams in a row without progress
	broken   int   // ends in a row without progress that count against maxBroken
	last     error // why the last stream ended; nil while there is a stream
	streams  sync.WaitGroup
}

// eventKey identifies an event. Cursors do not: two streams may name one place differently. A typing
// indicator, which has no number, has a sender and a version.
type eventKey struct {
	thread          string
	number          int64
	sender, version string
}

// run yields events until the loop ends. It returns the error to yield last, or nil if the body of
// the loop has left the loop.
func (r *receiver) run(ctx context.Context, yield func(Event, error) bool) error {
	loop, cancel := context.WithCancel(ctx)
	defer r.streams.Wait()
	defer cancel()

	r.current = r.open(loop, pipeline.Request{})
	for {
		if err := ctx.Err(); err != nil {
			return pipeline.Interrupted(eventsOperation, err, r.last)
		}
		var event Event
		var err error
		select {
		case <-ctx.Done():
		case <-r.renew:
			r.renew = nil
			r.next = r.open(loop, pipeline.Request{NotToken: r.current.token})
		case m := <-r.next.messages():
			r.takeOver(m)
		case m := <-r.current.messages():
			event, err = r.take(m)
		}
		if err != nil {
			if err = r.reconnect(ctx, loop, err); err != nil {
				return err
			}
		}
		if event != nil && !yield(event, nil) {
			return nil
		}
	}
}

// open starts a stream after the cursor. The fields RefusedToken and NotToken of token name a token
// that must not be sent.
func (r *receiver) open(ctx context.Context, token pipeline.Request) *stream {
	query := url.Values{}
	if r.threads != "" {
		query.Set("threads", r.threads)
	}
	if r.cursor != "" {
		query.Set("cursor", r.cursor)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{out: make(chan message), start: r.cursor, close: cancel}
	r.streams.Go(func() {
		defer cancel()
		s.run(ctx, r.client.pipeline, pipeline.Request{
			Operation: eventsOperation, Method: http.MethodGet, Path: "/chat/events", Query: query,
			Status: http.StatusOK, NoVersion: true,
			RefusedToken: token.RefusedToken, NotToken: token.NotToken,
		})
	})
	return s
}

// take handles a message of the current stream. It returns the event to yield, or nil for a message
// without one, or the reason why the stream has ended.
func (r *receiver) take(m message) (Event, error) {
	switch {
	case m.err != nil:
		return nil, m.err
	case !r.current.ready():
		return r.start(m)
	}
	switch m.event {
	case "": // a heartbeat
		r.forgetTyping()
		if len(r.current.seen) == 0 { // otherwise the stream is at an earlier place than the cursor
			r.move(m.id)
		}
		return nil, nil
	case "bye":
		return nil, decodeBye(m.frame)
	case "hello":
		return nil, brokenf("a stream has a second hello")
	}
	cursor := m.id
	if cursor == "" {
		cursor = r.cursor
	}
	event, err := decodeEvent(m.frame, cursor)
	if err != nil {
		return nil, err
	}
	if _, ok := event.(Gap); ok {
		r.afterGap()
	}
	key := keyOf(event)
	if _, ok := r.current.seen[key]; ok {
		delete(r.current.seen, key) // the cursor stays: it may be further than this event
		return nil, nil
	}
	r.move(m.id)
	r.remember(key)
	return event, nil
}

// start handles the first message of the current stream. It returns the event Started for the first
// stream of the loop, and nil for later ones.
func (r *receiver) start(m message) (Event, error) {
	user, err := r.greet(r.current, m)
	if err != nil || r.started {
		return nil, err
	}
	r.started = true
	return Started{EventInfo{Cursor: r.cursor}, communication.ParseRawID(user)}, nil
}

// greet handles the first message of a stream, which must be hello, and returns the user that it
// names. It sets the time at which to replace the stream.
func (r *receiver) greet(s *stream, m message) (user string, err error) {
	if m.event != "hello" {
		return "", brokenf("the first message of a stream is %.40q", m.event)
	}
	var hello struct {
		User      string    `json:"user"`
		Cursor    string    `json:"cursor"`
		ExpiresOn time.Time `json:"expiresOn"`
	}
	if err := json.Unmarshal(m.data, &hello); err != nil {
		return "", brokenf("the data of hello: %v", err)
	}
	if hello.Cursor == "" {
		hello.Cursor = m.id
	}
	// If the cursor has moved since s was opened, another stream has moved it to a later place.
	if hello.Cursor != "" && r.cursor == s.start {
		r.cursor, s.start = hello.Cursor, hello.Cursor
	}
	s.token, s.since, r.last = m.token, time.Now(), nil
	r.renew = nil
	if left := hello.ExpiresOn.Sub(m.date); !hello.ExpiresOn.IsZero() && left > 0 {
		before := min(renewBefore, left/2)
		r.retry = max(before/8, time.Second)
		r.renew = time.After(left - pipeline.Jitter(before*3/4, before/4))
	}
	return hello.User, nil
}

// takeOver handles the first message of the next stream. If that is hello, the next stream becomes
// the current one. Otherwise the current stream stays, and the next one is opened again later: the
// current stream will end and tell the reason if there is no other token.
func (r *receiver) takeOver(m message) {
	err := m.err
	old, next := r.current, r.next
	if err == nil {
		_, err = r.greet(next, m)
	}
	if err != nil {
		r.postpone(err)
		return
	}
	r.current, r.next = next, nil
	old.close()
}

// postpone gives up the next stream, which has failed with err or is no longer useful. It is opened
// again later.
func (r *receiver) postpone(err error) {
	r.next.close()
	r.next = nil
	pause := r.retry
	var refusal *communication.Error
	if errors.As(err, &refusal) {
		pause = max(pause, refusal.RetryAfter)
	}
	r.renew = time.After(pipeline.Jitter(pause, pause/4))
}

// afterGap forgets the events that have been seen, because the numbers of a store that was put back
// repeat. It gives up the next stream, which begins before the gap.
func (r *receiver) afterGap() {
	r.current.seen = nil
	if r.next != nil {
		r.postpone(nil)
	}
}

// forgetTyping forgets the typing indicators that have been seen on the stream before. They are
// repeated soon, or not at all if they came before this stream was opened. While some are remembered,
// a heartbeat does not move the cursor.
func (r *receiver) forgetTyping() {
	for key := range r.current.seen {
		if key.number == 0 {
			delete(r.current.seen, key)
		}
	}
}

// remember notes an event that the next stream, which was opened before it, will send again.
func (r *receiver) remember(key eventKey) {
	if r.next == nil || key == (eventKey{}) {
		return
	}
	if len(r.next.seen) >= maxSeen {
		r.postpone(nil)
		return
	}
	if r.next.seen == nil {
		r.next.seen = map[eventKey]struct{}{}
	}
	r.next.seen[key] = struct{}{}
}

// keyOf returns the key of an event, and the zero key for one that cannot be recognized.
func keyOf(e Event) eventKey {
	i := e.Info()
	if t, ok := e.(TypingIndicatorReceived); ok {
		return eventKey{thread: i.ThreadID, sender: t.Sender.RawID(), version: t.Version}
	}
	if i.Number == 0 {
		return eventKey{}
	}
	return eventKey{thread: i.ThreadID, number: i.Number}
}

// move sets the cursor. If it moves, the stream has made progress.
func (r *receiver) move(id string) {
	if id != "" && id != r.cursor {
		r.cursor, r.failures, r.broken = id, 0, 0
	}
}

// reconnect opens another stream after the current one has ended with err, now or after a pause. It
// returns an error if the loop ends.
func (r *receiver) reconnect(ctx, loop context.Context, err error) error {
	ended := r.current
	ended.close()
	if r.next != nil && !final(err) {
		// The next stream is already being opened. If the server says "replaced", it means that
		// stream.
		r.current, r.next = r.next, nil
		return nil
	}
	if r.next != nil {
		r.next.close()
		r.next = nil
	}
	r.renew = nil
	if ended.ready() && time.Since(ended.since) > silence {
		r.failures = 0
	}
	if err := r.judge(err); err != nil {
		return err
	}
	pause, refused := r.pause(err)
	r.failures++
	r.last = err
	r.client.pipeline.Log(ctx, "confab event stream ended", slog.String("reason", err.Error()), slog.Duration("pause", pause))
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return nil // the loop returns the error of ctx
	}
	var token pipeline.Request
	if refused {
		token.RefusedToken = ended.token
	}
	r.current = r.open(loop, token)
	return nil
}

// final reports whether err ends the loop although another stream is being opened.
func final(err error) bool {
	var bye byeError
	return errors.As(err, &bye) && bye.reason == "deleted"
}

// judge counts the failure err. It returns the error with which the loop ends, or nil if the loop
// opens another stream.
func (r *receiver) judge(err error) error {
	var refusal *communication.Error
	var bye byeError
	var broken brokenError
	refused := errors.As(err, &refusal)
	counts := false
	switch {
	case errors.Is(err, pipeline.ErrSameToken): // the token of an open stream is sent again
	case errors.As(err, &bye):
		if named := byeErrors[bye.reason]; named != nil {
			return &communication.Error{Op: eventsOperation, Err: named}
		}
		counts = bye.refused()
	case errors.As(err, &broken), pipeline.NoToken(err):
		counts = true
	case refused && (refusal.StatusCode == http.StatusNotFound || refusal.StatusCode == http.StatusMethodNotAllowed):
		return pipeline.Named(refusal, ErrNoEventStream)
	case refused && refusal.StatusCode == http.StatusOK: // it is no event stream
		counts = true
	case refused && !pipeline.Temporary(err):
		return err
	}
	if counts {
		r.broken++
	}
	if r.broken < maxBroken {
		return nil
	}
	if refused {
		return err
	}
	return &communication.Error{Op: eventsOperation, Err: fmt.Errorf("%w (%d times in a row)", err, r.broken)}
}

// pause returns how long to wait after the failure err, and whether the server has refused the
// token of the stream.
func (r *receiver) pause(err error) (pause time.Duration, refused bool) {
	var delay time.Duration
	var refusal *communication.Error
	var bye byeError
	switch {
	case errors.As(err, &bye):
		delay, refused = bye.delay, bye.refused()
	case errors.As(err, &refusal):
		delay = refusal.RetryAfter
	}
	switch {
	case delay > 0:
		delay = min(delay, maxDelay)
		pause = pipeline.Jitter(delay, delay/4)
	case refused && r.failures == 0:
		return 0, true
	}
	if r.failures > 0 || delay == 0 {
		pause = max(pause, r.client.pipeline.Pause(r.failures))
	}
	return pause, refused
}

// byeError is the message with which the server ends a stream.
type byeError struct {
	reason string
	delay  time.Duration
}

// byeErrors are the errors of the loop for the reasons that end it (docs/events.md).
var byeErrors = map[string]error{
	"deleted":  ErrUserDeleted,
	"replaced": ErrStreamReplaced,
}

// Error returns the reason.
func (e byeError) Error() string { return "the server has ended the event stream: " + e.reason }

// refused reports whether the server no longer accepts the token of the stream.
func (e byeError) refused() bool { return e.reason == "expired" || e.reason == "revoked" }

func decodeBye(m frame) error {
	var bye struct {
		Reason string `json:"reason"`
		Delay  int64  `json:"delay"` // milliseconds
	}
	if err := json.Unmarshal(m.data, &bye); err != nil {
		return brokenf("the data of bye: %v", err)
	}
	delay := min(max(bye.Delay, 0), maxDelay.Milliseconds())
	return byeError{bye.Reason, time.Duration(delay) * time.Millisecond}
}

// stream is one connection. Its goroutine sends messages to out until the stream ends, and then the
// error. The other fields belong to the receiver.
type stream struct {
	out   chan message
	start string // the cursor at which it begins
	close context.CancelFunc
	token string    // set by hello; a secret
	since time.Time // time of hello

	// seen has the events that were yielded from the stream before, after this one was opened. This
	// one will send them again.
	seen map[eventKey]struct{}
}

// message is a message of a stream, or the error with which it ends.
type message struct {
	frame
	err error

	// Of the first message: the token of the stream, and the time by the server's clock.
	token string
	date  time.Time
}

// messages returns the channel of the messages, or nil if there is no stream.
func (s *stream) messages() <-chan message {
	if s == nil {
		return nil
	}
	return s.out
}

// ready reports whether the stream has sent hello.
func (s *stream) ready() bool { return !s.since.IsZero() }

// run opens the stream and sends its messages to s.out, then the error with which it ends. It
// returns early if ctx ends.
func (s *stream) run(ctx context.Context, client *pipeline.Client, request pipeline.Request) {
	err := s.read(ctx, client, request)
	s.send(ctx, message{err: err})
}

func (s *stream) send(ctx context.Context, m message) error {
	select {
	case s.out <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errSilent is the error of a stream on which nothing arrives.
var errSilent = errors.New("the event stream is silent")

func (s *stream) read(ctx context.Context, client *pipeline.Client, request pipeline.Request) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := silence
	if try := client.TryTimeout(); try > 0 {
		limit = min(limit, try)
	}
	timer := time.AfterFunc(limit, func() { cancel(errSilent) })
	defer timer.Stop()
	open, err := client.Open(ctx, request)
	timer.Stop()
	if err != nil {
		return cause(ctx, err)
	}
	// Close the body when ctx ends, for transports that do not end a read then.
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		open.Body.Close()
		close(closed)
	})
	defer func() {
		cancel(nil)
		<-closed
	}()
	first := message{token: open.Token, date: serverTime(open.Header)}
	frames := newFrameReader(&watchedReader{open.Body, timer})
	for {
		m, err := frames.next()
		if err != nil {
			return cause(ctx, err)
		}
		first.frame = m
		if err := s.send(ctx, first); err != nil {
			return err
		}
		first = message{}
	}
}

// cause returns errSilent if that has ended ctx, and otherwise err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); errors.Is(why, errSilent) {
		return why
	}
	return err
}

// serverTime returns the time of a response by the server's clock, or that of this machine if the
// response does not tell. The expiry of a token is a time by the server's clock.
func serverTime(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// watchedReader is the body of a stream. Its timer runs during a read only, so that a loop whose
// body takes long does not look like a silent server.
type watchedReader struct {
	body io.Reader
	idle *time.Timer
}

// Read reads from the body. If nothing arrives for the time silence, the timer ends the stream.
func (w *watchedReader) Read(p []byte) (int, error) {
	w.idle.Reset(silence)
	defer w.idle.Stop()
	return w.body.Read(p)
}
