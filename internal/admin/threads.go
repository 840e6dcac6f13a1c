package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// Threads is a page of a list of threads. Next is the value of the query parameter next for the
// next page, or empty on the last page.
type Threads struct {
	Threads  []ThreadEntry `json:"threads"`
	Next     string        `json:"next,omitempty"`
	Looked   int           `json:"looked,omitempty"`   // number of rows that a search has read
	Complete *bool         `json:"complete,omitempty"` // whether the search has read all rows
}

// ThreadEntry is a thread in a list.
type ThreadEntry struct {
	ID            string `json:"id"`
	Topic         string `json:"topic"`
	LastMessageOn string `json:"lastMessageOn,omitempty"`
	DeletedOn     string `json:"deletedOn,omitempty"`
}

// Thread is a thread in the store, without its messages.
type Thread struct {
	ID            string            `json:"id"`
	Topic         string            `json:"topic"`
	CreatedOn     string            `json:"createdOn"`
	CreatedBy     string            `json:"createdBy"`
	DeletedOn     string            `json:"deletedOn,omitempty"`
	ExpiresOn     string            `json:"expiresOn,omitempty"`
	LastMessageOn string            `json:"lastMessageOn,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	LastSequence  uint64            `json:"lastSequence"`
	LastEvent     uint64            `json:"lastEvent"`
	Members       []Member          `json:"members"`
}

// Member is a present or past member of a thread.
type Member struct {
	ID           string     `json:"id"`
	DisplayName  string     `json:"displayName,omitempty"`
	JoinedOn     string     `json:"joinedOn"`
	SeesFrom     string     `json:"seesFrom"` // the time of creation of the oldest messages that the member may see
	Left         bool       `json:"left,omitempty"`
	LastSequence uint64     `json:"lastSequence,omitempty"` // sequence number of the last message that a former member may read
	Intervals    []Interval `json:"intervals"`
}

// Interval is a range of event numbers in which a user was in the thread. To is 0 while the user is
// still in the thread.
type Interval struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"`
}

// Messages is a page of a thread's messages, newest first. Next is the value of the query
// parameter next for the next page, or empty on the last page.
type Messages struct {
	Messages []Message `json:"messages"`
	Next     string    `json:"next,omitempty"`
}

// Message is a message in the store.
type Message struct {
	ID                string `json:"id"`
	Type              string `json:"type"` // text, html, topicUpdated, participantAdded or participantRemoved
	Sequence          uint64 `json:"sequence"`
	CreatedOn         string `json:"createdOn"`
	EditedOn          string `json:"editedOn,omitempty"`
	DeletedOn         string `json:"deletedOn,omitempty"`
	Sender            string `json:"sender,omitempty"` // empty for system messages
	SenderDisplayName string `json:"senderDisplayName,omitempty"`
	Content           string `json:"content"` // the text, or the new topic of a topicUpdated

	// Only system messages have these fields: who made the change, and who was added or removed.
	Initiator    string        `json:"initiator,omitempty"`
	Participants []Participant `json:"participants,omitempty"`
}

// Participant is a user whom a system message names.
type Participant struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName,omitempty"`
}

func headOf(h core.Head) ThreadEntry {
	return ThreadEntry{ID: h.ID, Topic: h.Topic, LastMessageOn: formatTime(h.LastMessageOn), DeletedOn: formatTime(h.DeletedOn)}
}

func (h *Handler) listThreads(c *call) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	out := Threads{Threads: []ThreadEntry{}}
	var heads []core.Head
	if c.query.Has("search") {
		text := c.query.Get("search")
		if text == "" {
			return nil, refuse(http.StatusBadRequest, codeParameter, "search is empty: write a part of a topic")
		}
		after := c.query.Get("next")
		if after != "" && core.CheckThreadID(after) != nil {
			return nil, refuse(http.StatusBadRequest, codeParameter, "the parameter next is not one that a page gave: %q", clip.Text(after, maxEcho))
		}
		found, err := h.Core.FindThreads(c.Context(), text, after, limit)
		if err != nil {
			return nil, err
		}
		heads, out.Next, out.Looked, out.Complete = found.Threads, found.Next, found.Looked, &found.Complete
	} else {
		before, err := c.number("next")
		if err != nil {
			return nil, err
		}
		recent, err := h.Core.RecentThreads(c.Context(), before, limit)
		if err != nil {
			return nil, err
		}
		heads, out.Next, out.Looked, out.Complete = recent.Threads, next(recent.Next), recent.Looked, &recent.Complete
	}
	for _, one := range heads {
		out.Threads = append(out.Threads, headOf(one))
	}
	return out, nil
}

