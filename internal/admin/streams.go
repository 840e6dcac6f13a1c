package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

const (
	// maxStreams is the maximum number of open streams. Each stream takes one of the 16 connections
	// that the operator's listeners accept.
	maxStreams = 10
	// streamWrite is the time limit for one write to a stream. If a client takes longer to receive
	// the data, the server closes the stream.
	streamWrite = 30 * time.Second
	// streamPing is the time without events after which the server writes a comment to a stream, so
	// that the connection stays open.
	streamPing = 15 * time.Second
	// streamLook is the time between two reads of new rows from the store.
	streamLook = 300 * time.Millisecond
)

// Stop ends all streams, so that the server can shut down. It may be called more than once.
func (h *Handler) Stop() { h.stopOnce.Do(func() { close(h.stopped) }) }

// stream is an open response with the type text/event-stream. It is not safe for concurrent use.
type stream struct {
	ctx  context.Context // done when the stream must end
	w    http.ResponseWriter
	out  *http.ResponseController
	last time.Time // time of the last write
}

// streaming responds with a stream, and calls run to write it. The stream ends when run returns. It
// also ends when the session ends or Stop is called; ctx is then done, and writes fail.
func (h *Handler) streaming(c *call, run func(ctx context.Context, s *stream) error) (any, error) {
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		return nil, errStreams
	}
	if c.op.messages {
		if h.audit(c, core.AuditDone, http.StatusOK) != nil {
			return nil, errAudit
		}
	}
	c.outcome, c.status, c.streamed = "following", http.StatusOK, true
	h.record(c) // log before the response, so that a client that has the response can rely on the record
	s := &stream{w: c.w, out: http.NewResponseController(c.w)}
	c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("X-Accel-Buffering", "no") // makes nginx forward events at once
	ctx, end := h.whileOpen(c, s.out)
	defer end()
	s.ctx = ctx
	c.w.WriteHeader(http.StatusOK)
	if err := s.write([]byte(": open\n\n")); err != nil {
		return nil, err
	}
	err := run(ctx, s)
	if ctx.Err() != nil {
		return nil, nil
	}
	return nil, err
}

// whileOpen returns a context that is done when the stream must end, because the client has
// disconnected, the session has ended or expired, or Stop was called. Writes then fail, so that a
// client that does not read cannot delay the end. The caller must call end before it returns.
func (h *Handler) whileOpen(c *call, out *http.ResponseController) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(c.Context())
	var ended <-chan struct{}
	if one := c.who.session; one != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, one.expires)
		inner := cancel
		cancel = func() { stop(); inner() }
		ended = one.done
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-h.stopped:
		case <-ended:
		case <-ctx.Done():
		}
		cancel()
		out.SetWriteDeadline(time.Now()) // the error is ignored, because it means that the connection is already broken
	}()
	return ctx, func() {
		cancel()
		<-watching
	}
}

// logStream logs the reason why a stream has ended. It logs nothing if the client or the server
// ended the stream, or if the thread was deleted.
func (h *Handler) logStream(c *call, err error) {
	var gone *core.Error
	if err == nil || c.Context().Err() != nil || errors.As(err, &gone) || h.stops() {
		return
	}
	h.Logger.Warn("a stream of the operator's API has ended", "operation", c.name, "target", c.target, "error", err)
}

// stops reports whether Stop was called.
func (h *Handler) stops() bool {
	select {
	case <-h.stopped:
		return true
	default:
		return false
	}
}

// event writes an event with a name, an id, which may be empty, and data as JSON.
func (s *stream) event(name, id string, data any) error {
	var b bytes.Buffer
	if err := addEvent(&b, name, id, data); err != nil {
		return err
	}
	return s.write(b.Bytes())
}

// addEvent appends an event to b, in the form that stream.event writes.
func addEvent(b *bytes.Buffer, name, id string, data any) error {
	fmt.Fprintf(b, "event: %s\n", name)
	if id != "" {
		fmt.Fprintf(b, "id: %s\n", id)
	}
	b.WriteString("data: ")
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(data); err != nil {
		return err
	}
	b.WriteByte('\n')
	return nil
}

// ping writes a comment if nothing was written for streamPing.
func (s *stream) ping() error {
	if time.Since(s.last) < streamPing {
		return nil
	}
	return s.write([]byte(":\n\n"))
}

func (s *stream) write(b []byte) error {
	if err := s.out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	// Check ctx only after setting the deadline, because whileOpen sets an earlier deadline when
	// ctx ends.
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	s.last = time.Now()
	return s.out.Flush()
}

// lost is the data of an event which says that some events are missing in a stream. Count is 0 if
// their number is unknown.
type lost struct {
	Count uint64 `json:"count"`
}

// resume returns the id of the last event that the client has received, or 0. The client sends the
// id in the parameter after or in the header Last-Event-ID.
func (c *call) resume() (uint64, error) {
	if id := c.Header.Get("Last-Event-ID"); id != "" && c.query.Get("after") == "" {
		c.query.Set("after", id)
	}
	if c.query.Get("after") == "0" {
		return 0, nil
	}
	return c.number("after")
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
