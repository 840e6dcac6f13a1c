package core

import (
	"context"
	"fmt"
	"slices"
)

// Pages of messages (chat.md §5.1).
const (
	DefaultMessagesPage = 10
	MaxMessagesPage     = 200
)

// SendMessage is the command of POST /chat/threads/{id}/messages.
type SendMessage struct {
	Content           string
	Kind              MessageKind
	SenderDisplayName string
	Metadata          map[string]string
	Token             string // idempotency; empty: none
}

// SendMessage adds a message and returns its id (chat.md §4.1). A later send
// by the same caller with the same token returns the first one's id.
func (s *Service) SendMessage(ctx context.Context, caller, thread string, cmd SendMessage) (int64, error) {
	if err := cmd.check(); err != nil {
		return 0, err
	}
	c, r, err := s.change(ctx, func() (*Change, error) {
		return s.decide(ctx, thread, func(t *Thread) (*Change, error) { return decideSend(t, caller, cmd) })
	})
	if err != nil {
		return 0, err
	}
	if r.Status == Replayed {
		return r.MessageID, nil
	}
	return c.Messages[0].ID, nil
}

func (cmd *SendMessage) check() error {
	if cmd.Kind != Text && cmd.Kind != HTML {
		return Invalid("type", "The type field must be text or html.")
	}
	if cmd.Content == "" {
		return Invalid("content", "The content field is required.")
	}
	if err := checkText("content", cmd.Content, maxContent); err != nil {
		return err
	}
	if err := checkText("senderDisplayName", cmd.SenderDisplayName, maxDisplayName); err != nil {
		return err
	}
	return checkToken(cmd.Token)
}

// maxContent is far above the service's 28 KB, which belongs to the limits
// profile: it only keeps a row from growing without bound. In characters.
const maxContent = 1 << 20

// decideSend is pure: what a send writes.
func decideSend(t *Thread, caller string, cmd SendMessage) (*Change, error) {
	if _, err := participant(t, caller); err != nil {
		return nil, err
	}
	return &Change{
		Key: t.ID, Thread: t.ID, Revision: t.Revision,
		SendToken: cmd.Token, Caller: caller,
		Messages: []Message{{
			Kind: cmd.Kind, Sender: caller, SenderDisplayName: cmd.SenderDisplayName,
			Content: cmd.Content, Metadata: clone(cmd.Metadata),
		}},
		Events: []Event{{Kind: MessageReceived, Actor: caller}},
		Roster: t.Participants(),
	}, nil
}

// Message returns one message to a participant who may see it (chat.md §4.1).
func (s *Service) Message(ctx context.Context, caller, thread string, id int64) (m Message, err error) {
	err = s.read(ctx, thread, func(t *Thread) (uint64, error) {
		found, revision, err := s.store.Message(ctx, thread, id)
		if err != nil {
			return 0, fmt.Errorf("load message %d of %s: %w", id, thread, err)
		}
		me, err := participant(t, caller)
		if err != nil {
			return revision, err
		}
		if found.ID == 0 || found.CreatedOn < me.VisibleFrom() {
			return revision, errMessageNotFound
		}
		m = found
		return revision, nil
	})
	if err != nil {
		return Message{}, err // an attempt on a stale head may have found it
	}
	return m, nil
}

// ListMessages asks for a page, newest first.
type ListMessages struct {
	Before uint64 // sequence, exclusive; 0: from the newest
	Since  int64  // epoch milliseconds; 0: all
	Limit  int    // 1 to MaxMessagesPage
}

// ListMessages returns a page of what a participant may see, newest first. A
// full page may be the last one (chat.md §5.1).
func (s *Service) ListMessages(ctx context.Context, caller, thread string, list ListMessages) (ms []Message, err error) {
	err = s.read(ctx, thread, func(t *Thread) (uint64, error) {
		q := MessagesQuery{Thread: thread, Before: list.Before, Since: list.Since, Limit: list.Limit}
		me, refusal := participant(t, caller)
		if refusal != nil {
			q.Limit = 0 // the revision alone: the refusal too must rest on a fresh head
		} else {
			q.Since = max(q.Since, me.VisibleFrom())
		}
		page, err := s.store.Messages(ctx, q)
		if err != nil {
			return 0, fmt.Errorf("list messages of %s: %w", thread, err)
		}
		ms = page.Messages
		return page.Revision, refusal
	})
	if err != nil {
		return nil, err
	}
	return ms, nil
}

// Participants are the members who are in the thread now, in join order. The
// slice is shared and never changed.
func (t *Thread) Participants() []Member { return t.present }

func present(ms []Member) []Member {
	if !slices.ContainsFunc(ms, func(m Member) bool { return !m.Present() }) {
		return ms
	}
	var in []Member
	for _, m := range ms {
		if m.Present() {
			in = append(in, m)
		}
	}
	return in
}