func (h *Handler) showThread(c *call) (any, error) {
	id := c.targets[0]
	if err := checkThread(id); err != nil {
		return nil, err
	}
	t, err := h.Core.Inspect(c.Context(), id)
	if err != nil {
		return nil, err
	}
	out := Thread{
		ID: t.ID, Topic: t.Topic, CreatedOn: formatTime(t.CreatedOn), CreatedBy: t.CreatedBy, DeletedOn: formatTime(t.DeletedOn),
		ExpiresOn: formatTime(t.ExpiresOn()), LastMessageOn: formatTime(t.LastMessageOn),
		Metadata: t.Metadata, LastSequence: t.LastSequence, LastEvent: t.LastEvent, Members: []Member{},
	}
	for _, m := range t.Members() {
		out.Members = append(out.Members, memberOf(m))
	}
	return out, nil
}

func memberOf(m *core.Member) Member {
	out := Member{
		ID: m.User, DisplayName: m.DisplayName, JoinedOn: formatTime(m.JoinedOn), SeesFrom: stamp(time.UnixMilli(m.VisibleFrom())),
		Left: !m.Present(), LastSequence: m.LastSequence(), Intervals: []Interval{},
	}
	for _, i := range m.Intervals {
		out.Intervals = append(out.Intervals, Interval(i))
	}
	return out
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

func (h *Handler) listMessages(c *call) (any, error) {
	id := c.targets[0]
	if err := checkThread(id); err != nil {
		return nil, err
	}
	before, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Core.InspectMessages(c.Context(), id, before, limit)
	if err != nil {
		return nil, err
	}
	out := Messages{Messages: []Message{}, Next: next(page.Next)}
	for _, m := range page.Messages {
		out.Messages = append(out.Messages, messageOf(m))
	}
	return out, nil
}

// followChunk is the maximum number of messages that one request that follows a thread keeps in
// memory.
const followChunk = 20

// followMessages streams the messages of a thread whose sequence numbers are greater than the
// parameter after, in their order. Then it streams messages that are written, edited or deleted
// later. The stream ends when the thread is deleted.
func (h *Handler) followMessages(c *call) (any, error) {
	id := c.targets[0]
	if err := checkThread(id); err != nil {
		return nil, err
	}
	last, err := c.resume()
	if err != nil {
		return nil, err
	}
	newest, err := h.newest(c.Context(), id)
	if err != nil {
		return nil, err
	}
	return h.streaming(c, func(ctx context.Context, s *stream) error {
		for {
			if last, err = h.tell(ctx, s, id, last, newest); err != nil {
				return err
			}
			for newest <= last {
				if pause(ctx, streamLook); ctx.Err() != nil {
					return nil
				}
				if err := s.ping(); err != nil {
					return err
				}
				if newest, err = h.newest(ctx, id); err != nil {
					return err
				}
			}
		}
	})
}

// newest returns the greatest sequence number of a thread's messages, or 0 if the thread has
// none.
func (h *Handler) newest(ctx context.Context, id string) (uint64, error) {
	page, err := h.Core.InspectMessages(ctx, id, 0, 1)
	return page.Head.LastSequence, err
}

// tell writes the messages of a thread whose sequence numbers are greater than after and at most
// newest, in this order. It returns the sequence number of the last message written, or newest if
// it does not fail.
func (h *Handler) tell(ctx context.Context, s *stream, id string, after, newest uint64) (uint64, error) {
	for after < newest {
		to := min(newest, after+followChunk)
		var chunk []Message
		for before := to + 1; before > after+1; { // reads page by page, because large messages need more than one page
			page, err := h.Core.InspectMessages(ctx, id, before, int(to-after))
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
		for _, m := range chunk {
			if err := s.event("message", next(m.Sequence), m); err != nil {
				return after, err
			}
		}
		after = to
	}
	return after, nil
}
