package core

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// MessageKind is a message's type. The numbers are stored and never reused.
type MessageKind uint8

// The kinds of messages that the contract defines.
const (
	Text               MessageKind = 1
	HTML               MessageKind = 2
	TopicUpdated       MessageKind = 3
	ParticipantAdded   MessageKind = 4
	ParticipantRemoved MessageKind = 5
)

var messageKinds = [...]string{
	Text: "text", HTML: "html", TopicUpdated: "topicUpdated",
	ParticipantAdded: "participantAdded", ParticipantRemoved: "participantRemoved",
}

// String returns the contract's word for the kind, or "unknown".
func (k MessageKind) String() string { return wordOf(messageKinds[:], k) }

// ParseMessageKind returns the message kind with the contract's word s. ok is false if
// no kind has this word.
func ParseMessageKind(s string) (k MessageKind, ok bool) {
	return parseWord[MessageKind](messageKinds[:], s)
}

// Message is the row of a message. Its key is the thread and Sequence, which changes
// with every edit; ID never changes. Assign fills ID, Sequence, Version and CreatedOn.
type Message struct {
	ID        int64
	Sequence  uint64
	Version   int64 // equal to ID until the message is edited or deleted
	Kind      MessageKind
	High      bool  // true: priority High; false: Normal; only one old api-version shows the priority
	CreatedOn int64 // time of creation; the ID may be greater, because ids increase within a thread
	EditedOn  int64
	DeletedOn int64

	// Fingerprint identifies the request that sent the message. It is zero if the request had no
	// request id, and in superseded versions of the message.
	Fingerprint Fingerprint

	Sender            string // empty for system messages
	SenderDisplayName string
	Content           string // the text or HTML of the message; in a TopicUpdated message, the new topic
	Metadata          map[string]string

	// Initiator and Participants are set only in system messages: the user who changed the thread,
	// and the users who were added or removed.
	Initiator    string
	Participants []MessageParticipant
}

// size returns the approximate size of the message in memory, in bytes.
func (m *Message) size() int {
	n := 256 + len(m.Content) + len(m.SenderDisplayName) + sizeOf(m.Metadata)
	for _, p := range m.Participants {
		n += 64 + len(p.User) + len(p.DisplayName)
	}
	return n
}

// MessageParticipant is a user named in a system message.
type MessageParticipant struct {
	User         string
	DisplayName  string
	ShareHistory int64
}

// Default and greatest number of messages on a page (docs/contract/chat.md §5.1).
const (
	DefaultMessagesPage = 10
	MaxMessagesPage     = 200
)

// SendMessage has the fields of a request POST /chat/threads/{id}/messages.
type SendMessage struct {
	Content           string
	Kind              MessageKind
	High              bool // priority High instead of Normal
	SenderDisplayName string
	Metadata          map[string]string
	Token             string // idempotency token; may be empty
	// RequestID is the request's x-ms-client-request-id. It is ignored if it is not a UUID, or if
	// the request has a Token.
	RequestID string
}

// SendMessage adds a message to a thread and returns its id; see Send.
func (s *Service) SendMessage(ctx context.Context, caller, thread string, cmd SendMessage) (int64, error) {
	sent, err := s.Send(ctx, caller, thread, cmd)
	return sent.ID, err
}

// Sent is the result of a send: the id of the message, and whether an earlier request has already
// added the message.
type Sent struct {
	ID       int64
	Repeated bool
}

// Send adds a message to a thread (docs/contract/chat.md §4.1). If the caller has already sent a
// message with the same token, or if the request is another try of a call that has already added a
// message (see Fingerprint), Send adds nothing and returns the id of the first message.
func (s *Service) Send(ctx context.Context, caller, thread string, cmd SendMessage) (Sent, error) {
	if err := cmd.check(); err != nil {
		return Sent{}, err
	}
	var request Fingerprint
	if !s.repeatsByToken {
		request = fingerprintOf(caller, &cmd)
	}
	send := &sending{Service: s, caller: caller, thread: thread, cmd: cmd, request: request}
	o, err := s.change(ctx, send.decide)
	if err != nil {
		return Sent{}, err
	}
	if o.Status == Replayed {
		return Sent{ID: o.MessageID, Repeated: true}, nil
	}
	return Sent{ID: o.Change.Messages[0].ID}, nil
}

// sending is the state of one call of Send. Its method decide may run several times.
type sending struct {
	*Service
	caller, thread string
	cmd            SendMessage
	request        Fingerprint

	cleaned bool
	content string // to store
	err     error
}

// decide returns the change that adds the message, or the error with which the send is refused.
func (s *sending) decide(rows Rows) (*Change, error) {
	t, err := s.live(rows, s.caller, s.thread)
	if err != nil {
		return nil, err
	}
	return decideSend(t, s.caller, s.cmd, s.request, s.clean)
}

