package admin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// Events is a page of the event log, newest first. Next is the value of the query parameter next
// for the next page, or empty on the last page.
type Events struct {
	Events   []LogEvent `json:"events"`
	Next     string     `json:"next,omitempty"`
	Looked   int        `json:"looked"`
	Complete bool       `json:"complete"`
}

// LogEvent is an event in the event log, without the content of messages.
type LogEvent struct {
	Position uint64 `json:"position"`
	Time     string `json:"time,omitempty"` // empty in events of old versions
	Kind     string `json:"kind"`
	Thread   string `json:"thread"` // id of the thread; empty for an event of a user
	Number   uint64 `json:"number"`
	User     string `json:"user,omitempty"` // the user who caused the event
	Message  string `json:"message,omitempty"`
}

func eventOf(e *core.Event) LogEvent {
	out := LogEvent{Position: e.Position, Time: formatTime(e.At), Kind: e.Kind.String(), Thread: e.Thread, Number: e.Number, User: e.Actor}
	if e.MessageID != 0 {
		out.Message = strconv.FormatInt(e.MessageID, 10)
	}
	return out
}

// eventsQuery returns the filter for events that the request's parameters describe. It does not set
// the position at which the page begins.
func (c *call) eventsQuery() (q core.EventsQuery, err error) {
	if q.Thread = c.query.Get("thread"); q.Thread != "" && core.CheckThreadID(q.Thread) != nil {
		return q, refuse(http.StatusBadRequest, codeParameter, "thread is %q, which is not the id of a thread", clip.Text(q.Thread, maxEcho))
	}
	if q.Actor = c.query.Get("user"); q.Actor != "" && checkUser(q.Actor) != nil {
		return q, refuse(http.StatusBadRequest, codeParameter, "user is %q, which is not the id of a user", clip.Text(q.Actor, maxEcho))
	}
	if kind := c.query.Get("kind"); kind != "" {
		var ok bool
		if q.Kind, ok = core.ParseEventKind(kind); !ok {
			return q, refuse(http.StatusBadRequest, codeParameter, "there is no kind of event %q", clip.Text(kind, maxEcho))
		}
	}
	return q, nil
}

func (h *Handler) listEvents(c *call) (any, error) {
	q, err := c.eventsQuery()
	if err != nil {
		return nil, err
	}
	return h.eventsPage(c, q)
}

func (h *Handler) listThreadEvents(c *call) (any, error) {
	if err := checkThread(c.targets[0]); err != nil {
		return nil, err
	}
	return h.eventsPage(c, core.EventsQuery{Thread: c.targets[0]})
}

func (h *Handler) eventsPage(c *call, q core.EventsQuery) (_ any, err error) {
	if q.Before, q.Limit, err = c.page(); err != nil {
		return nil, err
	}
	page, err := h.Core.Events(c.Context(), q)
	if err != nil {
		return nil, err
	}
	out := Events{Events: []LogEvent{}, Next: next(page.Next), Looked: page.Looked, Complete: page.Complete}
	for i := range page.Events {
		out.Events = append(out.Events, eventOf(&page.Events[i]))
	}
	return out, nil
}

// eventsChunk is the number of events that a stream reads from the store at once.
const eventsChunk = 500

// followEvents streams the events of the event log, and then new events as they are added. A client
// may read slowly, because the events stay in the store. If the store has deleted the next event,
// the stream sends an event of its own to say so, and continues at the end of the log.
func (h *Handler) followEvents(c *call) (any, error) {
	q, err := c.eventsQuery()
	if err != nil {
		return nil, err
	}
	after, err := c.resume()
	if err != nil {
		return nil, err
	}
	at, err := h.Core.LogEnd(c.Context())
	if err != nil {
		return nil, err
	}
	gap := false
	if after != 0 {
		resumed, ok, err := h.Core.LogCursor(c.Context(), after)
		if err != nil {
			return nil, err
		}
		if gap = !ok; ok {
			at = resumed
		}
	}
	return h.streaming(c, func(ctx context.Context, s *stream) error {
		for {
			if gap {
				if err := s.event("lost", "", lost{}); err != nil {
					return err
				}
			}
			page, err := h.Core.LogAfter(ctx, at, eventsChunk)
			if err != nil {
				return err
			}
			at, gap = page.Next, page.Gap != 0
			for i := range page.Events {
				e := &page.Events[i]
				if !q.Matches(e) {
					continue
				}
				if err := s.event("event", next(e.Position), eventOf(e)); err != nil {
					return err
				}
			}
			if len(page.Events) == eventsChunk || gap {
				continue
			}
			if pause(ctx, streamLook); ctx.Err() != nil {
				return nil
			}
			if err := s.ping(); err != nil {
				return err
			}
		}
	})
}
