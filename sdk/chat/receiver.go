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
	// silence is the time after which a connection counts as dead if no byte arrives from the
	// server. It is three times the interval of heartbeats (docs/events.md).
	silence = 45 * time.Second

	// renewBefore is how long before its token expires a stream is replaced by a stream with a new
	// token. The credentials of package communication refresh a token at the same time before its
	// expiry.
	renewBefore = 2 * time.Minute

	// maxBroken is the number of failures in a row after which the loop ends with an error. Only
	// damaged streams, refused tokens and failures to get a token count; lost connections do not.
	maxBroken = 8

	// maxDelay is the longest pause before the next connection that the client accepts from a
	// server.
	maxDelay = time.Hour

	// maxSeen is the maximum number of events that may arrive on the current stream while the next
	// stream is opened. If more arrive, the client closes the next stream and opens it again later.
	maxSeen = 10_000
)

// receiver is the state of one loop over Client.Events. Only the goroutine of the loop uses it.
// Each stream has a goroutine that reads messages and sends them to the loop; run waits until these
// goroutines have ended.
type receiver struct {
	client  *Client
	threads string // ids of the threads whose events are received, separated by commas; "" for all threads
	cursor  string // cursor of the last event or heartbeat that was received; "" before the first stream

	current *stream
	next    *stream          // the stream that will replace the current one when it is ready; nil most of the time
	renew   <-chan time.Time // receives a value when it is time to open the next stream
	retry   time.Duration    // how long to wait before the next stream is opened again if it fails

	started  bool  // Started has been yielded
	failures int   // number of streams in a row that ended without a new event or cursor
	broken   int   // number of streams in a row whose failures count towards the limit maxBroken
	last     error // the error with which the last stream ended; nil while a stream is open
	streams  sync.WaitGroup
}

// eventKey identifies an event, so that an event that two streams send is yielded once. Cursors
// cannot identify events, because two streams may send the same event with different cursors. A
// typing indicator has no number: its key has the sender and the version.
type eventKey struct {
	thread          string
	number          int64
	sender, version string
}

// run opens streams and yields their events until the loop ends. It returns the error to yield
// last, or nil if yield returned false because the program has left the loop.
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

// open starts a goroutine that opens a stream after the cursor and reads the stream. It uses only
// two fields of token: RefusedToken and NotToken, which contain a token that the stream must not
// use.
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

// take handles a message of the current stream. It returns the event to yield, or nil if there is
// no event to yield. It returns an error if the stream has ended or is damaged.
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
		if len(r.current.seen) == 0 { // if seen is not empty, the stream still repeats events from before the cursor: leave the cursor there
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
		delete(r.current.seen, key) // this event was already yielded: drop it, and do not move the cursor back
		return nil, nil
	}
	r.move(m.id)
	r.remember(key)
	return event, nil
}

// start handles the first message of the current event stream. It returns the event Started for the
// first stream of the loop, and nil for a later stream.
func (r *receiver) start(m message) (Event, error) {
	user, err := r.greet(r.current, m)
	if err != nil || r.started {
		return nil, err
	}
	r.started = true
	return Started{EventInfo{Cursor: r.cursor}, communication.ParseRawID(user)}, nil
}

// greet handles the first message of the stream s, which must be hello, and returns the user that
// hello names. If hello has an expiry, greet sets the timer that replaces the stream before the
// expiry.
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
	// Take the cursor from the message hello, unless the receiver's cursor has changed since the
	// stream s was opened. Another stream has then set it to a later event.
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

// takeOver handles the first message of the next stream. If the message is hello, the next stream
// becomes the current stream, and the old stream is closed. Otherwise the current stream stays in
// use, and the next stream is opened again later. If the credential has no new token, the current
// stream ends when its token expires.
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

// postpone closes the next stream and sets the timer that opens it again. err is the failure of the
// stream, or nil if it did not fail.
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

// afterGap handles a gap in the current stream. It forgets which events the previous stream has
// sent, because a store that was restored from a backup gives the same numbers to other events. It
// also closes the next stream, which was opened at a cursor before the gap.
func (r *receiver) afterGap() {
	r.current.seen = nil
	if r.next != nil {
		r.postpone(nil)
	}
}

// forgetTyping removes typing indicators from the events that the current stream still has to
// repeat. The stream repeats an indicator soon, or never if the server sent the indicator before
// the stream was opened. Waiting for an indicator that never arrives would stop the cursor, because
// no heartbeat moves the cursor while the stream has events to repeat.
func (r *receiver) forgetTyping() {
	for key := range r.current.seen {
		if key.number == 0 {
			delete(r.current.seen, key)
		}
	}
}

// remember records an event of the current stream while the next stream is being opened. The next
// stream will send the event again, and take will then drop it.
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