// clean returns the content to store. It cleans HTML only once, although decide may call it again
// while the engine holds locks. decide calls it only after it has found the caller among the
// participants, so nobody else can cause the cost of cleaning.
func (s *sending) clean() (string, error) {
	if !s.cleaned {
		s.content, s.err = s.stored(s.cmd.Kind, s.cmd.Content)
		s.cleaned = true
	}
	return s.content, s.err
}

// stored returns the content of a message in the form in which it is stored: HTML is cleaned.
// It fails with a BadRequest if cleaning leaves nothing, or if the result has more bytes than
// Limits.Content.
func (s *Service) stored(kind MessageKind, content string) (string, error) {
	if kind == HTML {
		return s.cleanHTML(content)
	}
	return content, s.limits.checkContent(content)
}

// check returns a BadRequest for a malformed command. It does not look at HTML, which is cleaned
// later. Unverified: that a type other than text and html is refused (docs/contract/chat.md §4.1).
func (cmd *SendMessage) check() error {
	if cmd.Kind != Text && cmd.Kind != HTML {
		return Invalid("type", "type: must be %s or %s", Text, HTML)
	}
	if cmd.Content == "" {
		return Invalid("content", "The content field is required.")
	}
	return cmp.Or(
		Limits{}.checkContent(cmd.Content),
		Limits{}.checkMetadata("metadata", cmd.Metadata),
		checkText("senderDisplayName", cmd.SenderDisplayName, maxDisplayName),
		checkToken(cmd.Token),
	)
}

// decideSend returns the change that adds a message. request is the fingerprint of the request.
// content returns the content to store, made from cmd.Content. decideSend fails with 403 if the
// caller is not a participant.
func decideSend(t *Thread, caller string, cmd SendMessage, request Fingerprint, content func() (string, error)) (*Change, error) {
	if _, err := participant(t, caller); err != nil {
		return nil, err
	}
	stored, err := content()
	if err != nil {
		return nil, err
	}
	var rows struct { // one allocation
		change   Change
		messages [1]Message
		events   [1]Event
	}
	c := &rows.change
	*c = *changeOf(t)
	c.SendToken, c.Caller = cmd.Token, caller
	c.Messages, c.Events = rows.messages[:], rows.events[:]
	c.Messages[0] = Message{
		Kind: cmd.Kind, High: cmd.High, Fingerprint: request, Sender: caller, SenderDisplayName: cmd.SenderDisplayName,
		Content: stored, Metadata: clone(cmd.Metadata),
	}
	c.Events[0] = Event{Kind: MessageReceived, Actor: caller}
	return c, nil
}

// UpdateMessage has the fields of a request PATCH .../messages/{id}. A request without any field
// empties the message. A request without content, but with metadata or a priority, keeps the
// content. In Metadata an empty or nil value removes its key.
type UpdateMessage struct {
	Content  *string
	High     *bool // true: priority High; false: Normal; nil: the priority stays
	Metadata map[string]*string
}

// UpdateMessage edits the caller's own message (docs/contract/chat.md §4.1). The message keeps
// its id and creation time and gets a new version and the next sequence. UpdateMessage fails
// with 403 for somebody else's message and with 404 for a deleted message. Unverified: these
// two statuses.
func (s *Service) UpdateMessage(ctx context.Context, caller, thread string, id int64, cmd UpdateMessage) error {
	if cmd.Content == nil && cmd.Metadata == nil && cmd.High == nil {
		cmd.Content = new(string)
	}
	if cmd.Content != nil {
		if err := (Limits{}).checkContent(*cmd.Content); err != nil {
			return err
		}
	}
	// Clean the HTML at most once: the decision may run again while the engine holds locks.
	html := sync.OnceValues(func() (string, error) { return s.cleanHTML(*cmd.Content) })
	return s.rewrite(ctx, caller, thread, id, func(t *Thread, m Message) (*Change, error) {
		return decideUpdateMessage(t, m, caller, cmd, html, s.limits)
	})
}

// decideUpdateMessage returns the change that edits a message. html returns the cleaned content
// of an HTML message. decideUpdateMessage fails with 400 if the message would be larger than
// the limits allow. Unverified: that metadata keys that the command does not name stay
// (docs/contract/chat.md §4.1).
func decideUpdateMessage(t *Thread, m Message, caller string, cmd UpdateMessage, html func() (string, error), limits Limits) (*Change, error) {
	if m.DeletedOn != 0 {
		return nil, errMessageNotFound.Because(why.MessageDeleted, "at", why.Time(time.UnixMilli(m.DeletedOn)))
	}
	edited := Rewrite{Message: m, ReadVersion: m.Version, OldSequence: m.Sequence}
	if cmd.Content != nil {
		edited.Content = *cmd.Content
		if m.Kind == HTML {
			cleaned, err := html()
			if err != nil {
				return nil, err
			}
			edited.Content = cleaned
		}
		if err := limits.checkContent(edited.Content); err != nil {
			return nil, err
		}
	}
	if cmd.High != nil {
		edited.High = *cmd.High
	}
	patch := make(map[string]*string, len(cmd.Metadata))
	for k, v := range cmd.Metadata {
		if v != nil && *v == "" {
			v = nil // recordings show that an empty value removes the key
		}
		patch[k] = v
	}
	edited.Metadata = merge(m.Metadata, patch)
	if err := (Limits{}).checkPatched("metadata", m.Metadata, edited.Metadata); err != nil {
		return nil, err
	}
	edited.keepFor(t)
	c := changeOf(t)
	c.Rewrites = []Rewrite{edited}
	c.Events = []Event{{Kind: MessageEdited, Actor: caller}}
	return c, nil
}

