package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

const (
	// maxFollowers is the greatest number of requests that follow threads at the same time. Each
	// of them holds one of the few connections that the operator's listeners accept.
	maxFollowers = 4
	// followInterval is the time between two checks for new messages in a followed thread. A
	// check reads the thread's last message.
	followInterval = 300 * time.Millisecond
	// followChunk is the greatest number of messages that one following request has in memory.
	followChunk = 20
	// followWrite is the longest time that a client may take to receive the messages that were
	// written to it.
	followWrite = 30 * time.Second
)

var errFollowers = &refusal{http.StatusServiceUnavailable, fmt.Sprintf("%d requests follow threads already, which is the most that this server allows at a time", maxFollowers)}

// Stop ends all requests that follow threads, so that the server can shut down. It may be called
// more than once.
func (h *Handler) Stop() { h.stopOnce.Do(func() { close(h.stopped) }) }

// follow answers with the messages of a thread whose sequence numbers are greater than the
// parameter "after". It keeps the response open, and adds messages that are written, edited or
// deleted later. Each line is a Message in JSON, in the order of sequence numbers. The response
// ends when the thread is deleted or the server stops.
func (h *Handler) follow(c *call) (any, error) {
	if !h.ReadsMessages {
		return nil, errContent
	}
	id := c.target
	if err := core.CheckThreadID(id); err != nil {
		return nil, err
	}
	last, err := sequenceOf(c, "after")
	if err != nil {
		return nil, err
	}
	select {
	case h.followers <- struct{}{}:
		defer func() { <-h.followers }()
	default:
		return nil, errFollowers
	}
	newest, err := h.newest(c, id)
	if err != nil {
		return nil, err
	}
	c.outcome, c.status, c.streamed = "following", http.StatusOK, true
	h.record(c) // who sees the response can rely on it
	c.w.Header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
	c.w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(c.w)
	c.w.WriteHeader(http.StatusOK)
	defer h.endWrites(out)()
	for {
		last, err = h.tell(c, out, last, newest)
		if h.stops() {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if err := out.Flush(); err != nil {
			return nil, err
		}
		for newest <= last {
			select {
			case <-c.Context().Done():
				return nil, c.Context().Err()
			case <-h.stopped:
				return nil, nil
			case <-time.After(followInterval):
			}
			if newest, err = h.newest(c, id); err != nil {
				return nil, err
			}
		}
	}
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

// endWrites makes writes to a response fail as soon as Stop is called, so that a client that does
// not read cannot delay the end of the server. The caller must call end before it returns.
func (h *Handler) endWrites(out *http.ResponseController) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-h.stopped:
			out.SetWriteDeadline(time.Now()) // if it fails, the connection is broken
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// newest returns the greatest sequence number of a thread's messages, or 0 if the thread has
// none.
func (h *Handler) newest(c *call, id string) (uint64, error) {
	page, err := h.Core.InspectMessages(c.Context(), id, 0, 1)
	return page.Head.LastSequence, err
}

// tell writes the messages of a thread whose sequence numbers are greater than after and at most
// newest, in this order. It returns the sequence number up to which it has written, which is
// newest unless it fails or Stop is called. The client has the time followWrite for each
// followChunk of messages.
func (h *Handler) tell(c *call, out *http.ResponseController, after, newest uint64) (uint64, error) {
	id := c.target
	for after < newest {
		to := min(newest, after+followChunk)
		if err := out.SetWriteDeadline(time.Now().Add(followWrite)); err != nil {
			return after, err
		}
		if h.stops() { // after the deadline was set: endWrites may have set one before
			return after, nil
		}
		var chunk []Message
		for before := to + 1; before > after+1; { // more than one page if the messages are large
			page, err := h.Core.InspectMessages(c.Context(), id, before, int(to-after))
			if err != nil {
				return after, err
			}
			before = page.Next
			for _, m := range page.Messages {
				if m.Sequence > after {
					chunk = append(chunk, messageOf(m))
				} else {
					before = 0
				}
			}
		}
		slices.Reverse(chunk)
		e := json.NewEncoder(c.w)
		e.SetEscapeHTML(false)
		for _, m := range chunk {
			if err := e.Encode(m); err != nil {
				return after, err
			}
		}
		after = to
	}
	return after, nil
}

// sequenceOf returns the value of a query parameter that is the sequence number of a message. It
// returns 0 if the request does not have the parameter.
func sequenceOf(c *call, name string) (uint64, error) {
	text := c.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, core.Invalid(name, "The parameter %s is not the sequence number of a message.", name)
	}
	return n, nil
}

// messageOf converts a message to the form that the operator's API shows.
func messageOf(m core.Message) Message {
	out := Message{
		ID: strconv.FormatInt(m.ID, 10), Type: m.Kind.String(), Sequence: m.Sequence,
		CreatedOn: formatTime(m.CreatedOn), EditedOn: formatTime(m.EditedOn), DeletedOn: formatTime(m.DeletedOn),
		Sender: m.Sender, SenderDisplayName: m.SenderDisplayName, Content: m.Content, Initiator: m.Initiator,
	}
	for _, p := range m.Participants {
		out.Participants = append(out.Participants, Participant{ID: p.User, DisplayName: p.DisplayName})
	}
	return out
}

// logFollowed logs why a request that followed a thread has ended. It logs nothing if the client
// ended the request, Stop was called, or the thread does not exist any more.
func (h *Handler) logFollowed(c *call, err error) {
	var gone *core.Error
	if err == nil || c.Context().Err() != nil || errors.As(err, &gone) {
		return
	}
	h.Logger.Warn("a thread is not followed any more", "thread", c.target, "error", err)
}