// keyOf returns the key of an event, by which a repeated event is recognized. It returns the zero
// key for an event without a number, except for typing indicators.
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

// move sets the cursor to id. If the cursor changes, move also resets the counts of failures,
// because the stream has made progress.
func (r *receiver) move(id string) {
	if id != "" && id != r.cursor {
		r.cursor, r.failures, r.broken = id, 0, 0
	}
}

// reconnect replaces the current stream, which has ended with err, by the next stream or by a new
// stream. It may wait before it opens a new stream. It returns an error if the loop must end.
func (r *receiver) reconnect(ctx, loop context.Context, err error) error {
	ended := r.current
	ended.close()
	if r.next != nil && !final(err) {
		// Continue with the next stream, which is already being opened. If the server has ended the
		// current stream with the reason "replaced", the next stream has replaced it.
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
		return nil // return nil, because the loop yields the error of ctx
	}
	var token pipeline.Request
	if refused {
		token.RefusedToken = ended.token
	}
	r.current = r.open(loop, token)
	return nil
}

// final reports whether the failure err of the current stream ends the loop even if the next stream
// is already being opened.
func final(err error) bool {
	var bye byeError
	return errors.As(err, &bye) && bye.reason == "deleted"
}

// judge decides whether the loop continues after the failure err. It returns the error with which
// the loop ends, or nil if the loop opens another stream. It counts the failures that maxBroken
// limits.
func (r *receiver) judge(err error) error {
	var refusal *communication.Error
	var bye byeError
	var broken brokenError
	refused := errors.As(err, &refusal)
	counts := false
	switch {
	case errors.Is(err, pipeline.ErrSameToken): // the credential still returns the token of the last stream: do not count this failure
	case errors.As(err, &bye):
		if named := byeErrors[bye.reason]; named != nil {
			return &communication.Error{Op: eventsOperation, Err: named}
		}
		counts = bye.refused()
	case errors.As(err, &broken), pipeline.NoToken(err):
		counts = true
	case refused && (refusal.StatusCode == http.StatusNotFound || refusal.StatusCode == http.StatusMethodNotAllowed):
		return pipeline.Named(refusal, ErrNoEventStream)
	case refused && refusal.StatusCode == http.StatusOK: // the response has status 200 but is no event stream
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

// pause returns how long to wait before the next stream is opened after the failure err. refused
// reports whether the server has refused the token of the stream.
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

// byeError is the error of a stream that the server has ended with the message bye.
type byeError struct {
	reason string
	delay  time.Duration
}

// byeErrors maps the reasons in a message bye that end the loop to the errors that the loop yields
// (docs/events.md).
var byeErrors = map[string]error{
	"deleted":  ErrUserDeleted,
	"replaced": ErrStreamReplaced,
}

// Error returns a text with the reason that the message bye gave.
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

// stream is one connection to the event stream. Its goroutine sends each message to out, and last
// the error with which the stream ended. Only the receiver uses the other fields.
type stream struct {
	out   chan message
	start string // the cursor after which the stream begins; "" means that it begins with new events
	close context.CancelFunc
	token string    // the access token of the stream, a secret; set when the message hello arrives
	since time.Time // time of hello

	// seen contains the events that were yielded from the previous stream after this stream was
	// opened. This stream sends these events again, and take drops them.
	seen map[eventKey]struct{}
}

// message is one message of a stream, or the error with which the stream has ended.
type message struct {
	frame
	err error

	// token is the access token with which the stream was opened, and date is the time by the
	// server's clock. Only the first message of a stream has the two.
	token string
	date  time.Time
}

// messages returns the channel of the stream's messages, or nil if s is nil.
func (s *stream) messages() <-chan message {
	if s == nil {
		return nil
	}
	return s.out
}

// ready reports whether the server has sent hello on the stream.
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

// errSilent is the error of a stream on which nothing has arrived for the time silence.
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
	// Close the body when ctx ends, because some transports do not interrupt a Read at the end of
	// the context.
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

// cause returns errSilent if ctx was cancelled because the stream was silent. Otherwise it returns
// err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); errors.Is(why, errSilent) {
		return why
	}
	return err
}

// serverTime returns the time in the header Date of a response, or the local time if there is none.
// The expiry of a token is compared with this time, because the expiry is a time by the server's
// clock.
func serverTime(h http.Header) time.Time {
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		return t
	}
	return time.Now()
}

// watchedReader is the body of a stream. The timer idle runs only during a Read, so that a long
// pause between two reads, in the body of a loop, does not count as silence of the server.
type watchedReader struct {
	body io.Reader
	idle *time.Timer
}

// Read reads from the body. If nothing arrives for the time silence, the timer ends the stream, and
// Read fails.
func (w *watchedReader) Read(p []byte) (int, error) {
	w.idle.Reset(silence)
	defer w.idle.Stop()
	return w.body.Read(p)
}