// DeleteMessage removes the content of the caller's own message and marks the message as deleted
// (docs/contract/chat.md §4.1). Unverified: that deleting a message again succeeds and does
// nothing.
func (s *Service) DeleteMessage(ctx context.Context, caller, thread string, id int64) error {
	return s.rewrite(ctx, caller, thread, id, func(t *Thread, m Message) (*Change, error) {
		if m.DeletedOn != 0 {
			return changeOf(t), nil
		}
		gone := tombstone(m)
		gone.keepFor(t)
		c := changeOf(t)
		c.Rewrites = []Rewrite{gone}
		c.Events = []Event{{Kind: MessageDeleted, Actor: caller}}
		return c, nil
	})
}

// tombstone returns the rewrite that deletes a message: it removes the content, the
// metadata and the time of the edit.
func tombstone(m Message) Rewrite {
	r := Rewrite{Message: m, ReadVersion: m.Version, OldSequence: m.Sequence, How: Delete}
	r.Content, r.Metadata, r.EditedOn = "", nil, 0
	return r
}

// rewrite commits the change that decide makes to a message. It fails with 403 if the caller is not
// a participant or did not send the message, and with 404 if the caller cannot see the message.
func (s *Service) rewrite(ctx context.Context, caller, thread string, id int64, decide func(*Thread, Message) (*Change, error)) error {
	return s.changeMessage(ctx, caller, thread, id, errMessageNotFound, func(t *Thread, m Message) (*Change, error) {
		if m.Sender != caller {
			return nil, errNotSender.Because(why.NotTheSender, "sender", cmp.Or(why.User(m.Sender), "the server"))
		}
		return decide(t, m)
	})
}

// changeMessage commits the Change that decide returns for a message. decide gets the thread and
// the message. changeMessage fails with 404 if the thread does not exist, with 403 if the caller is
// not in the thread, and with notFound if the message does not exist or the caller may not see it.
func (s *Service) changeMessage(ctx context.Context, caller, thread string, id int64, notFound *Error, decide func(*Thread, Message) (*Change, error)) error {
	_, err := s.changeThread(ctx, caller, thread, func(rows Rows, t *Thread, me *Member) (*Change, error) {
		ms, err := rows.Messages(thread, id)
		if err != nil {
			return nil, err
		}
		m, ok := ms[id]
		if !ok || !me.Sees(&m) {
			return nil, notFound
		}
		return decide(t, m)
	})
	return err
}

// Message returns one message. It fails with 404 if the message does not exist or the
// caller may not see it (docs/contract/chat.md §4.1).
func (s *Service) Message(ctx context.Context, caller, thread string, id int64) (Message, error) {
	page, err := s.messages(ctx, MessagesQuery{Thread: thread, Reader: caller, IDs: []int64{id}})
	if err == nil && len(page.Messages) == 0 {
		err = errMessageNotFound
	}
	if err != nil {
		return Message{}, err
	}
	return page.Messages[0], nil
}

// ListMessages has the parameters of a request GET .../messages.
type ListMessages struct {
	Before uint64 // only messages with sequences less than this one; 0: begin with the newest message
	Since  int64  // only messages created at this time or later, epoch milliseconds
	Limit  int    // 1 to MaxMessagesPage
	Bytes  int    // limit on the bytes of the texts on the page; 0: PageBytes
}

// ListMessages returns a page of the messages that the caller may see, newest first. The page has
// at most list.Limit messages and list.Bytes bytes, but at least one message if any is left. A page
// of list.Limit messages has a Next even if no message follows (docs/contract/chat.md §5.1).
func (s *Service) ListMessages(ctx context.Context, caller, thread string, list ListMessages) (MessagesPage, error) {
	return s.messages(ctx, MessagesQuery{Thread: thread, Reader: caller, Before: list.Before, Since: list.Since, Limit: list.Limit, Bytes: list.Bytes})
}

// messages returns the messages that q selects. It fails with 404 if the thread does not exist,
// was deleted or has expired, and with 403 if q.Reader was never a member of the thread.
func (s *Service) messages(ctx context.Context, q MessagesQuery) (MessagesPage, error) {
	page, err := s.store.Messages(ctx, q)
	if err != nil {
		return MessagesPage{}, fmt.Errorf("read messages of %s: %w", q.Thread, err)
	}
	if err := cmp.Or(s.exists(&page.Head, page.Member), mayRead(page.Member)); err != nil {
		return MessagesPage{}, err
	}
	return page, nil
}
