package chat

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// SendMessageOptions are the optional arguments of SendMessage.
type SendMessageOptions struct {
	// Type is MessageTypeText or MessageTypeHTML. Empty means text.
	Type MessageType

	// SenderDisplayName is shown with the message and in push notifications.
	SenderDisplayName string

	// Metadata is stored with the message.
	Metadata map[string]string

	// IdempotencyToken identifies this message. If the user has already sent a message with the
	// same token, a server with idempotent sends returns the id of that message and stores nothing
	// (see SendMessage). Set it to repeat a send safely in a later call or after a restart. It has
	// at most 256 printable ASCII characters. It is always sent; a service without idempotent sends
	// ignores it and stores the message again. It does not make the first send of a Client
	// retriable, because the server has not announced idempotent sends yet.
	IdempotencyToken string
}

// SendMessage sends a message to the thread and returns its id (docs/contract/chat.md §4.1).
//
// A retry never stores a message twice. If the server has announced idempotent sends in an earlier
// response to this Client, as Confab does in every response, each call carries an idempotency token
// and is retried like any other request. Otherwise (in the first request of a Client, and with
// Azure) it is retried only if the message was certainly not stored: if no connection was made, or
// if the service answered 429. If a call fails and any of its attempts may have stored the message,
// then
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
	// StartTime omits older messages. It is sent in whole seconds, rounded down.
	StartTime time.Time

	// MaxPageSize is the maximum number of elements in a page; the service caps it at 200. 0 lets
	// the service choose.
	MaxPageSize int

	// Continuation is the Continuation of an earlier [Page], where the list resumes. It includes
	// the options of the earlier list, so the other options here are ignored.
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
// request; the first NextPage reports invalid options.
func (t *ThreadClient) NewListMessagesPager(options *ListMessagesOptions) *Pager[Message] {
	var o ListMessagesOptions
	if options != nil {
		o = *options
	}
	return threadPager[Message](t, "list messages", "/messages", listOptions{
		startTime: o.StartTime, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// UpdateMessageOptions are the changes that [ThreadClient.UpdateMessage] makes. Zero fields change
// nothing.
type UpdateMessageOptions struct {
	// Content is the new text. The type of the message does not change.
	Content string

	// Metadata sets these keys; other keys keep their values. An empty value removes its key.
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
	// The service removes a message's metadata key when its value is empty (recorded).
	metadata, err := patch(operation, o.Metadata, o.RemoveMetadata, new(string))
	if err != nil {
		return err
	}
	r.Metadata = metadata
	if r.Content == nil && metadata == nil {
		// The service treats an empty update as an edit and sets editedOn.
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
