package chat

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// Message is one message of a thread (docs/contract/chat.md §4.1, §6): a text that a participant
// sent, or a system message that reports a new topic or participants that were added or removed.
// The field Type distinguishes them.
type Message struct {
	// ID is a decimal number as text, unique in the thread. It never changes.
	ID string `json:"id"`

	// Type determines which fields of Content are set. A newer server may send types that have no
	// constant in this package; Type then holds the name that the server sent.
	Type MessageType `json:"type"`

	// SequenceID is the message's position in the thread, a decimal number as text. Lists of
	// messages are ordered by SequenceID, highest first. An edit or a deletion assigns a new
	// SequenceID, which moves the message to the top.
	SequenceID string `json:"sequenceId,omitzero"`

	// Version is a decimal number as text. It equals ID until an edit or a deletion of the message
	// assigns a larger number.
	Version string `json:"version"`

	// Content is the text of the message, or the details of a system message.
	Content MessageContent `json:"content,omitzero"`

	// SenderDisplayName is the display name that the sender set for the message, if any.
	SenderDisplayName string `json:"senderDisplayName,omitzero"`

	// CreatedOn is the time at which the server received the message.
	CreatedOn time.Time `json:"createdOn"`

	// Sender is the user that sent the message. It is zero for system messages, which have
	// Content.Initiator instead.
	Sender communication.Identifier `json:"senderCommunicationIdentifier,omitzero"`

	// DeletedOn is the time of the deletion, zero if the message is not deleted. A deleted message
	// stays in the list, with empty Content.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// EditedOn is the time of the last edit, zero if the message was never edited.
	EditedOn time.Time `json:"editedOn,omitzero"`

	// Metadata holds the keys and values that the sender attached to the message.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// MessageContent is the content of a [Message]. The type of the message determines which fields are
// set.
type MessageContent struct {
	// Message is the text of a message of type MessageTypeText or MessageTypeHTML. It is empty
	// after the message is deleted.
	Message string `json:"message,omitzero"`

	// Topic is the new topic, in a message of type MessageTypeTopicUpdated.
	Topic string `json:"topic,omitzero"`

	// Participants are the participants that were added or removed, in a message of type
	// MessageTypeParticipantAdded or MessageTypeParticipantRemoved.
	Participants []Participant `json:"participants,omitzero"`

	// Attachments are the files of a text message, which mostly come from Microsoft Teams. This
	// package can read attachments but not send them.
	Attachments []Attachment `json:"attachments,omitzero"`

	// Initiator is the user that caused a system message. It is zero for other messages.
	Initiator communication.Identifier `json:"initiatorCommunicationIdentifier,omitzero"`
}

// MessageType is the type of a [Message]. Newer servers may add types. A program should not fail on
// a type that it does not know, but ignore the message or show a placeholder.
type MessageType string

// The types of messages (docs/contract/chat.md §4.1, §6). Only text and HTML messages can be sent.
const (
	MessageTypeText               MessageType = "text"
	MessageTypeHTML               MessageType = "html"
	MessageTypeTopicUpdated       MessageType = "topicUpdated"
	MessageTypeParticipantAdded   MessageType = "participantAdded"
	MessageTypeParticipantRemoved MessageType = "participantRemoved"
)

// Attachment is a file that is attached to a message.
type Attachment struct {
	ID   string         `json:"id"`
	Type AttachmentType `json:"attachmentType"`

	// Name is the file name; it may be empty.
	Name string `json:"name,omitzero"`

	// URL is the address of the file, and PreviewURL is the address of a smaller picture of the
	// file. Either may be empty.
	URL        string `json:"url,omitzero"`
	PreviewURL string `json:"previewUrl,omitzero"`
}

// AttachmentType is the type of an [Attachment]. Newer servers may add types.
type AttachmentType string

// The types of attachments (docs/contract/chat.md §4.1).
const (
	AttachmentTypeImage AttachmentType = "image"
	AttachmentTypeFile  AttachmentType = "file"
)

// MarshalJSON encodes the message as the service does, with times in whole seconds. A text or HTML
// message always has the member content.message, and a message with a sender always has
// senderDisplayName, even if they are empty.
func (m Message) MarshalJSON() ([]byte, error) {
	type plain Message // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	type content MessageContent
	w := struct {
		plain
		// The next two fields replace the fields Content and SenderDisplayName of the embedded type
		// plain in the JSON text, because they have the same JSON names.
		Content           any     `json:"content,omitempty"`
		SenderDisplayName *string `json:"senderDisplayName,omitempty"`
	}{plain: plain(m)}
	w.CreatedOn, w.DeletedOn, w.EditedOn = seconds(m.CreatedOn), seconds(m.DeletedOn), seconds(m.EditedOn)

	switch {
	case m.Type == MessageTypeText || m.Type == MessageTypeHTML:
		w.Content = struct {
			Message string `json:"message"`
			content
		}{m.Content.Message, content(m.Content)}
	case !m.Content.isZero():
		w.Content = m.Content
	}
	if !m.Sender.IsZero() || m.SenderDisplayName != "" {
		w.SenderDisplayName = &m.SenderDisplayName
	}
	return json.Marshal(w)
}

func (c *MessageContent) isZero() bool {
	return c.Message == "" && c.Topic == "" && c.Participants == nil && c.Attachments == nil && c.Initiator.IsZero()
}

// seconds converts t to UTC and truncates it to whole seconds, the form of times in requests and
// responses (docs/contract/chat.md §0.6). The zero time stays zero, so that omitzero omits it.
func seconds(t time.Time) time.Time {
	return t.UTC().Truncate(time.Second)
}

// SendMessageOptions are the optional arguments of SendMessage.
type SendMessageOptions struct {
	// Type is MessageTypeText or MessageTypeHTML. Empty means text.
	Type MessageType

	// SenderDisplayName is the name of the sender that is shown with the message and in push
	// notifications.
	SenderDisplayName string

	// Metadata is stored with the message.
	Metadata map[string]string

	// IdempotencyToken identifies this message. If the user has already sent a message with the
	// same token, a server with idempotent sends returns the id of that message and stores nothing
	// (see SendMessage). Set it to repeat a send safely in a later call or after a restart. It has
	// at most 256 printable ASCII characters. The client always sends the token; a service without
	// idempotent sends ignores it and stores the message again. The token does not make the first
	// send of a Client retriable, because the server has not announced idempotent sends yet.
	IdempotencyToken string
}

// SendMessage sends a message to the thread and returns its id (docs/contract/chat.md §4.1).
//
// A retry never stores a message twice. If the server has announced idempotent sends in an earlier
// response to this Client, as Confab does in every response, each call carries an idempotency token
// and is retried like any other request. Otherwise (in the first request of a Client, and with
// Azure) a call is retried only if the message was certainly not stored: if no connection was made,
// or if the service answered 429. If a call fails and any of its attempts may have stored the
// message, then
//
//	errors.Is(err, communication.ErrUnknownFate)
//
// is true. This includes a call whose context ended. Any other error means that the message was not
// sent. After ErrUnknownFate, list the newest messages to see whether the message was stored, or
// send it again if the first call had an IdempotencyToken.
func (t *ThreadClient) SendMessage(ctx context.Context, content string, options *SendMessageOptions) (id string, err error) {
	var o SendMessageOptions
	if options != nil {
		o = *options
	}
	if err := checkToken("send message", o.IdempotencyToken); err != nil {
		return "", err
	}
	idempotentSends := t.client.idempotentSends.Load()
	token := o.IdempotencyToken
	if token == "" && idempotentSends {
		token = pipeline.NewID()
	}
	r := pipeline.Request{
		Operation: "send message", Method: http.MethodPost, Path: "/messages", Status: http.StatusCreated,
		Body: sendMessageRequest{
			Content: content, SenderDisplayName: o.SenderDisplayName, Type: o.Type, Metadata: o.Metadata,
		},
		Creates: true,
		Once:    !idempotentSends,
	}
	if token != "" {
		r.Header = map[string]string{requestIDHeader: token}
	}
	var result sendMessageResult
	err = t.do(ctx, r, &result)
	return result.ID, err
}

type sendMessageRequest struct {
	Content           string            `json:"content"`
	SenderDisplayName string            `json:"senderDisplayName,omitempty"`
	Type              MessageType       `json:"type,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
}

type sendMessageResult struct {
	ID string `json:"id"`
}

// GetMessage returns one message (docs/contract/chat.md §4.1). Temporary failures are retried.
func (t *ThreadClient) GetMessage(ctx context.Context, messageID string) (Message, error) {
	var m Message
	err := t.doMessage(ctx, messageID, pipeline.Request{
		Operation: "get message", Method: http.MethodGet, Status: http.StatusOK,
	}, &m)
	return m, err
}

// ListMessagesOptions are the optional arguments of ListMessages.
type ListMessagesOptions struct {
	// StartTime, if it is not zero, omits messages that are older than StartTime. It is sent in
	// whole seconds, rounded down.
	StartTime time.Time

	// MaxPageSize is the maximum number of elements in a page; the service caps it at 200. 0 lets
	// the service choose.
	MaxPageSize int

	// Continuation, if it is not empty, is the Continuation of a [Page] of an earlier list. The
	// list then begins after that page. A Continuation includes the options of the earlier list, so
	// the other options here are ignored.
	Continuation string
}

// ListMessages returns the messages of the thread that the user may see, including system messages
// and deleted messages, ordered by SequenceID, highest first (docs/contract/chat.md §5.1). Editing
// or deleting a message moves it to the top: for a transcript, sort by CreatedOn and skip messages
// with DeletedOn. It fetches pages as they are needed. An error is yielded once, as the last
// element.
func (t *ThreadClient) ListMessages(ctx context.Context, options *ListMessagesOptions) iter.Seq2[Message, error] {
	return all(ctx, func() *Pager[Message] { return t.NewListMessagesPager(options) })
}

// NewListMessagesPager returns a pager over the messages that ListMessages returns. It sends no
// request; the first call of NextPage reports invalid options.
func (t *ThreadClient) NewListMessagesPager(options *ListMessagesOptions) *Pager[Message] {
	var o ListMessagesOptions
	if options != nil {
		o = *options
	}
	return threadPager[Message](t, "list messages", "/messages", listOptions{
		startTime: o.StartTime, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// UpdateMessageOptions are the changes that [ThreadClient.UpdateMessage] makes. A field with the
// zero value changes nothing.
type UpdateMessageOptions struct {
	// Content is the new text. The type of the message does not change.
	Content string

	// Metadata holds the metadata keys to set, with their new values. Other keys of the message keep
	// their values. An empty value removes its key.
	Metadata map[string]string

	// RemoveMetadata lists the keys to remove.
	RemoveMetadata []string
}

// UpdateMessage edits a message that the user sent (docs/contract/chat.md §4.1). The message keeps
// its ID and gets a new Version and SequenceID, which moves it to the top of the list.
// UpdateMessage fails if options change nothing, or if they both set and remove a metadata key.
//
// Temporary failures are retried: repeating an edit has no further effect on the content.
func (t *ThreadClient) UpdateMessage(ctx context.Context, messageID string, options *UpdateMessageOptions) error {
	const operation = "update message"
	var o UpdateMessageOptions
	if options != nil {
		o = *options
	}
	var r updateMessageRequest
	if o.Content != "" {
		r.Content = &o.Content
	}
	// Send "" as the value of the keys to remove: the service removes a key from a message's
	// metadata if its new value is empty. Recorded traffic shows this.
	metadata, err := patch(operation, o.Metadata, o.RemoveMetadata, new(string))
	if err != nil {
		return err
	}
	r.Metadata = metadata
	if r.Content == nil && metadata == nil {
		// Do not send an update without changes: the service would mark the message as edited.
		return invalid(operation, "there is nothing to change")
	}
	return t.doMessage(ctx, messageID, pipeline.Request{
		Operation: operation, Method: http.MethodPatch, Status: http.StatusNoContent, Body: r, MergePatch: true,
	}, nil)
}

type updateMessageRequest struct {
	Content  *string            `json:"content,omitempty"`
	Metadata map[string]*string `json:"metadata,omitempty"`
}

// DeleteMessage deletes a message that the user sent (docs/contract/chat.md §4.1). The message
// stays in the list, without content and with DeletedOn set. Deleting it again is not an error.
// Temporary failures are retried.
func (t *ThreadClient) DeleteMessage(ctx context.Context, messageID string) error {
	return t.doMessage(ctx, messageID, pipeline.Request{
		Operation: "delete message", Method: http.MethodDelete, Status: http.StatusNoContent,
	}, nil)
}

func (t *ThreadClient) doMessage(ctx context.Context, messageID string, r pipeline.Request, out any) error {
	segment, err := escapeID(r.Operation, "message", messageID)
	if err != nil {
		return err
	}
	r.Path = "/messages/" + segment
	return t.do(ctx, r, out)
}

func threadPager[T any](t *ThreadClient, operation, list string, o listOptions) *Pager[T] {
	path, err := threadPath(operation, t.id)
	return newPager[T](t.client, operation, path+list, err, o)
}
