package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
)

// SeenBy says which messages of a thread a user sees, and why.
type SeenBy struct {
	User     string        `json:"user"`
	Member   *Member       `json:"member,omitempty"`
	Sees     string        `json:"sees"` // all, part or none
	Why      string        `json:"why"`
	Messages []SeenMessage `json:"messages"`
	Next     string        `json:"next,omitempty"`
}

// SeenMessage says whether a user sees a message. Sender and Content are set only if the
// request asks for content.
type SeenMessage struct {
	ID        string `json:"id"`
	Sequence  uint64 `json:"sequence"`
	Type      string `json:"type"`
	CreatedOn string `json:"createdOn"`
	Visible   bool   `json:"visible"`
	Why       string `json:"why"`
	Sender    string `json:"sender,omitempty"`
	Content   string `json:"content,omitempty"`
}

func (h *Handler) showSeenBy(c *call) (any, error) {
	thread, user := c.targets[0], c.targets[1]
	if err := checkThread(thread); err != nil {
		return nil, err
	}
	if err := checkUser(user); err != nil {
		return nil, err
	}
	before, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	contents, err := strconv.ParseBool(c.query.Get("content"))
	if c.query.Has("content") && err != nil {
		return nil, refuse(http.StatusBadRequest, codeParameter, "content is true or false, and %q is neither", clip.Text(c.query.Get("content"), maxEcho))
	}
	if contents && !h.ReadsMessages {
		return nil, errContent
	}
	seen, err := h.Core.SeenBy(c.Context(), thread, user, before, limit)
	if err != nil {
		return nil, err
	}
	if contents {
		if h.audit(c, core.AuditDone, http.StatusOK) != nil {
			return nil, errAudit
		}
	}
	out := SeenBy{User: user, Messages: []SeenMessage{}, Next: next(seen.Next)}
	out.Sees, out.Why = sees(&seen, user)
	if seen.Member != nil {
		m := memberOf(seen.Member)
		out.Member = &m
	}
	for i := range seen.Messages {
		m := &seen.Messages[i]
		one := SeenMessage{
			ID: strconv.FormatInt(m.ID, 10), Sequence: m.Sequence, Type: m.Kind.String(), CreatedOn: formatTime(m.CreatedOn),
			Visible: m.Sees != nil, Why: whySeen(&seen, m),
		}
		if contents {
			one.Sender, one.Content = m.Sender, m.Content
		}
		out.Messages = append(out.Messages, one)
	}
	return out, nil
}

// sees returns whether a user sees all, part or none of a thread, and a sentence with the reason.
func sees(s *core.Seen, user string) (much, why string) {
	m := s.Member
	switch {
	case s.Thread.DeletedOn != 0:
		return "none", fmt.Sprintf("The thread was deleted on %s.", formatTime(s.Thread.DeletedOn))
	case m == nil:
		return "none", fmt.Sprintf("%s was never in this thread.", user)
	case !m.Present() && m.LastSequence() == 0:
		return "none", fmt.Sprintf("%s has left this thread, and what it could read was erased with it.", user)
	case !m.Present():
		return "part", fmt.Sprintf("%s %s. It sees the thread as it was then: messages up to number %d, written from %s on.", user, leaving(s, user), m.LastSequence(), from(m))
	case m.VisibleFrom() > s.Thread.CreatedOn:
		return "part", fmt.Sprintf("%s is in this thread since %s and sees messages that were written from %s on.", user, formatTime(m.JoinedOn), from(m))
	}
	return "all", fmt.Sprintf("%s is in this thread since %s and shares its whole history.", user, formatTime(m.JoinedOn))
}

// leaving returns the words that say how a member left a thread. If the event log no longer has the
// event of leaving, they say only that the member has left.
func leaving(s *core.Seen, user string) string {
	switch e := s.Left; {
	case e == nil:
		return "is not in this thread any more"
	case e.Actor == user || e.Actor == "":
		return "left this thread on " + formatTime(e.At)
	default:
		return fmt.Sprintf("was removed from this thread by %s on %s", e.Actor, formatTime(e.At))
	}
}

// from formats the time from which on a member may read messages.
func from(m *core.Member) string { return stamp(time.UnixMilli(m.VisibleFrom())) }

// whySeen returns a sentence with the reason why a user sees a message or does not.
func whySeen(s *core.Seen, m *core.SeenMessage) string {
	switch {
	case m.Sees != nil && m.Sees.Sequence != m.Sequence:
		return "It was changed after the user left, who sees the version of that time."
	case m.Sees != nil:
		return "It was written while the user could read this thread."
	case s.Member == nil:
		return "The user was never in this thread."
	case m.CreatedOn < s.Member.VisibleFrom():
		return fmt.Sprintf("It was written before %s, from when on the user shares the history.", from(s.Member))
	case s.Member.Left != nil && s.Member.Left.Sequence == 0:
		return "What the user could read was erased with it."
	case s.Member.Left != nil && m.CreatedOn == m.ID && m.EditedOn == 0 && m.DeletedOn == 0:
		return "It was written after the user left."
	case s.Member.Left != nil:
		return "It was written, edited or deleted after the user left."
	}
	return "The store does not show it to the user."
}
