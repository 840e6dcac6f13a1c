package core

import (
	"context"
	"fmt"
)

// Seen is a page of a thread's messages, newest first, each with the version of it that one user
// may read.
type Seen struct {
	Thread *Thread
	Member *Member // the user's row in the thread; nil if the user was never in the thread
	// Left is the event by which the member left. It is nil if the member is in the thread, or if
	// the log no longer has the event.
	Left     *Event
	Messages []SeenMessage
	Next     uint64 // the value of the parameter before for the next page; 0 after the last page
}

// SeenMessage is a message together with Sees, the version of the message that the user may read.
// Sees is nil if the user may read none. A member who has left may read an older version.
type SeenMessage struct {
	Message
	Sees *Message
}

// SeenBy returns a page of a thread's messages with sequences less than before, or from the newest
// on if before is 0, and the versions of them that a user may read. It asks the store as the user's
// own list of messages does. It fails with 404 if the thread does not exist. It is meant for the
// server's operator.
func (s *Service) SeenBy(ctx context.Context, thread, user string, before uint64, limit int) (Seen, error) {
	t, err := s.Inspect(ctx, thread)
	if err != nil {
		return Seen{}, err
	}
	seen := Seen{Thread: t, Member: t.Member(user)}
	if m := seen.Member; m != nil && !m.Present() && m.LastEvent() != 0 {
		events, err := s.store.ThreadEvents(ctx, thread, m.LastEvent(), 1)
		if err != nil {
			return Seen{}, fmt.Errorf("read how %s left thread %s: %w", user, thread, err)
		}
		if len(events) == 1 && events[0].Number == m.LastEvent() {
			seen.Left = &events[0]
		}
	}
	if t.DeletedOn != 0 || t.expired(s.now().UnixMilli()) {
		return seen, nil
	}
	page, err := s.store.Messages(ctx, MessagesQuery{Thread: thread, Before: before, Limit: limit})
	if err != nil {
		return Seen{}, fmt.Errorf("read messages of thread %s: %w", thread, err)
	}
	seen.Next = page.Next
	visible := map[int64]*Message{}
	if seen.Member != nil && len(page.Messages) > 0 {
		ids := make([]int64, len(page.Messages))
		for i := range page.Messages {
			ids[i] = page.Messages[i].ID
		}
		own, err := s.store.Messages(ctx, MessagesQuery{Thread: thread, Reader: user, IDs: ids})
		if err != nil {
			return Seen{}, fmt.Errorf("read what %s sees of thread %s: %w", user, thread, err)
		}
		for i := range own.Messages {
			visible[own.Messages[i].ID] = &own.Messages[i]
		}
	}
	for _, m := range page.Messages {
		seen.Messages = append(seen.Messages, SeenMessage{Message: m, Sees: visible[m.ID]})
	}
	return seen, nil
}
